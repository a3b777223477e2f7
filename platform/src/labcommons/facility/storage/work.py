"""Units of work on SQLAlchemy: one transaction, three rooms, events and audit rows with the commit."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, select, update

from labcommons.facility import ports
from labcommons.facility.storage.engine import WRITE
from labcommons.facility.storage.repository import TableRepository
from labcommons.facility.storage.tables import COUNTERS, TABLES

__all__ = ["SqlUnitOfWork", "SqlWork"]

R = TypeVar("R")


class _Room:
    """Repositories that share a connection, made when first asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _rows(
        self, table: str, row: type[R], key: Sequence[str] = ("id",), serial: str | None = None
    ) -> TableRepository[R]:
        return TableRepository(self._connection, TABLES[table], row, key, serial)


class _Office(_Room):
    """People, projects, time."""

    @cached_property
    def people(self) -> TableRepository[ports.PersonRow]:
        return self._rows("people", ports.PersonRow)

    @cached_property
    def projects(self) -> TableRepository[ports.ProjectRow]:
        return self._rows("projects", ports.ProjectRow)

    @cached_property
    def members(self) -> TableRepository[ports.MemberRow]:
        return self._rows("members", ports.MemberRow, ("project", "person"))

    @cached_property
    def allocations(self) -> TableRepository[ports.AllocationRow]:
        return self._rows("allocations", ports.AllocationRow)

    @cached_property
    def ledger(self) -> TableRepository[ports.LedgerRow]:
        return self._rows("ledger", ports.LedgerRow, ("entry",), "seq")

    @cached_property
    def holds(self) -> TableRepository[ports.HoldRow]:
        return self._rows("holds", ports.HoldRow)

    @cached_property
    def idempotency(self) -> TableRepository[ports.IdempotencyRow]:
        return self._rows("idempotency", ports.IdempotencyRow, ("person", "route", "key"))

    def balances(self, accounts: Iterable[str]) -> dict[str, int]:
        """What came in less what went out of each account, in ms."""
        wanted = list(accounts)
        found = dict.fromkeys(wanted, 0)
        ledger = TABLES["ledger"]
        for column, sign in ((ledger.c.counter_account, 1), (ledger.c.account, -1)):
            query = select(column, func.sum(ledger.c.amount_ms)).where(column.in_(wanted)).group_by(column)
            for account, amount in self._connection.execute(query):
                found[account] += sign * int(amount)
        return found


class _Run(_Room):
    """Protocols, experiments, and what came of them."""

    @cached_property
    def protocols(self) -> TableRepository[ports.ProtocolRow]:
        return self._rows("protocols", ports.ProtocolRow, ("hash",))

    @cached_property
    def studies(self) -> TableRepository[ports.StudyRow]:
        return self._rows("studies", ports.StudyRow)

    @cached_property
    def experiments(self) -> TableRepository[ports.ExperimentRow]:
        return self._rows("experiments", ports.ExperimentRow)

    @cached_property
    def steps(self) -> TableRepository[ports.StepRow]:
        return self._rows("steps", ports.StepRow)

    @cached_property
    def attempts(self) -> TableRepository[ports.AttemptRow]:
        return self._rows("attempts", ports.AttemptRow)

    @cached_property
    def history(self) -> TableRepository[ports.AttemptHistoryRow]:
        return self._rows("attempt_history", ports.AttemptHistoryRow, ("seq",), "seq")

    @cached_property
    def records(self) -> TableRepository[ports.RecordRow]:
        return self._rows("records", ports.RecordRow)

    @cached_property
    def objects(self) -> TableRepository[ports.ObjectRow]:
        return self._rows("objects", ports.ObjectRow, ("sha256",))

    @cached_property
    def record_objects(self) -> TableRepository[ports.RecordObjectRow]:
        return self._rows("record_objects", ports.RecordObjectRow, ("record", "name"))

    @cached_property
    def samples(self) -> TableRepository[ports.SampleRow]:
        return self._rows("samples", ports.SampleRow)

    @cached_property
    def events(self) -> TableRepository[ports.EventRow]:
        return self._rows("events", ports.EventRow)

    @cached_property
    def audit(self) -> TableRepository[ports.AuditRow]:
        return self._rows("audit", ports.AuditRow, ("seq",), "seq")


class _Lab(_Room):
    """Labs, nodes, instruments."""

    @cached_property
    def labs(self) -> TableRepository[ports.LabRow]:
        return self._rows("labs", ports.LabRow)

    @cached_property
    def members(self) -> TableRepository[ports.LabMemberRow]:
        return self._rows("lab_members", ports.LabMemberRow, ("lab", "person"))

    @cached_property
    def nodes(self) -> TableRepository[ports.NodeRow]:
        return self._rows("nodes", ports.NodeRow)

    @cached_property
    def sessions(self) -> TableRepository[ports.NodeSessionRow]:
        return self._rows("node_sessions", ports.NodeSessionRow, ("node", "session"))

    @cached_property
    def journals(self) -> TableRepository[ports.JournalRow]:
        return self._rows("node_journals", ports.JournalRow, ("node", "journal"))

    @cached_property
    def entries(self) -> TableRepository[ports.EntryRow]:
        return self._rows("node_entries", ports.EntryRow, ("node", "journal", "seq"))

    @cached_property
    def instruments(self) -> TableRepository[ports.InstrumentRow]:
        return self._rows("instruments", ports.InstrumentRow)

    @cached_property
    def manifests(self) -> TableRepository[ports.ManifestRow]:
        return self._rows("manifests", ports.ManifestRow, ("hash",))

    @cached_property
    def tokens(self) -> TableRepository[ports.TokenRow]:
        return self._rows("tokens", ports.TokenRow, ("node", "session", "instrument", "number"))


class SqlUnitOfWork:
    """One transaction on one connection; made by ``SqlWork``."""

    def __init__(
        self, connection: Connection, now: datetime, ids: ports.Ids, objects: ports.ObjectStore, *, writes: bool
    ) -> None:
        self._connection = connection
        self._writes = writes
        self._events: list[ports.EventRow] = []
        self._audit: list[ports.AuditRow] = []
        self._topics: set[str] = set()
        self.now = now
        self.ids = ids
        self.objects = objects
        self.committed = False
        self.office = _Office(connection)
        self.run = _Run(connection)
        self.lab = _Lab(connection)

    @cached_property
    def epoch(self) -> int:
        """The platform's epoch."""
        query = select(COUNTERS.c.value).where(COUNTERS.c.name == "epoch")
        return int(self._connection.execute(query).scalar_one())

    def emit(
        self,
        event: str,
        subject: str,
        state: str,
        *,
        project: str | None = None,
        experiment: str | None = None,
        lab: str | None = None,
        node: str | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        """Register an event; it is written with the commit."""
        self._events.append(
            ports.EventRow(
                at=self.now,
                event=event,
                subject=str(subject),
                state=state,
                project=project,
                experiment=experiment,
                lab=lab,
                node=node,
                topics=tuple(topics),
            )
        )

    def wake(self, *topics: str) -> None:
        """Wake these after the commit."""
        self._topics.update(topics)

    def audit(self, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None) -> None:
        """Register an audit row; it is written with the commit."""
        self._audit.append(ports.AuditRow(self.now, str(actor), action, str(subject), detail or {}))

    def commit(self) -> None:
        """Write events and audit rows and commit."""
        if not self._writes or self.committed:
            raise RuntimeError("this unit of work reads only" if not self._writes else "already committed")
        self.run.audit.add(*self._audit)
        self._number_events()
        self._connection.commit()
        self.committed = True

    def _number_events(self) -> None:
        """Give the events their numbers as the last thing before the commit.

        The counter's row stays locked until the commit, so numbers rise in the order of commits on every database:
        no reader ever sees a number appear below one that it has already read.
        """
        if not self._events:
            return
        mine = COUNTERS.c.name == "event"
        many = len(self._events)
        self._connection.execute(update(COUNTERS).where(mine).values(value=COUNTERS.c.value + many))
        last = int(self._connection.execute(select(COUNTERS.c.value).where(mine)).scalar_one())
        rows = [_numbered(event, last - many + 1 + place) for place, event in enumerate(self._events)]
        self.run.events.add(*rows)

    @property
    def topics(self) -> frozenset[str]:
        """Whom to wake once this is committed, besides what the events name."""
        return frozenset(self._topics)

    @property
    def has_events(self) -> bool:
        """Whether the relay has something to read."""
        return bool(self._events)


def _numbered(event: ports.EventRow, number: int) -> ports.EventRow:
    return ports.EventRow(
        event.at, event.event, event.subject, event.state, event.project, event.experiment, event.lab, event.node,
        event.topics, number,
    )  # fmt: skip


class SqlWork:
    """The ``Work`` port: units of work on one engine."""

    def __init__(
        self, engine: Engine, clock: ports.Clock, ids: ports.Ids, objects: ports.ObjectStore, bus: ports.Bus
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._objects = objects
        self._bus = bus
        # SQLite takes one writer at a time; waiting for it here is fair and costs no busy loop.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else None
        self._owner: int | None = None

    @contextmanager
    def read(self) -> Iterator[SqlUnitOfWork]:
        """A consistent view."""
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield SqlUnitOfWork(connection, self._clock.now(), self._ids, self._objects, writes=False)
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[SqlUnitOfWork]:
        """A transaction that may change things; leaving it without ``commit`` rolls back."""
        uow: SqlUnitOfWork | None = None
        if self._writer is not None:
            if self._owner == threading.get_ident():
                raise RuntimeError("this thread has a writing unit of work open; a second one would wait for itself")
            self._writer.acquire()
            self._owner = threading.get_ident()
        try:
            with self._engine.connect() as plain:
                connection = plain.execution_options(**{WRITE: True})
                uow = SqlUnitOfWork(connection, self._clock.now(), self._ids, self._objects, writes=True)
                yield uow
                if not uow.committed:
                    connection.rollback()
        finally:
            if self._writer is not None:
                self._owner = None
                self._writer.release()
            if uow is not None and uow.committed:
                self._publish(uow)

    def _publish(self, uow: SqlUnitOfWork) -> None:
        """After the commit, and after the lock: wake the relay, which wakes all others."""
        if uow.has_events:
            self._bus.publish("outbox")
        for topic in uow.topics:
            self._bus.publish(topic)
