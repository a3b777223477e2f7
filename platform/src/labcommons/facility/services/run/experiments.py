"""Experiments: what a user wants. Shown with place and forecast, cancelled, and why they wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from labcommons.core.times import to_text
from labcommons.facility.ports import AttemptRow, ExperimentRow, StepRow, UnitOfWork
from labcommons.facility.services.run import lifecycle
from labcommons.facility.services.run.access import demand, missing, person_of
from labcommons.facility.services.run.dispatch import queue
from labcommons.facility.services.run.submission import SubmitAnswer, compile_items, submit
from labcommons.scheduler import steps
from labcommons.scheduler.authority import Principal, Resource
from labcommons.scheduler.dispatch import decide, positions
from labcommons.scheduler.replay.queue import forecast

__all__ = ["SubmitAnswer", "cancel", "compile_items", "get", "present", "show", "submit", "why"]

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
#: Past so many open steps a list leaves place and forecast out; ``show`` always has them.
_FORECAST_MOST = 300


@dataclass(frozen=True)
class _Outlook:
    """Places in the queue and when steps are expected to be done (p50, p90)."""

    places: Mapping[str, int]
    ends: Mapping[str, tuple[datetime, datetime]]


def get(uow: UnitOfWork, experiment: str) -> ExperimentRow:
    """The experiment's row. Raises ``NotFound``; whether the caller may see it is the caller's to ask."""
    row = uow.run.experiments.get(experiment)
    if row is None:
        raise missing()
    return row


def cancel(uow: UnitOfWork, principal: Principal, row: ExperimentRow, mode: str = "safe_point") -> ExperimentRow:
    """Cancel what has not ended; ``mode`` (safe_point | now) is how an active step is stopped.

    A step without a live attempt is cancelled at once; any other is wished to be, and its hold waits for evidence.
    """
    demand(principal, "experiment.cancel", Resource("experiment", project=row.project, owner=row.submitted_by))
    if row.state in _ENDED:
        return row
    person = person_of(principal)
    if not row.cancel_wished:
        row = uow.run.experiments.save(replace(row, cancel_wished=True))
        uow.audit(person, "experiment.cancel", row.id, {"mode": mode})
    # The last first, so that none is skipped for the cancellation of one before it.
    for step in uow.run.steps.find(experiment=row.id, state=queue.OPEN, order="position", descending=True):
        current = uow.run.steps.get(step.id) or step
        lifecycle.step_happen(uow, current, steps.CancelWished(uow.now, person, mode), actor=person)
    lifecycle.refold(uow, row.id)
    return get(uow, row.id)


def why(uow: UnitOfWork, row: ExperimentRow) -> dict[str, Any]:
    """Why its steps wait: ``{experiment, state, reasons: [{step, code, text, constraint, until}]}``."""
    names = {str(step.id): step.name for step in uow.run.steps.find(experiment=row.id)}
    reasons: list[dict[str, Any]] = []
    if row.state not in _ENDED:
        world = queue.snapshot(uow, states=queue.OPEN)
        reasons = [
            {
                "step": names[reason.step],
                "code": str(reason.code),
                "text": reason.text,
                "constraint": reason.constraint,
                "until": to_text(reason.until) if reason.until else None,
            }
            for reason in decide(world.steps, world.benches, explain=set(names)).reasons
        ]
    return {"experiment": row.id, "state": row.state, "reasons": reasons}


# --- how they look ----------------------------------------------------------------------------------------------------


def show(uow: UnitOfWork, row: ExperimentRow) -> dict[str, Any]:
    """One experiment as the API gives it, with its place and forecast."""
    return present(uow, [row])[0]


def present(uow: UnitOfWork, rows: Sequence[ExperimentRow]) -> list[dict[str, Any]]:
    """Experiments as the API gives them."""
    ids = [row.id for row in rows]
    steps_of: defaultdict[str, list[StepRow]] = defaultdict(list)
    for step in uow.run.steps.find(experiment=ids, order="position") if ids else ():
        steps_of[step.experiment].append(step)
    attempts_of: defaultdict[str, list[AttemptRow]] = defaultdict(list)
    for attempt in uow.run.attempts.find(experiment=ids) if ids else ():
        attempts_of[attempt.step].append(attempt)
    waits = any(row.state not in _ENDED for row in rows)
    outlook = _outlook(uow) if waits and (len(rows) == 1 or _short_queue(uow)) else None
    return [_one(row, steps_of[row.id], attempts_of, outlook) for row in rows]


def _short_queue(uow: UnitOfWork) -> bool:
    return uow.run.steps.count(state=queue.OPEN) <= _FORECAST_MOST


def _outlook(uow: UnitOfWork) -> _Outlook:
    world = queue.snapshot(uow, states=queue.OPEN)
    etas = forecast(world.steps, world.benches, uow.now, world.running)
    ends = {step: (eta.p50_at, eta.p90_at) for step, eta in etas.items()}
    return _Outlook(positions(world.steps), {**ends, **world.running})


def _one(
    row: ExperimentRow,
    steps_rows: Sequence[StepRow],
    attempts_of: Mapping[str, Sequence[AttemptRow]],
    outlook: _Outlook | None,
) -> dict[str, Any]:
    return {
        "id": row.id,
        "project": row.project,
        "study": row.study,
        "label": row.label,
        "protocol": row.protocol,
        "protocol_id": row.protocol_id,
        "arguments": row.arguments,
        "labs": list(row.labs),
        "priority": row.priority,
        "state": row.state,
        "cancelling": row.cancel_wished and row.state not in _ENDED,
        "submitted_by": row.submitted_by,
        "submitted_at": to_text(row.submitted_at),
        "ended_at": to_text(row.ended_at) if row.ended_at else None,
        "place": _place(steps_rows, outlook),
        "eta": _eta(steps_rows, outlook),
        "steps": [_step(step, attempts_of.get(step.id, ())) for step in steps_rows],
    }


def _place(rows: Sequence[StepRow], outlook: _Outlook | None) -> int | None:
    """Its place, from 1, among the READY steps that share a candidate with its first one."""
    if outlook is None:
        return None
    return min((outlook.places[row.id] + 1 for row in rows if row.id in outlook.places), default=None)


def _eta(rows: Sequence[StepRow], outlook: _Outlook | None) -> dict[str, str] | None:
    """When its last step is expected to be done; ``None`` where a step waits for what no clock brings."""
    waiting = [row.id for row in rows if row.state in queue.OPEN]
    if outlook is None or not waiting or any(step not in outlook.ends for step in waiting):
        return None
    return {
        "p50_at": to_text(max(outlook.ends[step][0] for step in waiting)),
        "p90_at": to_text(max(outlook.ends[step][1] for step in waiting)),
    }


def _step(row: StepRow, attempts: Sequence[AttemptRow]) -> dict[str, Any]:
    charged = [attempt.charged_ms for attempt in attempts if attempt.charged_ms is not None]
    return {
        "id": row.id,
        "step": row.name,
        "action": row.action,
        "state": row.state,
        "instrument_type": row.instrument_type,
        "hold_ms": row.hold_ms,
        "charged_ms": sum(charged) if charged else None,
        "reason": row.reason,
        "attempts": [
            {
                "attempt": attempt.id,
                "state": attempt.state,
                "lab": attempt.lab,
                "instrument": attempt.instrument,
                "granted_at": to_text(attempt.granted_at),
                "started_at": to_text(attempt.started_at) if attempt.started_at else None,
                "ended_at": to_text(attempt.ended_at) if attempt.ended_at else None,
                "fraction": attempt.fraction,
                "reason": attempt.reason,
            }
            for attempt in attempts
        ],
    }
