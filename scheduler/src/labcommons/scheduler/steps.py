"""The life of a step: one table of transitions, ``step(state, event)``, and what its end means for those after it.

The step owns the ledger hold. It is closed once: by the charge that an attempt asks for, or by ``ReleaseHold`` here,
and never while an attempt of the step is live (a step with a live attempt is ACTIVE, and no arrow that releases
leaves ACTIVE without the end of that attempt).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from labcommons.core.errors import InvalidTransition
from labcommons.scheduler.attempts import Passage
from labcommons.scheduler.events import AttemptEnded, AttemptState, Audit, Before, Fault, SendStop

__all__ = [
    "ENDED",
    "MAX_FAULTS",
    "TRANSITIONS",
    "Adopted",
    "AttemptEnded",
    "AttemptGranted",
    "BarrierLifted",
    "CancelWished",
    "CandidateStruck",
    "DependenciesMet",
    "InvalidTransition",
    "NoCandidateLeft",
    "OpenHold",
    "ReleaseHold",
    "Resolution",
    "Skipped",
    "Step",
    "StepEffect",
    "StepEnded",
    "StepEvent",
    "StepReady",
    "StepState",
    "before",
    "ready_after",
    "resolve",
    "step",
    "submit",
]


class StepState(StrEnum):
    """States of a step."""

    WAITING = "WAITING"
    READY = "READY"
    ACTIVE = "ACTIVE"
    DONE = "DONE"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


_S = StepState

#: Every arrow there is. ACTIVE -> WAITING and ACTIVE -> SKIPPED belong to steps that were adopted while WAITING.
TRANSITIONS: Mapping[StepState, frozenset[StepState]] = MappingProxyType(
    {
        _S.WAITING: frozenset({_S.READY, _S.ACTIVE, _S.CANCELLED, _S.SKIPPED}),
        _S.READY: frozenset({_S.ACTIVE, _S.CANCELLED, _S.SKIPPED, _S.FAILED}),
        _S.ACTIVE: frozenset({_S.DONE, _S.FAILED, _S.STOPPED, _S.READY, _S.CANCELLED, _S.WAITING, _S.SKIPPED}),
        _S.DONE: frozenset(),
        _S.FAILED: frozenset(),
        _S.STOPPED: frozenset(),
        _S.CANCELLED: frozenset(),
        _S.SKIPPED: frozenset(),
    }
)

#: No arrow leads out.
ENDED: frozenset[StepState] = frozenset(state for state, after in TRANSITIONS.items() if not after)

#: A run that fails by the lab's or the facility's fault goes back to the queue; after this many, the step is FAILED.
MAX_FAULTS = 3


@dataclass(frozen=True)
class Step:
    """A step. ``after``: steps of the experiment that must be DONE first. ``candidates`` and ``struck``: instruments.

    ``attempt``: the live one while ACTIVE. ``adopted``: it became ACTIVE out of WAITING, after a restore.
    ``faults``: runs that failed by the lab's or the facility's fault. ``skip``: why it is to be skipped once the
    restore barrier is lifted.
    """

    step: str
    state: StepState
    after: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    struck: frozenset[str] = frozenset()
    attempt: str | None = None
    cancel_wished: bool = False
    adopted: bool = False
    faults: int = 0
    skip: str | None = None
    history: tuple[Passage, ...] = ()

    @property
    def open_candidates(self) -> tuple[str, ...]:
        """The candidates that have not refused it for good, in their order."""
        return tuple(c for c in self.candidates if c not in self.struck)


# --- events (``AttemptEnded`` of scheduler.events is one of them) -----------------------------------------------------


@dataclass(frozen=True)
class DependenciesMet:
    """Every step before it is DONE."""

    at: datetime


@dataclass(frozen=True)
class AttemptGranted:
    """The dispatcher has granted it."""

    at: datetime
    attempt: str


@dataclass(frozen=True)
class Adopted:
    """A node has an attempt that the restored books forgot."""

    at: datetime
    attempt: str


@dataclass(frozen=True)
class CandidateStruck:
    """An instrument will never take it. Comes before the ``AttemptEnded`` of the attempt that showed it."""

    at: datetime
    instrument: str
    reason: str


@dataclass(frozen=True)
class NoCandidateLeft:
    """No instrument can ever take it, for ``cause`` (arguments out of every range, labs gone)."""

    at: datetime
    cause: str


@dataclass(frozen=True)
class Skipped:
    """A step before it did not end DONE, or its guard is false: ``cause`` says which."""

    at: datetime
    cause: str
    barrier: bool = False


@dataclass(frozen=True)
class CancelWished:
    """A person wants it cancelled. ``mode`` of the stop, should it be active."""

    at: datetime
    by: str
    mode: str = "safe_point"
    barrier: bool = False


@dataclass(frozen=True)
class BarrierLifted:
    """Releases are allowed again after a restore: wishes that waited for it come true."""

    at: datetime


StepEvent = (
    DependenciesMet
    | AttemptGranted
    | Adopted
    | AttemptEnded
    | CandidateStruck
    | NoCandidateLeft
    | Skipped
    | CancelWished
    | BarrierLifted
)


# --- effects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReleaseHold:
    """Close the step's open hold by a release of all of it."""

    step: str


@dataclass(frozen=True)
class OpenHold:
    """Queued again after a refund: open the step's next hold, of the same amount, on the same allocation."""

    step: str


@dataclass(frozen=True)
class StepReady:
    """It may be granted: wake the dispatcher. Its age is kept."""

    step: str


@dataclass(frozen=True)
class StepEnded:
    """It has ended: resolve the steps after it, fold the experiment, settle its samples."""

    step: str
    state: StepState


StepEffect = Audit | ReleaseHold | OpenHold | StepReady | StepEnded | SendStop
Result = tuple[Step, tuple[StepEffect, ...]]


def submit(step: str, at: datetime, after: Sequence[str] = (), candidates: Sequence[str] = ()) -> Result:
    """A new step: WAITING, and READY at once if nothing comes before it."""
    born = Passage(at, None, _S.WAITING, "submitted")
    made = Step(step, _S.WAITING, after=tuple(after), candidates=tuple(candidates), history=(born,))
    audit = Audit(at, step, None, _S.WAITING, "submitted")
    if made.after:
        return made, (audit,)
    made, effects = _move(made, _S.READY, at, "nothing comes before it")
    return made, (audit, *effects, StepReady(step))


def step(state: Step, event: StepEvent) -> Result:
    """What ``event`` makes of the step, and the effects. Raises ``InvalidTransition`` with the whole story."""
    match event:
        case DependenciesMet():
            return _ready(state, event)
        case AttemptGranted() | Adopted():
            return _activate(state, event)
        case AttemptEnded():
            return _attempt_ended(state, event)
        case CandidateStruck():
            return replace(state, struck=state.struck | {event.instrument}), ()
        case NoCandidateLeft():
            return _hopeless(state, event)
        case Skipped():
            return _skip(state, event)
        case CancelWished():
            return _cancel(state, event)
        case BarrierLifted():
            return _lift(state, event.at)
        case _:
            assert_never(event)


# --- moving -----------------------------------------------------------------------------------------------------------


def _move(state: Step, after: StepState, at: datetime, cause: str) -> Result:
    if after not in TRANSITIONS[state.state]:
        raise _illegal(state, f"{state.state} -> {after} ({cause})", at)
    moved = replace(state, state=after, history=(*state.history, Passage(at, state.state, after, cause)))
    return moved, (Audit(at, state.step, state.state, after, cause),)


def _illegal(state: Step, what: str, at: datetime) -> InvalidTransition:
    story = "; ".join(f"{p.at.isoformat()} {p.before or 'born'} -> {p.after} ({p.cause})" for p in state.history)
    return InvalidTransition(
        f"step {state.step}: illegal at {at.isoformat()}: {what}. It is {state.state}, its live attempt "
        f"{state.attempt or 'none'}, cancel wished: {state.cancel_wished}. Its story: {story or 'none'}"
    )


def _end(state: Step, after: StepState, at: datetime, cause: str, *, release: bool) -> Result:
    moved, effects = _move(replace(state, attempt=None, skip=None), after, at, cause)
    closing: tuple[StepEffect, ...] = (ReleaseHold(state.step),) if release else ()
    return moved, (*effects, *closing, StepEnded(state.step, after))


def _ready(state: Step, event: DependenciesMet) -> Result:
    if state.state is _S.READY:
        return state, ()
    moved, effects = _move(state, _S.READY, event.at, "the steps before it are done")
    return moved, (*effects, StepReady(state.step))


def _activate(state: Step, event: AttemptGranted | Adopted) -> Result:
    adopted = isinstance(event, Adopted)
    if state.attempt == event.attempt:
        return state, ()
    if state.state is _S.WAITING and not adopted:
        raise _illegal(state, f"granted {event.attempt} before the steps before it were done", event.at)
    if not adopted and (state.cancel_wished or state.skip):
        raise _illegal(state, f"granted {event.attempt} though it is to be cancelled or skipped", event.at)
    forgotten = adopted and state.state is _S.WAITING
    state = replace(state, attempt=event.attempt, adopted=forgotten)
    return _move(state, _S.ACTIVE, event.at, f"{'adopted' if adopted else 'granted'} {event.attempt}")


def _hopeless(state: Step, event: NoCandidateLeft) -> Result:
    if state.state is _S.ACTIVE:
        # The arrow ACTIVE -> FAILED is an attempt's to take: no hold is released beside a live one.
        raise _illegal(state, f"no candidate left ({event.cause}) with a live attempt", event.at)
    return _end(state, _S.FAILED, event.at, event.cause, release=True)


# --- the end of an attempt --------------------------------------------------------------------------------------------


def _attempt_ended(state: Step, event: AttemptEnded) -> Result:
    if state.attempt != event.attempt:
        raise _illegal(state, f"attempt {event.attempt} ended ({event.state}), but it is not this step's", event.at)
    cause = f"{event.attempt} {event.state}"
    match event.state:
        case AttemptState.SUCCEEDED:
            return _end(state, _S.DONE, event.at, cause, release=False)
        case AttemptState.STOPPED:
            return _end(state, _S.STOPPED, event.at, cause, release=False)
        case AttemptState.FAILED_RAN:
            return _failed(state, event, cause)
        case AttemptState.ADJUDICATED_RAN:
            return _end(state, _S.FAILED, event.at, cause, release=False)
        case AttemptState.REFUSED | AttemptState.SUPERSEDED | AttemptState.ADJUDICATED_NOT_RUN:
            return _un_run(state, event, cause)
        case _:
            raise _illegal(state, f"attempt {event.attempt} is said to have ended {event.state}", event.at)


def _failed(state: Step, event: AttemptEnded, cause: str) -> Result:
    state = replace(state, faults=state.faults + (event.fault is not Fault.NONE))
    if event.fault is Fault.NONE or event.consumed or state.faults >= MAX_FAULTS:
        return _end(state, _S.FAILED, event.at, cause, release=False)
    if state.cancel_wished:
        # The charge closed the hold and was refunded: there is nothing to release.
        return _end(state, _S.CANCELLED, event.at, f"{cause}, cancel wished", release=False)
    moved, effects = _move(replace(state, attempt=None), _S.READY, event.at, f"{cause}, by {event.fault}'s fault")
    return moved, (*effects, OpenHold(state.step), StepReady(state.step))


def _un_run(state: Step, event: AttemptEnded, cause: str) -> Result:
    state = replace(state, attempt=None)
    if state.cancel_wished and not event.barrier:
        return _end(state, _S.CANCELLED, event.at, f"{cause}, cancel wished", release=True)
    if state.adopted and event.before is not Before.DONE:
        state = replace(state, adopted=False)
        if event.before is Before.ENDED and not event.barrier:
            return _end(state, _S.SKIPPED, event.at, f"{cause}, a step before it did not end DONE", release=True)
        if event.before is Before.ENDED:
            state = replace(state, skip="a step before it did not end DONE")
        return _move(state, _S.WAITING, event.at, cause)
    moved, effects = _move(replace(state, adopted=False), _S.READY, event.at, f"{cause}: queued again, its age kept")
    if moved.candidates and not moved.open_candidates and not event.barrier:
        moved, ended = _end(moved, _S.FAILED, event.at, "no candidate left", release=True)
        return moved, (*effects, *ended)
    return moved, (*effects, StepReady(state.step))


# --- wishes -----------------------------------------------------------------------------------------------------------


def _skip(state: Step, event: Skipped) -> Result:
    if state.state is _S.SKIPPED:
        return state, ()
    if event.barrier and state.state in (_S.WAITING, _S.READY):
        return replace(state, skip=event.cause), ()
    if state.state is _S.ACTIVE:
        raise _illegal(state, f"skipped ({event.cause}) with a live attempt", event.at)
    return _end(state, _S.SKIPPED, event.at, event.cause, release=True)


def _cancel(state: Step, event: CancelWished) -> Result:
    if state.state in ENDED:
        return state, ()
    wished = replace(state, cancel_wished=True)
    if state.state is _S.ACTIVE:
        # A wish: the hold waits for REFUSED, STOPPED, a result, or a person. A stop is repeated without harm.
        return wished, (SendStop(state.attempt or "", event.mode),) if not state.cancel_wished else ()
    if event.barrier:
        return wished, ()
    return _end(wished, _S.CANCELLED, event.at, f"cancelled by {event.by}", release=True)


def _lift(state: Step, at: datetime) -> Result:
    if state.state not in (_S.WAITING, _S.READY):
        return state, ()
    if state.cancel_wished:
        return _end(state, _S.CANCELLED, at, "cancel wished, and the barrier is lifted", release=True)
    if state.skip:
        return _end(state, _S.SKIPPED, at, state.skip, release=True)
    if state.state is _S.READY and state.candidates and not state.open_candidates:
        return _end(state, _S.FAILED, at, "no candidate left", release=True)
    return state, ()


# --- the graph --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resolution:
    """What the steps of an experiment are due: ``ready`` may go, ``skipped`` never will (step -> why)."""

    ready: tuple[str, ...]
    skipped: Mapping[str, str]


def ready_after(steps: Iterable[Step], done: str) -> tuple[str, ...]:
    """The WAITING steps that become READY now that ``done`` is DONE, in the given order."""
    steps = tuple(steps)
    finished = {s.step for s in steps if s.state is _S.DONE} | {done}
    return tuple(s.step for s in steps if s.state is _S.WAITING and done in s.after and finished.issuperset(s.after))


def before(state: Step, steps: Iterable[Step]) -> Before:
    """How the steps before ``state`` stand."""
    states = [s.state for s in steps if s.step in state.after]
    if any(s in ENDED and s is not _S.DONE for s in states):
        return Before.ENDED
    return Before.DONE if all(s is _S.DONE for s in states) else Before.OPEN


def resolve(steps: Sequence[Step]) -> Resolution:
    """All WAITING steps that are to be READY or SKIPPED, through the whole graph. Guards are the shell's."""
    states = {s.step: s.state for s in steps}
    ready: list[str] = []
    skipped: dict[str, str] = {}
    moved = True
    while moved:
        moved = False
        for waiting in steps:
            if states[waiting.step] is not _S.WAITING:
                continue
            lost = next((b for b in waiting.after if states[b] in ENDED and states[b] is not _S.DONE), None)
            if lost is not None:
                skipped[waiting.step] = f"{lost} ended {states[lost]}"
                states[waiting.step] = _S.SKIPPED
                moved = True
            elif all(states[b] is _S.DONE for b in waiting.after):
                ready.append(waiting.step)
                states[waiting.step] = _S.READY
    return Resolution(tuple(ready), MappingProxyType(skipped))
