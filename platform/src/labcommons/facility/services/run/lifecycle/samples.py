"""Samples, as experiments make and take them; what may become of one is ``scheduler.samples``.

EXPECTED at submit; AVAILABLE at the lab where its step succeeded; RESERVED when the step that takes it is READY,
COMMITTED with its grant; then CONSUMED or AVAILABLE again, as the action declares (``becomes``); QUARANTINED while an
attempt that touched it is UNKNOWN or when it failed in mid-run; VOID if it was never made.
"""

from __future__ import annotations

from dataclasses import replace

from labcommons.core.errors import InvalidTransition
from labcommons.core.ids import LabId, SampleId
from labcommons.facility.ports import AttemptRow, SampleRow, StepRow, UnitOfWork
from labcommons.protocols.capabilities import load_shipped
from labcommons.scheduler import samples
from labcommons.scheduler.events import AttemptEnded, AttemptState
from labcommons.scheduler.samples import SampleEvent, SampleState

__all__ = ["close", "consumes", "granted", "in_doubt", "place", "reserve", "settle", "taken"]

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


def _consumed(step: StepRow, parameter: str) -> bool:
    """Whether the step's action says that it uses the sample up."""
    capability = load_shipped().get(step.plan["capability"])
    takes = capability.actions[step.action].takes.get(parameter) if capability is not None else None
    return takes is not None and takes.becomes == "consumed"


def consumes(uow: UnitOfWork, step: StepRow) -> bool:
    """Whether a run of the step uses a sample up."""
    return any(_consumed(step, parameter) for parameter in taken(uow, step))


def place(uow: UnitOfWork, step: StepRow) -> LabId | None:
    """The lab in which the samples lie that the step takes; ``None`` if it takes none."""
    return next((row.lab for row in taken(uow, step).values() if row.lab is not None), None)


def _happen(uow: UnitOfWork, row: SampleRow, event: SampleEvent, cause: str, lab: LabId | None = None) -> None:
    """Let an event happen to a sample. One that its state does not allow is written down and changes nothing.

    It comes with evidence about an attempt, which counts whatever two steps did to one sample.
    """
    machine = samples.Sample(row.id, SampleState(row.state), row.lab)
    try:
        moved, effects = samples.step(machine, event, uow.now, cause=cause, lab=lab)
    except InvalidTransition as error:
        uow.audit("facility", "sample.contradiction", row.id, {"story": error.detail})
        return
    if not effects:
        return
    uow.run.samples.save(replace(row, state=str(moved.state), lab=None if moved.lab is None else LabId(moved.lab)))
    uow.emit(f"sample.{moved.state.lower()}", row.id, str(moved.state), project=row.project, experiment=row.experiment)


def reserve(uow: UnitOfWork, step: StepRow) -> None:
    """The step that takes them is READY: nobody else may have them."""
    for row in taken(uow, step).values():
        _happen(uow, row, SampleEvent.RESERVED, step.id)


def granted(uow: UnitOfWork, step: StepRow, attempt: str) -> None:
    """Its step was granted."""
    for row in taken(uow, step).values():
        _happen(uow, row, SampleEvent.GRANTED, attempt)


def in_doubt(uow: UnitOfWork, attempt: AttemptRow) -> None:
    """An attempt that may have touched or made them is UNKNOWN: nobody takes them meanwhile."""
    step = uow.run.steps.get(attempt.step)
    if step is not None and attempt.state == "UNKNOWN":
        for row in taken(uow, step).values():
            _happen(uow, row, SampleEvent.DOUBTED, attempt.id)


def settle(uow: UnitOfWork, attempt: AttemptRow, ended: AttemptEnded) -> None:
    """An attempt has ended: what became of the samples that it took and made."""
    step = uow.run.steps.get(attempt.step)
    if step is None:
        return
    done, un_run = ended.state is AttemptState.SUCCEEDED, ended.state in _UN_RUN
    for parameter, row in taken(uow, step).items():
        if un_run:
            event = SampleEvent.NOT_TOUCHED
        elif done:
            event = SampleEvent.USED_UP if _consumed(step, parameter) else SampleEvent.GIVEN_BACK
        else:
            event = SampleEvent.DOUBTED
        _happen(uow, row, event, attempt.id, attempt.lab)
    for row in uow.run.samples.find(made_by=step.id):
        if not un_run:
            _happen(uow, row, SampleEvent.MADE if done else SampleEvent.DOUBTED, attempt.id, attempt.lab)


def close(uow: UnitOfWork, step: StepRow) -> None:
    """A step has ended: what it reserved is free, what it never made is VOID."""
    for row in taken(uow, step).values():
        if row.state == "RESERVED":
            _happen(uow, row, SampleEvent.RESERVATION_ENDED, step.id)
    for row in uow.run.samples.find(made_by=step.id, state="EXPECTED"):
        _happen(uow, row, SampleEvent.NEVER_MADE, step.id)
