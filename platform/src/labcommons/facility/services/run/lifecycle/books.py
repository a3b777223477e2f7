"""The ledger as the run room moves it: holds opened, closed once by charge or release, refunds.

The arithmetic is ``scheduler.allocation.ledger``; here it meets the rows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from labcommons.core.errors import InvalidTransition
from labcommons.core.ids import AllocationId, EntryId, PersonId
from labcommons.facility.ports import AttemptRow, HoldRow, LedgerRow, StepRow, UnitOfWork
from labcommons.protocols.manifests import parse_manifest
from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.events import Fault

__all__ = ["charge", "entry_of", "open_hold", "refund", "release", "reopen"]

_MS = timedelta(milliseconds=1)


def entry_of(row: LedgerRow) -> ledger.Entry:
    """A ledger row as the pure ledger knows it."""
    return ledger.Entry(
        row.entry,
        row.at,
        ledger.EntryKind(row.kind),
        row.account,
        row.counter_account,
        row.instrument_type,
        row.amount_ms,
        row.cause,
        row.actor,
    )


def _write(uow: UnitOfWork, *entries: ledger.Entry) -> None:
    uow.office.ledger.add(
        *(
            LedgerRow(
                entry.entry,
                entry.at,
                str(entry.kind),
                entry.account,
                entry.counter_account,
                entry.instrument_type,
                entry.amount_ms,
                entry.cause,
                entry.actor,
            )
            for entry in entries
        )
    )


def open_hold(
    uow: UnitOfWork, step: StepRow, allocation: str, person: str, *, actor: str, n: int = 0
) -> tuple[HoldRow, LedgerRow]:
    """The rows of a step's ``n``-th hold, not yet added: a submit adds thousands at a time."""
    _, entry = ledger.hold(step.id, allocation, step.instrument_type, step.hold_ms, at=uow.now, actor=actor, n=n)
    row = HoldRow(
        id=EntryId(entry.entry),
        step=step.id,
        allocation=AllocationId(allocation),
        project=step.project,
        person=PersonId(person),
        instrument_type=step.instrument_type,
        amount_ms=step.hold_ms,
        opened_at=uow.now,
    )
    booked = LedgerRow(
        entry.entry, entry.at, str(entry.kind), entry.account, entry.counter_account, entry.instrument_type,
        entry.amount_ms, entry.cause, entry.actor,
    )  # fmt: skip
    return row, booked


def _open(uow: UnitOfWork, step: str) -> tuple[HoldRow, ledger.Hold] | None:
    """The step's open hold, as a row and as the pure ledger knows it."""
    row = uow.office.holds.one(step=step, state="OPEN")
    if row is None:
        return None
    earlier = uow.office.holds.count(step=step, state="CLOSED")
    return row, ledger.Hold(step, row.allocation, row.instrument_type, row.amount_ms, earlier)


def release(uow: UnitOfWork, step: StepRow, *, actor: str) -> None:
    """Close the step's open hold by a release of all of it. Nothing ran."""
    found = _open(uow, step.id)
    if found is None:
        raise InvalidTransition(f"step {step.id} ({step.state}) is to release a hold and has none open")
    row, hold = found
    _, entries = ledger.close_hold(hold, 0, at=uow.now, actor=actor)
    uow.office.holds.save(replace(row, state="CLOSED", closed_at=uow.now))
    _write(uow, *entries)


def charge(uow: UnitOfWork, step: StepRow, attempt: AttemptRow, *, actor: str) -> AttemptRow:
    """Close the step's hold with what ``attempt`` used; the attempt with its charge, saved.

    A hold that is closed already stays so: a late result is kept and closes nothing twice.
    """
    found = _open(uow, step.id)
    if found is None:
        uow.audit(actor, "hold.closed_already", step.id, {"attempt": attempt.id})
        return attempt
    row, hold = found
    until = attempt.received_at or uow.now
    wall_ms = max(0, (until - attempt.granted_at) // _MS)
    amount, estimated = ledger.charge_ms(
        hold.amount_ms, attempt.used_ms, wall_ms, time_scale_of(uow, attempt), int(attempt.grant["expected_ms"])
    )
    _, entries = ledger.close_hold(hold, amount, at=uow.now, actor=actor, attempt=attempt.id, lab=attempt.lab)
    uow.office.holds.save(replace(row, state="CLOSED", closed_at=uow.now, charged_ms=amount))
    _write(uow, *entries)
    return uow.run.attempts.save(replace(attempt, charged_ms=amount, estimated=estimated))


def time_scale_of(uow: UnitOfWork, attempt: AttemptRow) -> str:
    """Lab time per wall time, as the manifest said under which the attempt was granted."""
    manifest = uow.lab.manifests.get(attempt.grant["manifest"])
    if manifest is None:
        raise InvalidTransition(f"attempt {attempt.id} was granted on a manifest that is not in the books")
    return str(parse_manifest(manifest.document).time_scale)


def refund(uow: UnitOfWork, attempt: AttemptRow, percent: int, fault: Fault, *, actor: str) -> None:
    """Give back ``percent`` of what the attempt was charged, to the allocation that was debited."""
    charged = uow.office.ledger.one(kind="charge", cause=attempt.id)
    if charged is None:
        uow.audit(actor, "refund.nothing_charged", attempt.id)
        return
    before = uow.office.ledger.find(kind="refund", cause=attempt.id)
    entry = ledger.refund(
        entry_of(charged),
        percent,
        fault=fault,
        refunded_ms=sum(row.amount_ms for row in before),
        at=uow.now,
        actor=actor,
        n=len(before),
    )
    _write(uow, entry)


def reopen(uow: UnitOfWork, step: StepRow, *, actor: str) -> None:
    """Queued again after a refund: the next hold, of the same amount, on the same allocation."""
    last = uow.office.holds.find(step=step.id, order="opened_at", descending=True)
    if not last or last[0].state == "OPEN":
        raise InvalidTransition(f"step {step.id} is to open its next hold, and its last is not closed")
    hold, entry = open_hold(uow, step, last[0].allocation, last[0].person, actor=actor, n=len(last))
    uow.office.holds.add(hold)
    uow.office.ledger.add(entry)
