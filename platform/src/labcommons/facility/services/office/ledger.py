"""The ledger, read: entries of a project or a lab, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labcommons.core.errors import InvalidInput
from labcommons.facility.ports import AllocationRow, LabRow, LedgerRow, ProjectRow, UnitOfWork
from labcommons.facility.services.office.allocations import of_projects
from labcommons.scheduler.allocation import ledger as books


def entry_of(row: LedgerRow) -> books.Entry:
    """A row of the store as the entry that the ledger's folds take."""
    return books.Entry(
        entry=row.entry,
        at=row.at,
        kind=books.EntryKind(row.kind),
        account=row.account,
        counter_account=row.counter_account,
        instrument_type=row.instrument_type,
        amount_ms=row.amount_ms,
        cause=row.cause,
        actor=row.actor,
    )


def position(uow: UnitOfWork, entry: str | None) -> int | None:
    """Where an entry stands in the ledger. Raises `InvalidInput` (`bad_cursor`)."""
    if entry is None:
        return None
    row = uow.office.ledger.get(entry)
    if row is None:
        raise InvalidInput(
            "The cursor names no entry.",
            code="bad_cursor",
            field="/after",
            remedy="give `next` of the page before, or leave it out to begin at the start",
        )
    return row.seq


def entries_of(
    uow: UnitOfWork, allocations: Sequence[AllocationRow], *, after: int | None = None, limit: int | None = None
) -> list[LedgerRow]:
    """Entries that touch these allocations, in the order in which they were written."""
    touched = [name(row.id) for row in allocations for name in (books.alloc, books.held)]
    return _touching(uow, touched, after=after, limit=limit)


def _touching(
    uow: UnitOfWork, accounts: Sequence[str], *, after: int | None = None, limit: int | None = None
) -> list[LedgerRow]:
    found: dict[str, LedgerRow] = {}
    if accounts:
        ledger = uow.office.ledger
        for row in ledger.find(order="seq", after=after, limit=limit, account=list(accounts)):
            found[row.entry] = row
        for row in ledger.find(order="seq", after=after, limit=limit, counter_account=list(accounts)):
            found[row.entry] = row
    return sorted(found.values(), key=lambda row: row.seq)[:limit]


def project_statement(uow: UnitOfWork, project: ProjectRow) -> dict[str, Any]:
    """The statement of a project, in its published form."""
    allocations = of_projects(uow, [project.id])
    entries = [entry_of(row) for row in entries_of(uow, allocations)]
    named = [(row.id, row.instrument_type) for row in allocations]
    return books.statement(entries, named, project=project.id, at=uow.now)


def lab_statement(uow: UnitOfWork, lab: LabRow) -> tuple[dict[str, int], list[books.Entry]]:
    """What a lab is owed by instrument type (lab ms), and the entries that it is folded from."""
    types = sorted({row.type for row in uow.lab.instruments.find(lab=lab.id)})
    entries = [entry_of(row) for row in _touching(uow, [books.lab_account(lab.id, name) for name in types])]
    return books.owed(entries, lab.id), entries
