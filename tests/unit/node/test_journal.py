"""The journal: synced, chained, compare-and-swap, and whole after a kill at any moment."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labcommons.core.ids import JournalId
from labcommons.federation.chain import GENESIS, first_break
from labcommons.federation.wire import ENTRY_BYTES, Entry, EntryKind
from labcommons.node.journal import (
    Draft,
    DraftRefused,
    EntryTooLarge,
    IllegalEntry,
    Journal,
    JournalBroken,
    JournalReader,
    JournalUnavailable,
    JournalWriter,
    Position,
)
from unit.node.test_decisions import grant

JOURNAL = JournalId.mint(0, b"0" * 10)
_seconds = itertools.count()


def now() -> datetime:
    return datetime(2026, 10, 1, tzinfo=UTC) + timedelta(seconds=next(_seconds))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal.create(tmp_path / "journal.sqlite", now, JOURNAL)
    yield found
    found.close()


def session(name: str = "ses_1") -> Draft:
    return Draft(EntryKind.SESSION, detail={"session": name, "node": "nod_1"})


def received(attempt: str, fence: int = 1, name: str = "ses_1") -> Draft:
    return Draft(EntryKind.RECEIVED, attempt, grant=grant(attempt=attempt, fence=fence, session=name))


def written(outcomes: list[Entry | IllegalEntry | DraftRefused]) -> list[Entry]:
    for outcome in outcomes:
        if not isinstance(outcome, Entry):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Entry)]


def run_through(journal: Journal, attempt: str, fence: int = 1) -> None:
    kinds = (EntryKind.INTENT, EntryKind.STARTED, EntryKind.RESULT)
    written(journal.append([received(attempt, fence), *(Draft(kind, attempt) for kind in kinds)]))


def test_it_is_synced_and_writes_ahead(journal: Journal) -> None:
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_chain_holds_and_begins_at_nothing(journal: Journal) -> None:
    journal.append([session()])
    run_through(journal, "att_1")
    entries = list(journal.entries())
    assert [e.seq for e in entries] == [1, 2, 3, 4, 5]
    assert entries[0].previous == GENESIS
    assert first_break(journal.id, entries) is None
    assert journal.verify() is None
    assert {e.session for e in entries} == {"ses_1"}
    assert entries[0].detail == {"node": "nod_1"}


def test_what_a_reader_looks_up(journal: Journal) -> None:
    journal.append([session(), Draft(EntryKind.EPOCH, detail={"epoch": 3})])
    run_through(journal, "att_1", 7)
    journal.append([received("att_2", 9), Draft(EntryKind.TOMBSTONE, "att_3", {"reason": "stopped"})])
    with_reader = JournalReader(journal.path)
    try:
        assert with_reader.id == JOURNAL
        assert with_reader.session() == "ses_1"
        assert with_reader.epoch() == 3
        assert with_reader.fence("press") == (3, 9)
        assert with_reader.fence("other") == (-1, -1)
        assert with_reader.history("att_3") == (EntryKind.TOMBSTONE,)
        assert with_reader.history("att_9") == ()
        assert [a for a, _ in with_reader.open_attempts()] == ["att_1", "att_2"]
        found = with_reader.grant("att_1")
        assert found is not None
        assert found.fence == 7
        assert with_reader.at(0) == Position()
        assert with_reader.at(99) is None
        assert with_reader.last() == with_reader.at(8)
        assert [e.seq for e in with_reader.entries(6, 1)] == [7]
    finally:
        with_reader.close()


def test_intent_is_compare_and_swap(journal: Journal) -> None:
    journal.append([session("ses_1"), received("att_1")])
    first, second = journal.append([Draft(EntryKind.INTENT, "att_1"), Draft(EntryKind.INTENT, "att_1")])
    assert isinstance(first, Entry)
    assert isinstance(second, IllegalEntry)
    assert second.history == (EntryKind.RECEIVED, EntryKind.INTENT)


def test_a_tombstone_and_an_intent_cannot_both_be_written(journal: Journal) -> None:
    journal.append([session("ses_1"), received("att_1")])
    outcomes = journal.append([Draft(EntryKind.TOMBSTONE, "att_1"), Draft(EntryKind.INTENT, "att_1")])
    assert [isinstance(outcome, Entry) for outcome in outcomes] == [True, False]


def test_an_intent_of_an_older_session_is_refused(journal: Journal) -> None:
    journal.append([session("ses_1"), received("att_1"), session("ses_2")])
    (outcome,) = journal.append([Draft(EntryKind.INTENT, "att_1")])
    assert isinstance(outcome, IllegalEntry)
    assert "ses_2" in str(outcome)


def test_an_entry_past_256_kib_is_refused_and_the_others_of_its_commit_are_kept(journal: Journal) -> None:
    journal.append([session(), received("att_1")])
    outcomes = journal.append(
        [
            Draft(EntryKind.INTENT, "att_1", {"text": "x" * ENTRY_BYTES}),
            Draft(EntryKind.TOMBSTONE, "att_1", {"reason": "stopped"}),
        ]
    )
    assert isinstance(outcomes[0], EntryTooLarge)
    assert isinstance(outcomes[1], Entry)
    assert journal.verify() is None


def test_an_id_is_known_for_ever(journal: Journal, tmp_path: Path) -> None:
    journal.append([session()])
    for number in range(50):
        run_through(journal, f"att_{number}", number)
    journal.close()
    again = Journal(tmp_path / "journal.sqlite", now)
    try:
        assert all(again.history(f"att_{number}") for number in range(50))
        (outcome,) = again.append([received("att_0", 1_000)])
        assert isinstance(outcome, IllegalEntry)
    finally:
        again.close()


def test_acknowledgements_cost_no_commit_of_their_own(journal: Journal) -> None:
    (entry,) = written(journal.append([session()]))
    assert journal.acknowledged() == Position()
    journal.append([received("att_1")], Position(entry.seq, entry.hash))
    assert journal.acknowledged() == Position(entry.seq, entry.hash)


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE entries SET detail = \'{"outcome":"done"}\' WHERE seq = 3',
        "UPDATE entries SET kind = 'TOMBSTONE' WHERE seq = 3",
        "UPDATE entries SET at = '2030-01-01T00:00:00.000Z' WHERE seq = 2",
        "UPDATE entries SET attempt = 'att_2' WHERE seq = 4",
        "DELETE FROM entries WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 1",
        "UPDATE entries SET hash = previous WHERE seq = 5",
        "UPDATE entries SET detail = 'no json' WHERE seq = 3",
        "UPDATE grants SET document = replace(document, 'crush', 'melt')",
    ],
)
def test_a_planted_fault_is_found_and_the_node_refuses_to_run(journal: Journal, tmp_path: Path, damage: str) -> None:
    journal.append([session()])
    run_through(journal, "att_1")
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        assert db.execute(damage).rowcount == 1
    db.close()
    with pytest.raises(JournalBroken, match="does not hold"):
        Journal(tmp_path / "journal.sqlite", now)


def test_what_is_no_journal_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalBroken, match="no journal here"):
        JournalReader(tmp_path / "nothing.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database, and long enough to be looked at as one" * 20)
    with pytest.raises(JournalBroken, match="no journal"):
        Journal(tmp_path / "text.sqlite", now)


def _faulty(*_: object) -> object:
    raise ArithmeticError("nobody foresaw this")


class TestWriter:
    async def test_what_comes_together_is_committed_together(self, tmp_path: Path) -> None:
        journal = Journal.create(tmp_path / "journal.sqlite", now, JOURNAL)
        appended: list[int] = []
        writer = JournalWriter(journal, lambda: appended.append(writer.last.seq))
        await writer.append(session())
        commits = len(appended)
        drafts = [received(f"att_{n}", n) for n in range(20)] + [Draft(EntryKind.INTENT, f"att_{n}") for n in range(20)]
        entries = await asyncio.gather(*(writer.submit(draft) for draft in drafts))
        assert [e.seq for e in entries] == list(range(2, 42))
        assert len(appended) - commits < 20
        await writer.close()

    async def test_a_refusal_reaches_its_own_caller_alone(self, tmp_path: Path) -> None:
        writer = JournalWriter(Journal.create(tmp_path / "journal.sqlite", now, JOURNAL))
        await writer.append(session())
        first, wrong, last = (
            writer.submit(received("att_1")),
            writer.submit(Draft(EntryKind.RESULT, "att_1")),
            writer.submit(Draft(EntryKind.INTENT, "att_1")),
        )
        assert (await first).seq == 2
        with pytest.raises(IllegalEntry):
            await wrong
        assert (await last).seq == 3
        await writer.flushed()
        await writer.close()

    @pytest.mark.parametrize("text", ["\ud800", {1: "a key that is no text"}, 1.5, {"deep": [{"\udfff": 1}]}])
    async def test_what_is_no_json_is_refused_alone_and_the_thread_lives_on(self, tmp_path: Path, text: object) -> None:
        writer = JournalWriter(Journal.create(tmp_path / "journal.sqlite", now, JOURNAL))
        await writer.append(session())
        wrong = writer.submit(Draft(EntryKind.TOMBSTONE, "att_1", {"reason": "hardware", "text": text}))
        beside = writer.submit(received("att_2"))
        async with asyncio.timeout(5):
            with pytest.raises(DraftRefused, match="TOMBSTONE of att_1"):
                await wrong
            assert (await beside).seq == 2
            assert (await writer.append(Draft(EntryKind.INTENT, "att_2"))).seq == 3
        assert writer.broken is None
        await writer.close()

    async def test_a_fault_that_nobody_foresaw_is_told_and_the_thread_lives_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer = JournalWriter(Journal.create(tmp_path / "journal.sqlite", now, JOURNAL))
        with monkeypatch.context() as patched:
            patched.setattr(writer.journal, "append", _faulty)
            async with asyncio.timeout(5):
                with pytest.raises(JournalUnavailable, match="ArithmeticError"):
                    await writer.append(session())
        assert (await writer.append(session())).seq == 1
        await writer.close()

    async def test_a_commit_that_fails_writes_nothing_and_says_so(self, tmp_path: Path) -> None:
        writer = JournalWriter(Journal.create(tmp_path / "journal.sqlite", now, JOURNAL))
        await writer.append(session())
        # As a full disk does: no page more.
        writer.journal._db.execute(
            f"PRAGMA max_page_count = {writer.journal._db.execute('PRAGMA page_count').fetchone()[0]}"
        )
        big = {"text": "x" * 100_000}
        with pytest.raises(JournalUnavailable, match="full"):
            await writer.append(Draft(EntryKind.TOMBSTONE, "att_1", big))
        assert writer.broken
        writer.journal._db.execute("PRAGMA max_page_count = 100000")
        entry = await writer.append(Draft(EntryKind.TOMBSTONE, "att_1", big))
        assert entry.seq == 2
        assert writer.broken is None
        await writer.close()
        reader = JournalReader(tmp_path / "journal.sqlite")
        assert reader.verify() is None
        reader.close()


_WRITER = """
import itertools, json, sys
from datetime import UTC, datetime
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
from unit.node.test_journal import Draft, EntryKind, Journal, received, session
journal = Journal(Path(sys.argv[1]), lambda: datetime.now(UTC))
journal.append([session()])
start = journal.last().seq
for number in itertools.count(start):
    attempt = f"att_{number}"
    for draft in (received(attempt, number), *(Draft(k, attempt) for k in (EntryKind.INTENT, EntryKind.STARTED))):
        (entry,) = journal.append([draft])
        print(entry.seq, entry.hash, flush=True)
"""


@pytest.mark.slow
def test_killed_between_writes_it_has_all_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal.create(path, now, JOURNAL).close()
    seeded = random.Random(7)
    roots = json.dumps([entry for entry in sys.path if entry])
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), roots], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert process.stdout is not None
        told = [process.stdout.readline().split()]
        time.sleep(seeded.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        told += [line.split() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        journal = Journal(path, now)
        kept = {e.seq: e.hash for e in journal.entries()}
        journal.close()
        assert told[0]
        assert all(kept[int(seq)] == hash_ for seq, hash_ in told)
