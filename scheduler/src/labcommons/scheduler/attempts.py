"""The life of an attempt, as the platform knows it: one table of transitions, ``step(attempt, event)``.

What the machine holds to:

- Time alone never frees an attempt: ``LeaseLapsed`` and ``SuspectExpired`` lead to SUSPECT and UNKNOWN, no further.
- Positive evidence (STARTED, RESULT) is never undone; a tombstone never overrides it.
- A RESULT makes its outcome only when its entry and its bytes are both durable.
- Evidence is never an illegal event, since a node may say what it likes: what cannot count becomes an ``Alarm``.
  A repetition changes nothing and has no effects. Timers and commands that do not fit raise ``InvalidTransition``.
- What is charged is charged once: later evidence is kept (``RecordWanted(late=True)``) and closes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import assert_never

from labcommons.core.errors import InvalidTransition
from labcommons.scheduler import events as ev
from labcommons.scheduler.events import AttemptState, Effect, Event, Evidence, Fault, Verdict

__all__ = [
    "ENDED",
    "LIVE",
    "STRIKING",
    "TERMINAL",
    "TRANSITIONS",
    "Attempt",
    "AttemptState",
    "InvalidTransition",
    "Passage",
    "adjudication_refusal",
    "grant",
    "step",
    "stop_due",
]

_S = AttemptState

#: Every arrow there is. The model, the database's checks and the shell import this one.
TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = MappingProxyType(
    {
        _S.GRANTED: frozenset({_S.RUNNING, _S.REFUSED, _S.SUSPECT, _S.UNKNOWN}),
        _S.RUNNING: frozenset({_S.RESULT_STORED, _S.STOPPED, _S.SUSPECT, _S.UNKNOWN}),
        _S.SUSPECT: frozenset({_S.RUNNING, _S.RESULT_STORED, _S.REFUSED, _S.STOPPED, _S.UNKNOWN}),
        _S.UNKNOWN: frozenset(
            {
                _S.RUNNING,
                _S.RESULT_STORED,
                _S.STOPPED,
                _S.REFUSED,
                _S.ADJUDICATED_RAN,
                _S.ADJUDICATED_NOT_RUN,
                _S.SUPERSEDED,
            }
        ),
        _S.ADJUDICATED_RAN: frozenset({_S.RESULT_STORED, _S.STOPPED}),
        _S.RESULT_STORED: frozenset({_S.SUCCEEDED, _S.FAILED_RAN}),
        _S.SUCCEEDED: frozenset(),
        _S.FAILED_RAN: frozenset(),
        _S.REFUSED: frozenset(),
        _S.STOPPED: frozenset(),
        _S.ADJUDICATED_NOT_RUN: frozenset(),
        _S.SUPERSEDED: frozenset(),
    }
)

#: At most one attempt of a step is in one of these; its hold stays open as long.
LIVE: frozenset[AttemptState] = frozenset({_S.GRANTED, _S.RUNNING, _S.SUSPECT, _S.UNKNOWN, _S.RESULT_STORED})
#: Not live. ADJUDICATED_RAN is among them, though a late result may still move it.
ENDED: frozenset[AttemptState] = frozenset(AttemptState) - LIVE
#: No arrow leads out.
TERMINAL: frozenset[AttemptState] = frozenset(state for state, after in TRANSITIONS.items() if not after)
#: Refusals that will be repeated by the same instrument: it is struck from the step's candidates.
STRIKING: frozenset[str] = frozenset({"not_allowed", "bad_request", "unsupported", "out_of_range"})

_SILENT = "silent"


@dataclass(frozen=True)
class Passage:
    """One change of state. ``before`` is ``None`` at birth."""

    at: datetime
    before: str | None
    after: str
    cause: str


@dataclass(frozen=True)
class Attempt:
    """An attempt. ``repeatable`` and ``consumes`` (a sample is used up by a run) are the protocol's word.

    ``answered``: some journal entry names it. ``outcome``, ``used_ms`` (wall ms) and ``fault`` come from RESULT;
    ``awaiting``: sha256 of objects whose bytes are not durable yet. ``reason``: of the refusal or of the doubt.
    ``accounted``: its charge was asked for. ``closed``: TOMBSTONE or BARRED was read. ``seen``: entries read.
    """

    attempt: str
    step: str
    state: AttemptState
    repeatable: bool = False
    consumes: bool = False
    answered: bool = False
    intended: bool = False
    started: bool = False
    outcome: str | None = None
    used_ms: int | None = None
    fault: Fault = Fault.NONE
    awaiting: frozenset[str] = frozenset()
    stop_mode: str | None = None
    reason: str | None = None
    accounted: bool = False
    closed: bool = False
    seen: frozenset[ev.Source] = frozenset()
    history: tuple[Passage, ...] = ()

    @property
    def stored(self) -> bool:
        """Whether RESULT and all its bytes are durable: what the node may be told in ``stored``."""
        return self.outcome is not None and not self.awaiting


Result = tuple[Attempt, tuple[Effect, ...]]


def grant(
    attempt: str, step: str, at: datetime, *, repeatable: bool = False, consumes: bool = False, cause: str = "granted"
) -> Result:
    """A new attempt, born GRANTED in the transaction that decides it."""
    born = Passage(at, None, _S.GRANTED, cause)
    made = Attempt(attempt, step, _S.GRANTED, repeatable=repeatable, consumes=consumes, history=(born,))
    return made, (ev.Audit(at, attempt, None, _S.GRANTED, cause),)


def step(attempt: Attempt, event: Event) -> Result:
    """What ``event`` makes of ``attempt``, and the effects. Raises ``InvalidTransition`` with the whole story."""
    match event:
        case (
            ev.Received()
            | ev.Intended()
            | ev.Started()
            | ev.ResultRead()
            | ev.Tombstoned()
            | ev.Barred()
            | ev.UnknownReported()
        ):
            return _read(attempt, event)
        case ev.BytesStored():
            return _bytes_stored(attempt, event)
        case ev.LeaseLapsed() | ev.SuspectExpired():
            return _silence(attempt, event)
        case ev.ContactRegained():
            return _contact(attempt, event)
        case ev.Quarantined():
            return _quarantine(attempt, event)
        case ev.BarrierLifted():
            return _settle(attempt, event.at, "barrier lifted", barrier=False)
        case ev.StopAsked():
            return _stop(attempt, event)
        case ev.Adjudicated():
            return _adjudicate(attempt, event)
        case ev.PlannedAnew():
            return _plan_anew(attempt, event)
        case _:
            assert_never(event)


def stop_due(attempt: Attempt) -> str | None:
    """The mode of the stop that the node has still to be told, if any."""
    return attempt.stop_mode if attempt.state in LIVE and attempt.outcome is None else None


def adjudication_refusal(
    attempt: Attempt, verdict: Verdict, people: tuple[str, ...], *, barrier: bool = False
) -> str | None:
    """Why people cannot end this attempt so, in one sentence; ``None`` if they can."""
    if attempt.state is not _S.UNKNOWN:
        return f"the attempt is {attempt.state}; only an UNKNOWN one needs a person's word"
    if not people:
        return "nobody has signed it"
    if barrier:
        return "the platform is still reconciling after a restore; nothing may be charged or released yet"
    if verdict is Verdict.NOT_RUN and attempt.started:
        return "the node has proved that it started; that is never undone"
    if verdict is Verdict.NOT_RUN and attempt.consumes and len(set(people)) < 2:
        return "the step uses up a sample: two different people must agree that it did not run"
    return None


# --- moving ----------------------------------------------------------------------------------------


def _move(attempt: Attempt, after: AttemptState, at: datetime, cause: str) -> Result:
    if after not in TRANSITIONS[attempt.state]:
        raise _illegal(attempt, f"{attempt.state} -> {after} ({cause})", at)
    passage = Passage(at, attempt.state, after, cause)
    moved = replace(attempt, state=after, history=(*attempt.history, passage))
    return moved, (ev.Audit(at, attempt.attempt, attempt.state, after, cause),)


def _illegal(attempt: Attempt, what: str, at: datetime) -> InvalidTransition:
    story = "; ".join(f"{p.at.isoformat()} {p.before or 'born'} -> {p.after} ({p.cause})" for p in attempt.history)
    return InvalidTransition(
        f"attempt {attempt.attempt} of step {attempt.step}: illegal at {at.isoformat()}: {what}. "
        f"It is {attempt.state}, started={attempt.started}, outcome={attempt.outcome}. Its story: {story or 'none'}"
    )


def _doubt(attempt: Attempt, at: datetime, reason: str) -> Result:
    """To UNKNOWN, with who or what may end it."""
    moved, audit = _move(replace(attempt, reason=reason), _S.UNKNOWN, at, reason)
    if attempt.repeatable and attempt.outcome is None:
        return moved, (*audit, ev.PlanAnewPossible(attempt.attempt))
    return moved, (*audit, ev.NeedsPerson(attempt.attempt, reason))


def _alarm(attempt: Attempt, code: str, text: str) -> Result:
    return attempt, (ev.Alarm(attempt.attempt, code, text),)


# --- evidence --------------------------------------------------------------------------------------


def _read(attempt: Attempt, event: Evidence) -> Result:
    if event.source is not None and event.source in attempt.seen:
        return attempt, ()
    # A journal is read in order; an entry behind one already read is kept as a fact and does not end a later doubt.
    behind = event.source is not None and any(
        journal == event.source[0] and seq > event.source[1] for journal, seq in attempt.seen
    )
    seen = attempt.seen if event.source is None else attempt.seen | {event.source}
    attempt = replace(attempt, answered=True, seen=seen)
    match event:
        case ev.Received():
            return attempt, ()
        case ev.Intended():
            return replace(attempt, intended=True), ()
        case ev.Started():
            return _started(attempt, event, behind=behind)
        case ev.ResultRead():
            return _result(attempt, event)
        case ev.Tombstoned():
            return _tombstone(attempt, event)
        case ev.Barred():
            return _barred(attempt, event)
        case ev.UnknownReported():
            return _unknown(attempt, event)
        case _:
            assert_never(event)


def _started(attempt: Attempt, event: ev.Started, *, behind: bool) -> Result:
    known = attempt.started
    attempt = replace(attempt, intended=True, started=True)
    if attempt.state in (_S.REFUSED, _S.ADJUDICATED_NOT_RUN):
        if known:
            return attempt, ()
        return _alarm(attempt, "started_after_all", f"STARTED was read of an attempt that is {attempt.state}")
    if attempt.state is _S.UNKNOWN and behind:
        return attempt, ()
    if attempt.state in (_S.GRANTED, _S.SUSPECT, _S.UNKNOWN):
        return _move(replace(attempt, reason=None), _S.RUNNING, event.at, "started")
    return attempt, ()


def _result(attempt: Attempt, event: ev.ResultRead) -> Result:
    if attempt.outcome is not None:
        if attempt.outcome == event.outcome:
            return attempt, ()
        text = f"RESULT {event.outcome} was read after RESULT {attempt.outcome}; the first counts"
        return _alarm(attempt, "second_result", text)
    contradicted = attempt.state in (_S.REFUSED, _S.ADJUDICATED_NOT_RUN) and not attempt.started
    attempt = replace(
        attempt,
        intended=True,
        started=True,
        outcome=event.outcome,
        used_ms=event.used_ms,
        fault=event.fault,
        awaiting=event.objects - event.durable,
    )
    effects: tuple[Effect, ...] = ()
    if contradicted:
        attempt, effects = _alarm(attempt, "ran_after_all", f"RESULT was read of an attempt that is {attempt.state}")
    # A RESULT proves the start: an attempt whose bytes are still to come runs, for all that the books may say.
    if attempt.state is _S.GRANTED or (attempt.awaiting and attempt.state in (_S.SUSPECT, _S.UNKNOWN)):
        attempt, effects = _move(replace(attempt, reason=None), _S.RUNNING, event.at, "result read")
    attempt, settled = _settle(attempt, event.at, f"result {event.outcome}", barrier=event.barrier, fresh=True)
    return attempt, (*effects, *settled)


def _bytes_stored(attempt: Attempt, event: ev.BytesStored) -> Result:
    if not attempt.awaiting & event.objects:
        return attempt, ()
    attempt = replace(attempt, awaiting=attempt.awaiting - event.objects)
    return _settle(attempt, event.at, f"result {attempt.outcome}", barrier=event.barrier, fresh=True)


def _settle(attempt: Attempt, at: datetime, cause: str, *, barrier: bool, fresh: bool = False) -> Result:
    """From a durable RESULT to its outcome. ``fresh``: it became durable with this very event."""
    if not attempt.stored:
        return attempt, ()
    effects: tuple[Effect, ...] = (ev.AcknowledgeResult(attempt.attempt),) if fresh else ()
    if attempt.state in TERMINAL:
        # Ended by other means (refused, not run, superseded): the data are kept, the books stay closed.
        return attempt, (*effects, ev.RecordWanted(attempt.attempt, late=True)) if fresh else ()
    if attempt.outcome != "stopped" and attempt.state is not _S.RESULT_STORED:
        attempt, moved = _move(replace(attempt, reason=None), _S.RESULT_STORED, at, cause)
        effects = (*effects, *moved)
    if barrier:
        return attempt, effects
    attempt, ended = _conclude(attempt, at, cause)
    return attempt, (*effects, *ended)


def _conclude(attempt: Attempt, at: datetime, cause: str) -> Result:
    if attempt.outcome == "stopped":
        after = _S.STOPPED
    else:
        # Data that the lab itself marks bad are a failed run, though the instrument called it done.
        after = _S.SUCCEEDED if attempt.outcome == "done" and attempt.fault is Fault.NONE else _S.FAILED_RAN
    attempt, effects = _move(attempt, after, at, cause)
    if attempt.accounted:
        return attempt, (*effects, ev.RecordWanted(attempt.attempt, late=True))
    effects = (
        *effects,
        ev.RecordWanted(attempt.attempt, late=False),
        ev.ChargeWanted(attempt.attempt, attempt.used_ms),
    )
    if attempt.fault is not Fault.NONE:
        effects = (*effects, ev.RefundWanted(attempt.attempt, 100, attempt.fault))
    ended = ev.AttemptEnded(at, attempt.attempt, attempt.state, attempt.fault, attempt.consumes)
    return replace(attempt, accounted=True), (*effects, ended)


def _tombstone(attempt: Attempt, event: ev.Tombstoned) -> Result:
    if not event.unbroken:
        return _alarm(attempt, "broken_chain", "a tombstone from a broken chain proves nothing")
    if attempt.started:
        return _alarm(attempt, "tombstone_after_start", f"a tombstone ({event.reason}) never undoes a start")
    if attempt.state in (_S.GRANTED, _S.SUSPECT, _S.UNKNOWN):
        moved, effects = _move(
            replace(attempt, closed=True, reason=event.reason), _S.REFUSED, event.at, f"tombstone {event.reason}"
        )
        if event.reason in STRIKING:
            effects = (*effects, ev.StrikeCandidate(attempt.attempt, event.reason))
        return moved, (*effects, ev.AttemptEnded(event.at, attempt.attempt, _S.REFUSED))
    if attempt.state is _S.ADJUDICATED_RAN:
        return _alarm(attempt, "tombstone_after_verdict", f"a tombstone ({event.reason}) against people's word: it ran")
    return _closing(attempt)


def _barred(attempt: Attempt, event: ev.Barred) -> Result:
    attempt, effects = _closing(attempt)
    if attempt.state in (_S.GRANTED, _S.SUSPECT):
        return _doubt(attempt, event.at, event.reason)
    return attempt, effects


def _closing(attempt: Attempt) -> Result:
    """The node's word that it will not start any more, after people had to do without it."""
    lift = attempt.state is _S.ADJUDICATED_NOT_RUN and not attempt.closed
    return replace(attempt, closed=True), (ev.LiftLockOut(attempt.attempt),) if lift else ()


def _unknown(attempt: Attempt, event: ev.UnknownReported) -> Result:
    if attempt.outcome is not None and event.reason != "bytes_missing":
        # A RESULT was read: no doubt about the run can undo it.
        return attempt, ()
    if attempt.state in (_S.GRANTED, _S.RUNNING, _S.SUSPECT):
        return _doubt(attempt, event.at, event.reason)
    if attempt.state is _S.UNKNOWN and attempt.reason == _SILENT:
        return replace(attempt, reason=event.reason), ()
    return attempt, ()


# --- silence ---------------------------------------------------------------------------------------


def _silence(attempt: Attempt, event: ev.LeaseLapsed | ev.SuspectExpired) -> Result:
    lapse = isinstance(event, ev.LeaseLapsed)
    if attempt.state is _S.UNKNOWN or (lapse and attempt.state is _S.SUSPECT):
        return attempt, ()
    if lapse and attempt.state in (_S.GRANTED, _S.RUNNING):
        if attempt.repeatable and attempt.outcome is None:
            return _doubt(attempt, event.at, _SILENT)
        return _move(replace(attempt, reason=_SILENT), _S.SUSPECT, event.at, "lease lapsed")
    if not lapse and attempt.state is _S.SUSPECT:
        return _doubt(attempt, event.at, _SILENT)
    raise _illegal(attempt, f"{type(event).__name__} on a {attempt.state} attempt", event.at)


def _contact(attempt: Attempt, event: ev.ContactRegained) -> Result:
    # The journal is read to its head and its last word is still STARTED: only our silence had put that in doubt.
    doubted = attempt.state is _S.SUSPECT or (attempt.state is _S.UNKNOWN and attempt.reason == _SILENT)
    if doubted and attempt.started:
        return _move(replace(attempt, reason=None), _S.RUNNING, event.at, "contact regained")
    return attempt, ()


def _quarantine(attempt: Attempt, event: ev.Quarantined) -> Result:
    reason = f"quarantine {event.cause}"
    if attempt.state in (_S.GRANTED, _S.RUNNING, _S.SUSPECT):
        return _doubt(attempt, event.at, reason)
    if attempt.state is _S.UNKNOWN and attempt.reason == _SILENT:
        # From now on contact alone is not enough.
        return replace(attempt, reason=reason), ()
    return attempt, ()


# --- people ----------------------------------------------------------------------------------------


def _stop(attempt: Attempt, event: ev.StopAsked) -> Result:
    moot = attempt.state not in LIVE or attempt.outcome is not None
    if moot or attempt.stop_mode in (event.mode, "now"):
        return attempt, ()
    return replace(attempt, stop_mode=event.mode), (ev.SendStop(attempt.attempt, event.mode),)


def _adjudicate(attempt: Attempt, event: ev.Adjudicated) -> Result:
    after = _S.ADJUDICATED_RAN if event.verdict is Verdict.RAN else _S.ADJUDICATED_NOT_RUN
    if attempt.state is after:
        return attempt, ()
    refusal = adjudication_refusal(attempt, event.verdict, event.people, barrier=event.barrier)
    if refusal:
        raise _illegal(attempt, f"{event.verdict} by {', '.join(event.people) or 'nobody'}: {refusal}", event.at)
    cause = f"{event.verdict} by {', '.join(event.people)}: {event.evidence}"
    moved, effects = _move(attempt, after, event.at, cause)
    if event.verdict is Verdict.RAN:
        ended = ev.AttemptEnded(event.at, attempt.attempt, after, event.fault, attempt.consumes)
        return replace(moved, accounted=True), (
            *effects,
            ev.ChargeWanted(attempt.attempt, attempt.used_ms),
            ev.RefundWanted(attempt.attempt, 100, event.fault),
            ended,
        )
    lock: tuple[Effect, ...] = () if attempt.closed else (ev.LockOutBench(attempt.attempt),)
    return moved, (*effects, *lock, ev.AttemptEnded(event.at, attempt.attempt, after))


def _plan_anew(attempt: Attempt, event: ev.PlannedAnew) -> Result:
    if attempt.state is _S.SUPERSEDED:
        return attempt, ()
    if not attempt.repeatable or attempt.outcome is not None:
        raise _illegal(attempt, "planned anew, but it is not repeatable or its RESULT was read", event.at)
    moved, effects = _move(attempt, _S.SUPERSEDED, event.at, "planned anew")
    return moved, (*effects, ev.AttemptEnded(event.at, attempt.attempt, _S.SUPERSEDED))
