"""Where states change: an event meets an attempt or a step, and all that follows is written in the same transaction.

The decisions are ``scheduler.attempts`` and ``scheduler.steps``; this module loads, steps, saves, and carries out every
effect. Nothing else writes the state of an attempt, a step or an experiment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labcommons.core.errors import InvalidTransition
from labcommons.core.ids import AttemptId, ExperimentId
from labcommons.facility.ports import AttemptHistoryRow, AttemptRow, StepRow, UnitOfWork
from labcommons.facility.services.run import records
from labcommons.facility.services.run.lifecycle import books, samples, walking
from labcommons.scheduler import attempts, events, experiments, steps

__all__ = ["attempt_of", "born", "enter", "happen", "refold", "step_happen", "step_of", "walk"]

#: Who acts when nobody does: evidence, time, or a rule.
FACILITY = "facility"
#: Ends of an attempt that touched nothing (SUPERSEDED: what it may have done binds nobody).
_UN_RUN = frozenset({"REFUSED", "SUPERSEDED", "ADJUDICATED_NOT_RUN"})
_RUNNING_ENDS = frozenset({"succeeded", "failed", "cancelled"})


def attempt_of(uow: UnitOfWork, row: AttemptRow) -> attempts.Attempt:
    """The attempt as the pure machine knows it, with its story and the entries that were read."""
    passages = tuple(attempts.Passage(p.at, p.before, p.after, p.cause) for p in uow.run.history.find(attempt=row.id))
    seen = frozenset((str(e.journal), e.seq) for e in uow.lab.entries.find(node=row.node, attempt=row.id))
    return attempts.Attempt(
        attempt=row.id,
        step=row.step,
        state=attempts.AttemptState(row.state),
        repeatable=row.repeatable,
        consumes=row.consumes,
        answered=row.answered,
        intended=row.intended,
        started=row.started,
        outcome=row.outcome,
        used_ms=row.used_ms,
        fault=events.Fault(row.fault),
        awaiting=frozenset(row.awaiting),
        stop_mode=row.stop_mode,
        reason=row.reason,
        accounted=row.accounted,
        closed=row.closed,
        seen=seen,
        history=passages,
    )


def _attempt_row(row: AttemptRow, machine: attempts.Attempt) -> AttemptRow:
    """The row with what the machine made of it."""
    return replace(
        row,
        state=str(machine.state),
        answered=machine.answered,
        intended=machine.intended,
        started=machine.started,
        outcome=machine.outcome,
        used_ms=machine.used_ms,
        fault=str(machine.fault),
        awaiting=tuple(sorted(machine.awaiting)),
        stop_mode=machine.stop_mode,
        reason=machine.reason,
        accounted=machine.accounted,
        closed=machine.closed,
        stored=machine.stored,
    )


def step_of(row: StepRow) -> steps.Step:
    """The step as the pure machine knows it."""
    return steps.Step(
        step=row.id,
        state=steps.StepState(row.state),
        after=row.after,
        candidates=tuple(c["instrument"] for c in row.plan["candidates"]),
        struck=frozenset(row.struck),
        attempt=row.attempt,
        cancel_wished=row.cancel_wished,
        adopted=row.adopted,
        faults=row.faults,
        skip=row.skip,
    )


def _step_row(row: StepRow, machine: steps.Step) -> StepRow:
    return replace(
        row,
        state=str(machine.state),
        struck=tuple(sorted(machine.struck)),
        attempt=None if machine.attempt is None else AttemptId(machine.attempt),
        cancel_wished=machine.cancel_wished,
        adopted=machine.adopted,
        faults=machine.faults,
        skip=machine.skip,
    )


# --- attempts ---------------------------------------------------------------------------------------------------------


def born(uow: UnitOfWork, row: AttemptRow) -> None:
    """Add an attempt in the transaction that grants it, and wake its node."""
    _, effects = attempts.grant(row.id, row.step, uow.now, repeatable=row.repeatable, consumes=row.consumes)
    uow.run.attempts.add(row)
    for effect in effects:
        if isinstance(effect, events.Audit):
            _passed(uow, row, effect, FACILITY, topics=(f"node:{row.node}",))
    # A shortcut past the relay, which will say it again: the instrument waits for this.
    uow.wake(f"node:{row.node}")
    # From now on the node's silence has a deadline for this attempt.
    uow.wake("silence")


def happen(uow: UnitOfWork, row: AttemptRow, event: events.Event, *, actor: str = FACILITY, **facts: Any) -> AttemptRow:
    """Let ``event`` happen to an attempt: the row after it, saved, with every effect carried out.

    ``facts`` are fields of the row that the event brings along and no decision reads (``started_at``, ``result``).
    """
    before = attempt_of(uow, row)
    after, effects = attempts.step(before, event)
    changed = replace(_attempt_row(row, after), **facts)
    if changed != row:
        row = uow.run.attempts.save(changed)
    for effect in effects:
        row = _carry_out(uow, row, effect, actor)
    if effects:
        refold(uow, row.experiment)
    return row


def _carry_out(uow: UnitOfWork, row: AttemptRow, effect: events.Effect, actor: str) -> AttemptRow:
    """One effect; the row as it is after it."""
    match effect:
        case events.Audit():
            _passed(uow, row, effect, actor)
        case events.AttemptEnded():
            return _ended(uow, row, effect, actor)
        case events.RecordWanted():
            records.write(uow, row, late=effect.late)
        case events.ChargeWanted():
            return books.charge(uow, _step(uow, row.step), row, actor=actor)
        case events.RefundWanted():
            books.refund(uow, row, effect.percent, effect.fault, actor=actor)
        case events.AcknowledgeResult() | events.SendStop():
            uow.wake(f"node:{row.node}")
        case events.StrikeCandidate():
            struck = steps.CandidateStruck(uow.now, row.instrument, effect.reason)
            step_happen(uow, _step(uow, row.step), struck, actor=actor)
        case events.NeedsPerson():
            uow.audit(actor, "attempt.needs_person", row.id, {"reason": effect.reason})
        case events.PlanAnewPossible():
            return happen(uow, row, events.PlannedAnew(uow.now), actor=actor)
        case events.LockOutBench() | events.LiftLockOut():
            _lock(uow, row, locked=isinstance(effect, events.LockOutBench))
        case events.Alarm():
            uow.audit(actor, f"attempt.alarm.{effect.code}", row.id, {"text": effect.text})
    return row


def _passed(uow: UnitOfWork, row: AttemptRow, effect: events.Audit, actor: str, topics: tuple[str, ...] = ()) -> None:
    """History, audit and event of one change of an attempt's state."""
    uow.run.history.add(AttemptHistoryRow(row.id, effect.at, effect.before, effect.after, effect.cause))
    uow.audit(actor, f"attempt.{effect.after.lower()}", row.id, {"from": effect.before, "cause": effect.cause})
    uow.emit(
        f"attempt.{effect.after.lower()}",
        row.id,
        effect.after,
        project=row.project,
        experiment=row.experiment,
        lab=row.lab,
        node=row.node,
        topics=topics,
    )
    if effect.after in ("SUSPECT", "UNKNOWN"):
        samples.in_doubt(uow, row)


def _ended(uow: UnitOfWork, row: AttemptRow, effect: events.AttemptEnded, actor: str) -> AttemptRow:
    """The attempt is live no longer: samples, then its step."""
    if row.ended_at is None:
        row = uow.run.attempts.save(replace(row, ended_at=uow.now))
    samples.settle(uow, row, effect)
    step = _step(uow, row.step)
    if row.state in _UN_RUN:
        _unbind(uow, row, step)
    siblings = [step_of(s) for s in uow.run.steps.find(experiment=row.experiment)]
    event = replace(effect, before=steps.before(step_of(step), siblings))
    step_happen(uow, step, event, actor=actor, outputs=_outputs(row), reason=_why(row))
    uow.wake("dispatch")
    return row


def _unbind(uow: UnitOfWork, row: AttemptRow, step: StepRow) -> None:
    """What never ran binds its role to no instrument, unless another attempt of the role is live or ran there."""
    experiment = uow.run.experiments.get(row.experiment)
    if experiment is None or experiment.bindings.get(step.role) != row.instrument:
        return
    same = [s.id for s in uow.run.steps.find(experiment=row.experiment) if s.role == step.role]
    others = uow.run.attempts.find(step=same, instrument=row.instrument)
    if all(other.id == row.id or other.state in _UN_RUN for other in others):
        bindings = {role: bench for role, bench in experiment.bindings.items() if role != step.role}
        uow.run.experiments.save(replace(experiment, bindings=bindings))


def _outputs(row: AttemptRow) -> dict[str, Any] | None:
    """What the next steps may refer to: the outputs of a run that succeeded."""
    return dict(row.result["outputs"]) if row.state == "SUCCEEDED" and row.result is not None else None


def _why(row: AttemptRow) -> str | None:
    error = row.result.get("error") if row.result else None
    return f"{error['code']}: {error['message']}" if error else row.reason


def _lock(uow: UnitOfWork, row: AttemptRow, *, locked: bool) -> None:
    bench = uow.lab.instruments.get(row.instrument)
    if bench is None:
        raise InvalidTransition(f"attempt {row.id} names instrument {row.instrument}, which is not in the books")
    uow.lab.instruments.save(replace(bench, lock=f"adjudicated {row.id}" if locked else None))
    uow.wake("dispatch")


def _step(uow: UnitOfWork, step: str) -> StepRow:
    found = uow.run.steps.get(step)
    if found is None:
        raise InvalidTransition(f"step {step} is not in the books")
    return found


# --- steps ------------------------------------------------------------------------------------------------------------


def step_happen(
    uow: UnitOfWork, row: StepRow, event: steps.StepEvent, *, actor: str = FACILITY, **facts: Any
) -> StepRow:
    """Let ``event`` happen to a step: the row after it, saved, with every effect carried out."""
    after, effects = steps.step(step_of(row), event)
    changed = replace(_step_row(row, after), **{k: v for k, v in facts.items() if v is not None})
    if changed != row:
        row = uow.run.steps.save(changed)
    return _carry_out_step(uow, row, effects, actor)


def walk(uow: UnitOfWork, experiment: ExperimentId, *, actor: str = FACILITY) -> None:
    """Let everything happen that is due for the experiment's waiting steps."""
    while True:
        machines = {str(row.id): step_of(row) for row in uow.run.steps.find(experiment=experiment)}
        next_due = walking.due(uow, experiment, machines)
        if next_due is None:
            return
        enter(uow, next_due, actor=actor)


def enter(uow: UnitOfWork, due: walking.Due, *, actor: str = FACILITY) -> StepRow:
    """Let what is due happen to its step."""
    row = step_happen(uow, due.step, due.event, actor=actor, **due.facts)
    return row if due.then is None else step_happen(uow, row, due.then, actor=actor)


def _carry_out_step(uow: UnitOfWork, row: StepRow, effects: tuple[steps.StepEffect, ...], actor: str) -> StepRow:
    ended = False
    for effect in effects:
        match effect:
            case events.Audit():
                row = _step_passed(uow, row, effect, actor)
            case steps.ReleaseHold():
                books.release(uow, row, actor=actor)
            case steps.OpenHold():
                books.reopen(uow, row, actor=actor)
            case steps.StepReady():
                samples.reserve(uow, row)
                uow.wake("dispatch")
            case steps.StepEnded():
                ended = True
            case events.SendStop():
                attempt = uow.run.attempts.get(effect.attempt)
                if attempt is not None:
                    happen(uow, attempt, events.StopAsked(uow.now, actor, effect.mode), actor=actor)
    if ended:
        samples.close(uow, row)
        walk(uow, row.experiment, actor=actor)
    return row


def _step_passed(uow: UnitOfWork, row: StepRow, effect: events.Audit, actor: str) -> StepRow:
    facts: dict[str, Any] = {}
    if effect.after == "READY":
        facts["ready_at"] = uow.now
    if steps.StepState(effect.after) in steps.ENDED:
        facts["ended_at"] = uow.now
        if effect.after != "DONE" and row.reason is None:
            facts["reason"] = effect.cause
    if facts:
        row = uow.run.steps.save(replace(row, **facts))
    uow.audit(actor, f"step.{effect.after.lower()}", row.id, {"from": effect.before, "cause": effect.cause})
    uow.emit(f"step.{effect.after.lower()}", row.id, effect.after, project=row.project, experiment=row.experiment)
    return row


# --- experiments ------------------------------------------------------------------------------------------------------


def refold(uow: UnitOfWork, experiment: ExperimentId) -> None:
    """Fold the experiment's state from its steps and attempts, and say so when it has changed."""
    row = uow.run.experiments.get(experiment)
    if row is None:
        raise InvalidTransition(f"experiment {experiment} is not in the books")
    state = str(
        experiments.fold(
            [step.state for step in uow.run.steps.find(experiment=experiment)],
            [attempt.state for attempt in uow.run.attempts.find(experiment=experiment)],
        )
    )
    if state == row.state:
        return
    ended_at = uow.now if state in _RUNNING_ENDS else None
    uow.run.experiments.save(replace(row, state=state, ended_at=ended_at))
    uow.emit(f"experiment.{state}", row.id, state, project=row.project, experiment=row.id)
