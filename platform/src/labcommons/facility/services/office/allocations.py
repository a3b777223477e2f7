"""Allocations: grants of instrument time. Amounts stand in the ledger alone; what is shown here is folded from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from labcommons.core.errors import InvalidInput, NotFound
from labcommons.core.ids import AllocationId, ProjectId
from labcommons.facility.ports import AllocationRow, LedgerRow, UnitOfWork
from labcommons.scheduler.allocation import ledger as books


@dataclass(frozen=True)
class View:
    """An allocation with its sums, in lab ms."""

    row: AllocationRow
    granted_ms: int
    held_ms: int
    charged_ms: int
    available_ms: int


def get(uow: UnitOfWork, allocation: str) -> AllocationRow:
    """The allocation with this id. Raises `NotFound`."""
    row = uow.office.allocations.get(allocation)
    if row is None:
        raise NotFound(f"There is no allocation {allocation}.", remedy="see GET /v1/allocations for yours")
    return row


def of_projects(uow: UnitOfWork, projects: Collection[str]) -> list[AllocationRow]:
    """All allocations of these projects, oldest first."""
    return uow.office.allocations.find(project=list(projects))


def views(uow: UnitOfWork, rows: Sequence[AllocationRow]) -> list[View]:
    """The rows with their sums; the database adds up, so that no page reads a whole ledger."""
    balances = uow.office.balances([name(row.id) for row in rows for name in (books.alloc, books.held)])
    granted = _granted(uow, [books.alloc(row.id) for row in rows])
    found = []
    for row in rows:
        free, held = balances[books.alloc(row.id)], balances[books.held(row.id)]
        # What was granted and is neither free nor held has been charged.
        total = granted[books.alloc(row.id)]
        found.append(View(row, total, held, total - free - held, free))
    return found


def _granted(uow: UnitOfWork, accounts: Sequence[str]) -> dict[str, int]:
    """What each allocation account was given: grants, less what was reversed of them, less what expired."""
    sums = dict.fromkeys(accounts, 0)
    for row in uow.office.ledger.find(counter_account=list(accounts), kind=["grant", "reversal"]):
        if _kind(uow, row) in {"grant", "expiry"}:
            sums[row.counter_account] += row.amount_ms
    for row in uow.office.ledger.find(account=list(accounts), kind=["expiry", "reversal"]):
        if _kind(uow, row) in {"grant", "expiry"}:
            sums[row.account] -= row.amount_ms
    return sums


def _kind(uow: UnitOfWork, row: LedgerRow) -> str:
    """The kind of an entry; of a reversal, the kind of what it undoes."""
    undone = uow.office.ledger.get(row.cause) if row.kind == "reversal" else None
    return undone.kind if undone is not None else row.kind


def grant(
    uow: UnitOfWork,
    actor: str,
    *,
    project: str,
    instrument_type: str,
    amount_ms: int,
    starts_at: datetime,
    ends_at: datetime,
) -> AllocationRow:
    """Give a project `amount_ms` of lab time of a type in [starts_at, ends_at): the row and the ledger's entry.

    Raises `InvalidInput` (`window_backwards`).
    """
    if ends_at <= starts_at:
        raise InvalidInput(
            "The window ends before it begins.",
            code="window_backwards",
            field="/ends_at",
            remedy="give an ends_at that lies after starts_at",
        )
    row = AllocationRow(
        id=uow.ids.mint(AllocationId),
        project=ProjectId(project),
        instrument_type=instrument_type,
        starts_at=starts_at,
        ends_at=ends_at,
        created_at=uow.now,
    )
    uow.office.allocations.add(row)
    entry = books.grant(row.id, instrument_type, amount_ms, at=uow.now, actor=actor)
    uow.office.ledger.add(LedgerRow(**vars(entry)))
    uow.audit(actor, "allocation.grant", row.id, {"project": project, "amount_ms": amount_ms})
    # A step that waited for time may go now.
    uow.emit("allocation.granted", row.id, "open", project=project, topics=("dispatch",))
    return row
