"""The unit of work: one transaction, its repositories in three rooms, its events and its audit rows.

How it is used, everywhere::

    with work.write() as uow:          # or work.read(): nothing can be changed
        answer = experiments.submit(uow, principal, body, key)   # verbs never commit
        uow.commit()                   # leaving the block without it rolls back

``uow.now`` is read once, when the block is entered; ``uow.epoch`` is the platform's, bumped at every restore or
promotion of the database. Events and audit rows are written with the commit; only then is anybody woken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from labcommons.facility.ports.basics import Ids, ObjectStore
from labcommons.facility.ports.rows_lab import (
    EntryRow,
    InstrumentRow,
    JournalRow,
    LabMemberRow,
    LabRow,
    ManifestRow,
    NodeRow,
    NodeSessionRow,
    TokenRow,
)
from labcommons.facility.ports.rows_office import (
    AllocationRow,
    HoldRow,
    IdempotencyRow,
    LedgerRow,
    MemberRow,
    PersonRow,
    ProjectRow,
)
from labcommons.facility.ports.rows_run import (
    AttemptHistoryRow,
    AttemptRow,
    AuditRow,
    EventRow,
    ExperimentRow,
    ObjectRow,
    ProtocolRow,
    RecordObjectRow,
    RecordRow,
    SampleRow,
    StepRow,
    StudyRow,
)

__all__ = ["LabRoom", "OfficeRoom", "Repository", "RunRoom", "UnitOfWork", "Work"]

R = TypeVar("R")


class Repository(Protocol[R]):
    """Rows of one table. Conditions are field names of the row: a value, ``None``, or a collection (any of them)."""

    def add(self, *rows: R) -> None:
        """Insert. Raises ``Conflict`` when a row with the same key, or another unique part, is there."""
        ...

    def get(self, *key: object) -> R | None:
        """The row with this primary key (its parts in the order of the row's fields)."""
        ...

    def one(self, **equals: object) -> R | None:
        """The first row, in the order of the key, that meets the conditions."""
        ...

    def find(
        self,
        *,
        order: str | None = None,
        descending: bool = False,
        after: object = None,
        limit: int | None = None,
        **equals: object,
    ) -> list[R]:
        """Rows by ``order`` (a field; by default the key's first), only those past ``after`` in that order."""
        ...

    def count(self, **equals: object) -> int:
        """How many rows meet the conditions."""
        ...

    def save(self, row: R) -> R:
        """Compare-and-swap: replace the row if its ``version`` is still this one; returns it with the next version.

        Raises ``StaleVersion`` when somebody was first.
        """
        ...

    def delete(self, **equals: object) -> int:
        """Delete what meets the conditions (at least one must be given); returns how many. For expiry alone."""
        ...


class OfficeRoom(Protocol):
    """People, projects, time."""

    @property
    def people(self) -> Repository[PersonRow]: ...  # noqa: D102
    @property
    def projects(self) -> Repository[ProjectRow]: ...  # noqa: D102
    @property
    def members(self) -> Repository[MemberRow]: ...  # noqa: D102
    @property
    def allocations(self) -> Repository[AllocationRow]: ...  # noqa: D102
    @property
    def ledger(self) -> Repository[LedgerRow]: ...  # noqa: D102
    @property
    def holds(self) -> Repository[HoldRow]: ...  # noqa: D102
    @property
    def idempotency(self) -> Repository[IdempotencyRow]: ...  # noqa: D102

    def balances(self, accounts: Iterable[str]) -> dict[str, int]:
        """What came in less what went out, in ms, of each account; summed by the database."""
        ...


class RunRoom(Protocol):
    """Protocols, experiments, and what came of them."""

    @property
    def protocols(self) -> Repository[ProtocolRow]: ...  # noqa: D102
    @property
    def studies(self) -> Repository[StudyRow]: ...  # noqa: D102
    @property
    def experiments(self) -> Repository[ExperimentRow]: ...  # noqa: D102
    @property
    def steps(self) -> Repository[StepRow]: ...  # noqa: D102
    @property
    def attempts(self) -> Repository[AttemptRow]: ...  # noqa: D102
    @property
    def history(self) -> Repository[AttemptHistoryRow]: ...  # noqa: D102
    @property
    def records(self) -> Repository[RecordRow]: ...  # noqa: D102
    @property
    def objects(self) -> Repository[ObjectRow]: ...  # noqa: D102
    @property
    def record_objects(self) -> Repository[RecordObjectRow]: ...  # noqa: D102
    @property
    def samples(self) -> Repository[SampleRow]: ...  # noqa: D102
    @property
    def events(self) -> Repository[EventRow]: ...  # noqa: D102
    @property
    def audit(self) -> Repository[AuditRow]: ...  # noqa: D102


class LabRoom(Protocol):
    """Labs, nodes, instruments."""

    @property
    def labs(self) -> Repository[LabRow]: ...  # noqa: D102
    @property
    def members(self) -> Repository[LabMemberRow]: ...  # noqa: D102
    @property
    def nodes(self) -> Repository[NodeRow]: ...  # noqa: D102
    @property
    def sessions(self) -> Repository[NodeSessionRow]: ...  # noqa: D102
    @property
    def journals(self) -> Repository[JournalRow]: ...  # noqa: D102
    @property
    def entries(self) -> Repository[EntryRow]: ...  # noqa: D102
    @property
    def instruments(self) -> Repository[InstrumentRow]: ...  # noqa: D102
    @property
    def manifests(self) -> Repository[ManifestRow]: ...  # noqa: D102
    @property
    def tokens(self) -> Repository[TokenRow]: ...  # noqa: D102


class UnitOfWork(Protocol):
    """One transaction."""

    @property
    def now(self) -> datetime: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def ids(self) -> Ids: ...  # noqa: D102
    @property
    def objects(self) -> ObjectStore: ...  # noqa: D102
    @property
    def office(self) -> OfficeRoom: ...  # noqa: D102
    @property
    def run(self) -> RunRoom: ...  # noqa: D102
    @property
    def lab(self) -> LabRoom: ...  # noqa: D102

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
        """Register an event (``noun.state``); it is written with the commit. ``topics``: whom to wake besides."""
        ...

    def wake(self, *topics: str) -> None:
        """Wake these right after the commit, without an event that people see.

        A wake-up has no content, and one that a crash swallows is mended by the restart: everybody then reads the rows.
        """
        ...

    def audit(self, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None) -> None:
        """Register an audit row; it is written with the commit."""
        ...

    def commit(self) -> None:
        """Write the events and audit rows and commit it all. Once for each unit of work."""
        ...


class Work(Protocol):
    """Where units of work come from. Blocking: call it from a worker thread, never from a coroutine."""

    def read(self) -> AbstractContextManager[UnitOfWork]:
        """A consistent view; changing anything raises."""
        ...

    def write(self) -> AbstractContextManager[UnitOfWork]:
        """A transaction that may change things. On SQLite one at a time."""
        ...
