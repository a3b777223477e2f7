"""The platform restarted between any two messages: the rows are the only memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from labcommons.federation.wire import EntryKind, Grant
from support.bench import Books, Member, NodeDouble, random_bytes


class _Run:
    """One experiment, message by message; ``restart`` may come between any two."""

    def __init__(self, books: Books, pia: Member, north: NodeDouble) -> None:
        self.books, self.pia, self.north = books, pia, north
        self.experiment = ""
        self.grant: Grant | None = None
        self.data = random_bytes()

    @property
    def granted(self) -> Grant:
        assert self.grant is not None
        return self.grant

    def steps(self) -> list[Callable[[], object]]:
        return [
            self.submit,
            self.submit,
            lambda: self.books.dispatch(),
            self.ask,
            lambda: self.north.receive(self.granted),
            lambda: self.north.report(),
            lambda: self.north.deliver(self.north.report_call()),
            self.start,
            lambda: self.north.report(),
            lambda: self.books.clock.pass_ms(1000),
            self.finish,
            lambda: self.north.deliver(self.north.report_call()),
            lambda: self.north.put(self.data),
            lambda: self.north.put(self.data),
            lambda: self.north.report(),
            lambda: self.north.report(),
        ]

    def submit(self) -> None:
        self.experiment = self.pia.submit(key="once").experiments[0]

    def ask(self) -> None:
        [self.grant] = self.north.grants()

    def start(self) -> None:
        self.north.write(EntryKind.INTENT, self.granted.attempt)
        self.north.write(EntryKind.STARTED, self.granted.attempt)

    def finish(self) -> None:
        reference = {
            "name": "curve.csv",
            "media_type": "text/csv",
            "bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
        }
        self.north.finish(self.granted.attempt, objects=[reference])

    def restart(self) -> None:
        self.books.engine.dispose()
        fresh = Books(self.books.folder, self.books.clock)
        self.books.__dict__.update(fresh.__dict__)


@pytest.mark.parametrize("between", range(17))
def test_a_restart_between_any_two_messages_changes_nothing(
    books: Books, pia: Member, north: NodeDouble, between: int
) -> None:
    run = _Run(books, pia, north)
    steps = run.steps()
    assert len(steps) == 16
    for place, step in enumerate(steps):
        if place == between:
            run.restart()
        step()
    if between == len(steps):
        run.restart()
    shown = books.experiment(run.experiment)
    assert (shown["state"], shown["steps"][0]["charged_ms"]) == ("succeeded", 54_000)
    assert north.report().stored == []
    with books.work.read() as uow:
        assert uow.run.experiments.count() == uow.run.attempts.count() == uow.run.records.count() == 1
        assert [row.kind for row in uow.office.ledger.find(order="seq")] == ["grant", "hold", "charge", "release"]


def test_a_restart_at_every_message(books: Books, pia: Member, north: NodeDouble) -> None:
    run = _Run(books, pia, north)
    for step in run.steps():
        run.restart()
        step()
    assert books.experiment(run.experiment)["state"] == "succeeded"
