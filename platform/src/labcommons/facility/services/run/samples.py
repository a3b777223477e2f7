"""Samples, as experiments make and take them.

EXPECTED at submit; AVAILABLE at the lab where its step succeeded; what a later step does to it its action declares
(``becomes: available | consumed``); QUARANTINED while an attempt that touched it is UNKNOWN or when it failed in
mid-run; VOID if it was never made.
"""

from __future__ import annotations

from dataclasses import replace

from labcommons.core.ids import LabId, SampleId
from labcommons.facility.ports import AttemptRow, SampleRow, StepRow, UnitOfWork
from labcommons.protocols.capabilities import load_shipped
from labcommons.scheduler.events import AttemptEnded, AttemptState

__all__ = ["close", "consumes", "in_doubt", "place", "settle", "taken"]

_UN_RUN = frozenset({AttemptState.REFUSED, AttemptState.SUPERSEDED, AttemptState.ADJUDICATED_NOT_RUN})


def taken(uow: UnitOfWork, step: StepRow) -> dict[str, SampleRow]:
    """Parameter -> the sample that the step is given there and does not make itself."""
    found: dict[str, SampleRow] = {}
    for name, value in (step.arguments or {}).items():
        if isinstance(value, dict) and "sample" in value:
            row = uow.run.samples.get(SampleId(value["sample"]))
            if row is not None and row.made_by != step.id:
                found[name] = row
    return found


def _becomes(step: StepRow, parameter: str) -> str:
    """What the step's action says it does to the sample."""
    capability = load_shipped().get(step.plan["capability"])
    takes = capability.actions[step.action].takes.get(parameter) if capability is not None else None
    return takes.becomes if takes is not None else "available"


def consumes(uow: UnitOfWork, step: StepRow) -> bool:
    """Whether a run of the step uses a sample up."""
    return any(_becomes(step, parameter) == "consumed" for parameter in taken(uow, step))


def place(uow: UnitOfWork, step: StepRow) -> LabId | None:
    """The lab in which the samples lie that the step takes; ``None`` if it takes none."""
    return next((row.lab for row in taken(uow, step).values() if row.lab is not None), None)


def _put(uow: UnitOfWork, row: SampleRow, state: str, lab: LabId | None = None) -> None:
    if row.state == state and lab in (None, row.lab):
        return
    uow.run.samples.save(replace(row, state=state, lab=lab or row.lab))
    uow.emit(f"sample.{state.lower()}", row.id, state, project=row.project, experiment=row.experiment)


def in_doubt(uow: UnitOfWork, attempt: AttemptRow) -> None:
    """An attempt that may have touched them is in doubt: nobody takes them meanwhile."""
    step = uow.run.steps.get(attempt.step)
    if step is not None and attempt.state == "UNKNOWN":
        for row in taken(uow, step).values():
            _put(uow, row, "QUARANTINED")


def settle(uow: UnitOfWork, attempt: AttemptRow, ended: AttemptEnded) -> None:
    """An attempt has ended: what became of the samples that it made and took."""
    step = uow.run.steps.get(attempt.step)
    if step is None:
        return
    for parameter, row in taken(uow, step).items():
        if ended.state in _UN_RUN:
            _put(uow, row, "AVAILABLE")
        elif ended.state is AttemptState.SUCCEEDED:
            _put(uow, row, "CONSUMED" if _becomes(step, parameter) == "consumed" else "AVAILABLE", attempt.lab)
        else:
            _put(uow, row, "QUARANTINED", attempt.lab)
    for row in uow.run.samples.find(made_by=step.id):
        if ended.state is AttemptState.SUCCEEDED:
            _put(uow, row, "AVAILABLE", attempt.lab)
        elif ended.state not in _UN_RUN:
            _put(uow, row, "QUARANTINED", attempt.lab)


def close(uow: UnitOfWork, step: StepRow) -> None:
    """A step has ended: what it never made is VOID."""
    for row in uow.run.samples.find(made_by=step.id, state="EXPECTED"):
        _put(uow, row, "VOID")
