"""A storm of lost, repeated and overtaken messages, restarts and cancels, on a real database, from seeds.

Ground truth is the node double's own journal: whatever the storm did, once all is delivered each result there is in the
books exactly once, and nothing is charged that did not run.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from labcommons.facility.services.lab import silence
from labcommons.facility.services.lab.silence import Lease
from labcommons.facility.services.run import invariants
from labcommons.facility.services.transact import transact
from labcommons.federation.wire import EntryKind, Grant, ReportCall
from support.bench import Books, Member, NodeDouble, press_manifest, random_bytes

LEASE = Lease.of_ms(60_000, 600_000)
STEPS = 300


class Lab:
    """A node with what it knows of its attempts: grant and last entry."""

    def __init__(self, node: NodeDouble) -> None:
        self.node = node
        self.grants: dict[str, Grant] = {}
        self.last: dict[str, EntryKind] = {}
        self.bytes: dict[str, bytes] = {}
        self.sent: list[ReportCall] = []

    def write(self, kind: EntryKind, attempt: str, **detail: object) -> None:
        self.node.write(kind, attempt, **detail)
        self.last[attempt] = kind

    def open(self, *kinds: EntryKind) -> list[str]:
        return [attempt for attempt, last in self.last.items() if last in kinds]

    def take(self, grants: list[Grant]) -> None:
        """Rule 4: what is of this session is received, anything else is closed."""
        for grant in grants:
            if grant.attempt in self.last:
                continue
            self.grants[grant.attempt] = grant
            if grant.session == self.node.session and grant.token in self.node.tokens[grant.instrument]:
                self.node.receive(grant)
                self.last[grant.attempt] = EntryKind.RECEIVED
            else:
                self.write(EntryKind.TOMBSTONE, grant.attempt, reason="stale_grant", text="")

    def restart(self) -> None:
        self.node.start()
        for attempt in self.open(EntryKind.RECEIVED):
            self.write(EntryKind.TOMBSTONE, attempt, reason="restart", text="")
        for attempt in self.open(EntryKind.INTENT):
            self.write(EntryKind.UNKNOWN, attempt, reason="agent_died", text="")


class Storm:
    """The world, and everything that may happen to it."""

    def __init__(self, books: Books, seed: int) -> None:
        self.books = books
        self.chance = random.Random(seed)
        self.pia: Member = books.project("barrels", granted_ms=6_000_000)
        self.labs = [Lab(books.lab(name, press_manifest(name))) for name in ("north", "south")]
        for lab in self.labs:
            lab.node.hello(tokens=2)
        self.experiments: list[str] = []
        self.story: list[str] = []
        self.submit(self.labs[0])

    def run(self, steps: int) -> None:
        """Let ``steps`` things happen, likely ones more often; the books are judged after each."""
        happenings: list[tuple[Callable[[Lab], None], int]] = [
            (self.submit, 3),
            (self.dispatch, 12),
            (self.ask, 16),
            (self.intend, 10),
            (self.start, 10),
            (self.doubt, 1),
            (self.end, 10),
            (self.resolve, 3),
            (self.upload, 4),
            (self.report, 16),
            (self.report_in_part, 3),
            (self.an_old_message_arrives_again, 4),
            (self.the_agent_restarts, 1),
            (self.the_platform_restarts, 1),
            (self.time_passes, 1),
            (self.cancel, 1),
        ]
        for _ in range(steps):
            [(happening, _weight)] = self.chance.choices(happenings, [weight for _, weight in happenings])
            self.story.append(happening.__name__)
            happening(self.chance.choice(self.labs))
            self.the_books_are_sound()

    def lost(self) -> bool:
        return self.chance.random() < 0.25

    def submit(self, _: Lab) -> None:
        if len(self.experiments) < 30:
            self.experiments += self.pia.submit(self.chance.randint(1, 3)).experiments

    def dispatch(self, _: Lab) -> None:
        self.books.dispatch()

    def ask(self, lab: Lab) -> None:
        answer = lab.node.next()
        if answer is None or self.lost():
            return
        for stop in answer.stops:
            if stop.attempt not in lab.last or lab.last[stop.attempt] is EntryKind.RECEIVED:
                lab.write(EntryKind.TOMBSTONE, stop.attempt, reason="stopped", text="")
        lab.take(answer.grants)

    def intend(self, lab: Lab) -> None:
        for attempt in lab.open(EntryKind.RECEIVED):
            if self.chance.random() < 0.1:
                reason = self.chance.choice(("busy", "not_ready", "not_allowed"))
                lab.write(EntryKind.TOMBSTONE, attempt, reason=reason, text="")
            else:
                lab.write(EntryKind.INTENT, attempt)
            lab.node.ready()

    def start(self, lab: Lab) -> None:
        for attempt in lab.open(EntryKind.INTENT):
            lab.write(EntryKind.STARTED, attempt)

    def doubt(self, lab: Lab) -> None:
        for attempt in lab.open(EntryKind.INTENT, EntryKind.STARTED)[:1]:
            lab.write(EntryKind.UNKNOWN, attempt, reason="link_lost", text="")

    def end(self, lab: Lab) -> None:
        for attempt in lab.open(EntryKind.STARTED):
            self.books.clock.pass_ms(700)
            more: dict[str, Any] = {}
            if self.chance.random() < 0.5:
                data = random_bytes(64)
                sha256 = hashlib.sha256(data).hexdigest()
                lab.bytes[sha256] = data
                more["objects"] = [{"name": "c", "media_type": "text/csv", "bytes": 64, "sha256": sha256}]
            outcome = self.chance.choice(("done", "done", "done", "failed", "stopped"))
            if outcome == "failed":
                more["error"] = {"code": self.chance.choice(("hardware", "timeout")), "message": ""}
            lab.node.finish(attempt, outcome, **more)
            lab.last[attempt] = EntryKind.RESULT

    def resolve(self, lab: Lab) -> None:
        """What was in doubt turns out to have run, or to have been barred before it ran."""
        for attempt in lab.open(EntryKind.UNKNOWN)[:1]:
            started = any(e.attempt == attempt and e.kind is EntryKind.STARTED for e in lab.node.entries)
            if not started and self.chance.random() < 0.5:
                lab.write(EntryKind.TOMBSTONE, attempt, reason="voided", text="")
            else:
                lab.write(EntryKind.STARTED, attempt)

    def upload(self, lab: Lab) -> None:
        for data in list(lab.bytes.values())[-2:]:
            lab.node.put(data)

    def report(self, lab: Lab) -> None:
        call = lab.node.report_call()
        lab.sent.append(call)
        answer = lab.node.deliver(call)
        if not self.lost():
            lab.node.take(answer)

    def report_in_part(self, lab: Lab) -> None:
        """Some entries only, which may leave a gap; the answer is lost."""
        unread = lab.node.entries[lab.node.cursor :]
        lab.node.deliver(lab.node.report_call([e for e in unread if self.chance.random() < 0.5]))

    def an_old_message_arrives_again(self, lab: Lab) -> None:
        of_session = [call for call in lab.sent if call.session == lab.node.session]
        if of_session:
            lab.node.deliver(self.chance.choice(of_session))

    def the_agent_restarts(self, lab: Lab) -> None:
        lab.restart()
        lab.node.ready(n=2)

    def the_platform_restarts(self, _: Lab) -> None:
        self.books.engine.dispose()
        self.books.__dict__.update(Books(self.books.folder, self.books.clock).__dict__)

    def time_passes(self, _: Lab) -> None:
        self.books.clock.pass_ms(self.chance.choice((100, 61_000, 700_000)))
        transact(self.books.work, lambda uow: silence.judge(uow, LEASE))

    def cancel(self, _: Lab) -> None:
        if self.experiments:
            self.pia.cancel(self.chance.choice(self.experiments))

    def the_books_are_sound(self) -> None:
        with self.books.work.read() as uow:
            found = invariants.broken(uow)
        assert found == [], f"after {', '.join(self.story[-12:])}"

    def all_is_delivered(self) -> None:
        for lab in self.labs:
            for data in lab.bytes.values():
                lab.node.put(data)
            lab.node.report(lab.node.entries)

    def judge(self) -> int:
        """The journals and the books tell one story; of how many results."""
        results = {e.attempt: e for lab in self.labs for e in lab.node.entries if e.kind is EntryKind.RESULT}
        with self.books.work.read() as uow:
            attempts = {row.id: row for row in uow.run.attempts.find()}
            recorded = Counter(row.attempt for row in uow.run.records.find())
            charged = Counter(row.cause for row in uow.office.ledger.find(kind="charge"))
        assert recorded == Counter({str(attempt): 1 for attempt in results})
        for attempt in results:
            assert attempts[attempt].outcome == results[attempt].detail["outcome"]  # type: ignore[index]
        assert set(charged) <= set(results)
        assert all(n == 1 for n in charged.values())
        assert {row.id for row in attempts.values() if row.state in ("SUCCEEDED", "FAILED_RAN", "STOPPED")} == set(
            charged
        )
        return len(results)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_lost_repeated_or_overtaken_the_books_tell_what_the_journals_tell(books: Books, seed: int) -> None:
    storm = Storm(books, seed)
    storm.run(STEPS)
    storm.all_is_delivered()
    storm.the_books_are_sound()
    assert storm.judge() >= 3, "the storm let too little through to prove anything"
