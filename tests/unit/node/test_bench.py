"""One bench over a journal in a file and an instrument that answers as it is told: what is journalled of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labcommons.federation.wire import EntryKind, ObjectRef
from labcommons.node.agent import handling
from labcommons.node.agent.bench import Bench
from labcommons.node.agent.runs import Run
from labcommons.node.agent.services import Limits, Services
from labcommons.node.drivers.contract import Description, Health, InstrumentLost, InstrumentRefused, Status
from labcommons.node.journal import Draft, Journal, JournalReader, JournalWriter
from labcommons.node.lines import Lines
from labcommons.node.link import ObjectFolder
from unit.node.test_decisions import grant
from unit.node.test_journal import JOURNAL, now, session

DONE = Status("done", result={"outputs": {}})


@dataclass
class Words:
    """An instrument: word -> its next answers, the last of them for ever. ``away``: nobody can dial it."""

    answers: dict[str, list[Status | Exception]] = field(default_factory=dict)
    state: str = "idle"
    can_void: bool = True
    away: bool = False
    asked: list[str] = field(default_factory=list)
    name: str = "press"

    def __getattr__(self, word: str) -> Any:
        if word.startswith("_"):
            raise AttributeError(word)

        async def ask(*_: Any) -> Status:
            self._dial(word)
            given = self.answers.get(word, [DONE])
            answer = given.pop(0) if len(given) > 1 else given[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    def _dial(self, word: str) -> None:
        self.asked.append(word)
        if self.away:
            raise InstrumentLost("nobody answers", sent=False)

    async def describe(self) -> Description:
        self._dial("describe")
        return Description({}, (), True, self.can_void, "continue", True)

    async def health(self) -> Health:
        self._dial("health")
        return Health(self.state)  # type: ignore[arg-type]


@dataclass
class Desk:
    """A bench at work, with its books."""

    bench: Bench
    books: JournalWriter
    reader: JournalReader
    objects: ObjectFolder

    def take(self, attempt: str = "att_1", fence: int = 1) -> Run:
        given = grant(attempt=attempt, fence=fence)
        self.books.submit(Draft(EntryKind.RECEIVED, attempt, grant=given))
        run = Run(attempt, "press", given, [EntryKind.RECEIVED], action="crush")
        self.bench.take(run)
        return run

    async def kinds(self, attempt: str, *wanted: str) -> None:
        """Wait until the journal says this of the attempt."""
        found: list[str] = []
        for _ in range(500):
            found = [kind.value for kind in self.reader.history(attempt)]
            if found == list(wanted):
                break
            await asyncio.sleep(0.01)
        assert found == list(wanted)

    def detail(self, attempt: str) -> dict[str, Any]:
        return dict(self.reader.story(attempt)[-1].detail)


async def _nothing(*_: object) -> None:
    return None


def _kept(_: str, __: list[ObjectRef]) -> None:
    return None


def _services(books: JournalWriter, objects: ObjectFolder) -> Services:
    return Services(
        books=books,
        objects=objects,
        lines=Lines("labcommons.node"),
        limits=Limits(patience=0.3, ready=0.3, look=0.05, slice=0.05),
        time_scale=1.0,
        acknowledged=_nothing,
        silent_s=lambda: 0.0,
        kick=lambda: None,
        local=lambda: "",
        result_kept=_kept,
        described=lambda *_: {},
        check_runtime=_nothing,
    )


@contextlib.asynccontextmanager
async def desk(tmp_path: Path, words: Words, *, left: tuple[EntryKind, ...] = ()) -> AsyncIterator[Desk]:
    """``left``: kinds of entries past RECEIVED that an earlier life left of ``att_1``."""
    books = JournalWriter(Journal.create(tmp_path / "journal.sqlite", now, JOURNAL))
    await books.append(session())
    reader, objects = JournalReader(tmp_path / "journal.sqlite"), ObjectFolder(tmp_path / "objects")

    async def opened() -> Any:
        words._dial("open")
        return words

    services = _services(books, objects)
    bench = Bench("press", opened, services)
    if left:
        given = grant(attempt="att_1", fence=1)
        await books.append(Draft(EntryKind.RECEIVED, "att_1", grant=given))
        for kind in left:
            await books.append(Draft(kind, "att_1"))
        bench.runs["att_1"] = Run("att_1", "press", given, [EntryKind.RECEIVED, *left], recovered=True)
    work = asyncio.create_task(bench.work())
    try:
        yield Desk(bench, books, reader, objects)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await books.close()
        reader.close()


@pytest.mark.parametrize("phase", ["never_seen", "cannot_tell"])
async def test_a_start_answered_by_no_evidence_is_asked_about_and_not_journalled_started(
    tmp_path: Path, phase: Any
) -> None:
    words = Words({"start": [Status(phase)], "void": [Status("voided")]})
    async with desk(tmp_path, words) as found:
        found.take()
        await found.kinds("att_1", "RECEIVED", "INTENT", "TOMBSTONE")
        assert found.detail("att_1")["reason"] == "voided"


async def test_where_no_void_exists_such_a_start_is_unknown(tmp_path: Path) -> None:
    never = Status("never_seen")
    words = Words({"start": [never], "readback": [never], "status": [never]}, can_void=False)
    async with desk(tmp_path, words) as found:
        found.take()
        await found.kinds("att_1", "RECEIVED", "INTENT", "UNKNOWN")
    assert words.asked.count("start") == 1


async def test_a_refused_void_leaves_what_was_received_in_doubt(tmp_path: Path) -> None:
    words = Words({"void": [InstrumentRefused("hardware", "no memory left")]})
    async with desk(tmp_path, words, left=()) as found:
        given = grant(attempt="att_2", fence=2)
        await found.books.append(Draft(EntryKind.RECEIVED, "att_2", grant=given))
        run = Run("att_2", "press", given, [EntryKind.RECEIVED], recovered=True)
        found.bench.runs["att_2"] = run
        found.bench.ask_again(run)
        await found.kinds("att_2", "RECEIVED", "UNKNOWN")


async def test_a_result_that_the_journal_does_not_take_is_told_in_few_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        handling, "keep", lambda judged, _: judged.detail.model_copy(update={"calibration": "x" * 300_000})
    )
    async with desk(tmp_path, Words({"start": [DONE]})) as found:
        found.take()
        await found.kinds("att_1", "RECEIVED", "INTENT", "STARTED", "RESULT")
        assert found.detail("att_1")["error"]["code"] == "garbage"
        assert found.detail("att_1")["used_ms"] is not None


async def test_an_unknown_with_partial_data_past_an_entry_is_told_all_the_same(tmp_path: Path) -> None:
    error = {f"word-{n}": "x" * 500 for n in range(1_000)}
    many = {f"note-{n}": "\x01" * 100 for n in range(200)}
    words = Words({"void": [Status("never_seen", result={"outputs": many}, error=error)]})
    async with desk(tmp_path, words, left=(EntryKind.INTENT,)) as found:
        await found.kinds("att_1", "RECEIVED", "INTENT", "UNKNOWN")
        assert found.detail("att_1")["partial"]["outputs"] == "too many for an entry"


@pytest.mark.parametrize("kind", [EntryKind.INTENT, EntryKind.STARTED])
async def test_an_instrument_that_is_off_after_a_restart_leaves_unknown_and_late_evidence_counts(
    tmp_path: Path, kind: EntryKind
) -> None:
    words = Words({"void": [DONE]}, away=True)
    left = (EntryKind.INTENT,) if kind is EntryKind.INTENT else (EntryKind.INTENT, kind)
    entries = ["RECEIVED", *left, "UNKNOWN"]
    async with desk(tmp_path, words, left=left) as found:
        await found.kinds("att_1", *entries)
        assert found.detail("att_1")["reason"] == "link_lost"
        words.away = False
        await found.kinds("att_1", *entries, "STARTED", "RESULT")


async def test_an_idle_instrument_that_refuses_starts_is_granted_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "_QUIET_S", 0.3)
    words = Words({"start": [InstrumentRefused("out_of_supply", "no filament")]})
    async with desk(tmp_path, words) as found:
        quiet = []
        for number in (1, 2):
            while not found.bench.ready_tokens():  # noqa: ASYNC110 - tokens ring no bell here
                await asyncio.sleep(0.01)
            found.take(f"att_{number}", number)
            await found.kinds(f"att_{number}", "RECEIVED", "INTENT", "TOMBSTONE")
            assert found.bench.ready_tokens() == []
            quiet.append(found.bench._quiet_until - found.bench._loop.time())
        assert 0 < quiet[0] <= 0.3 < quiet[1]
        words.state = "busy"
        async with asyncio.timeout(5):
            while not found.bench.ready_tokens():  # noqa: ASYNC110 - tokens ring no bell here
                await asyncio.sleep(0.01)


async def test_a_refusal_of_one_grant_alone_keeps_the_tokens(tmp_path: Path) -> None:
    words = Words({"start": [InstrumentRefused("bad_request", "no such parameter")]})
    async with desk(tmp_path, words) as found:
        found.take()
        await found.kinds("att_1", "RECEIVED", "INTENT", "TOMBSTONE")
        assert found.bench.ready_tokens() != []


async def test_two_grants_of_a_failed_commit_leave_the_fence_where_the_journal_has_it(tmp_path: Path) -> None:
    async with desk(tmp_path, Words()) as found:
        bench = found.bench
        bench.fence = (3, 10)
        bench.raise_fence("att_1", (3, 11))
        bench.raise_fence("att_2", (3, 12))
        assert bench.fence == (3, 12)
        bench.settle_fence("att_1", (3, 10))
        assert bench.fence == (3, 12)
        bench.settle_fence("att_2", (3, 10))
        assert bench.fence == (3, 10)
