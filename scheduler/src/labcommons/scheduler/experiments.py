"""The state of an experiment: a fold of its steps and their attempts, never set by hand."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from labcommons.scheduler.events import AttemptState
from labcommons.scheduler.steps import ENDED, StepState

__all__ = ["OVER", "ExperimentState", "fold"]


class ExperimentState(StrEnum):
    """What people read about an experiment."""

    WAITING = "waiting"
    RUNNING = "running"
    NEEDS_PERSON = "needs_person"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: Nothing more will happen by itself.
OVER = frozenset({ExperimentState.SUCCEEDED, ExperimentState.FAILED, ExperimentState.CANCELLED})


def fold(step_states: Iterable[StepState | str], attempt_states: Iterable[AttemptState | str] = ()) -> ExperimentState:
    """The experiment's state from the states of all its steps and attempts, in any order.

    An UNKNOWN attempt needs a person, whatever else goes on. When every step has ended, a FAILED one decides before a
    CANCELLED or STOPPED one; SKIPPED by a false guard spoils nothing. Raises ``ValueError`` without any step.
    """
    steps = [StepState(s) for s in step_states]
    if not steps:
        raise ValueError("an experiment has at least one step")
    if AttemptState.UNKNOWN in {AttemptState(a) for a in attempt_states}:
        return ExperimentState.NEEDS_PERSON
    if all(s in ENDED for s in steps):
        if StepState.FAILED in steps:
            return ExperimentState.FAILED
        if StepState.CANCELLED in steps or StepState.STOPPED in steps:
            return ExperimentState.CANCELLED
        return ExperimentState.SUCCEEDED
    begun = any(s is StepState.ACTIVE or s in ENDED for s in steps)
    return ExperimentState.RUNNING if begun else ExperimentState.WAITING
