"""A small world around the product's own machines: one step, its hold, a node with a journal, an instrument.

Everything that can happen next is a move; nothing is fair, nothing is in order but the journal itself. Calls may be
lost (a move that is never made), repeated (every entry is read again in every world) and late. The platform's side is
`labcommons.scheduler`; the node's side restates delivery.md's rules 4 to 8. Ground truth is the instrument's own count
of starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from labcommons.scheduler import attempts, steps
from labcommons.scheduler import events as ev
from labcommons.scheduler.attempts import LIVE, Attempt, AttemptState, InvalidTransition
from labcommons.scheduler.events import Fault, Verdict
from labcommons.scheduler.steps import ENDED, Step, StepState
from support.clocks import T0

__all__ = ["Broken", "Rules", "Setting", "World", "first", "moves", "promise"]

OBJECT = frozenset({"aa"})
PEOPLE = ("per_kim", "per_olga")


class Broken(Exception):
    """A promise is broken in this very move."""


@dataclass(frozen=True)
class Setting:
    """What the instrument can do, what the protocol is, how much may go wrong."""

    void: bool = False
    remembers: bool = False
    repeatable: bool = False
    fails: bool = False
    attempts: int = 2
    restarts: int = 1
    cancels: bool = True
    loses_bytes: bool = True


@dataclass(frozen=True)
class Rules:
    """The platform's and the node's behaviour; a mutant replaces a part of it."""

    step: Callable[[Attempt, ev.Event], attempts.Result] = attempts.step
    step_step: Callable[[Step, steps.StepEvent], steps.Result] = steps.step
    #: What a restarted node may do with an INTENT whose STARTED it does not have.
    intent_after_restart: str = "doubt"  # doubt | resume | tombstone
    knows_ids_for_ever: bool = True


@dataclass(frozen=True)
class Bench:
    """One attempt at the lab. ``phase``: the node's last journal entry of it; ``hardware``: the instrument's truth."""

    phase: str = ""
    hardware: str = "idle"  # idle | runs | over
    starts: int = 0
    voided: bool = False
    session: int = 0
    bytes: str = "none"  # none | node | stored | lost
    locked: bool = False


@dataclass(frozen=True)
class World:
    """Everything. ``journal``: (kind, attempt, detail); ``read``: how much of it the platform has."""

    step: Step
    attempts: tuple[Attempt, ...] = ()
    benches: tuple[Bench, ...] = ()
    journal: tuple[tuple[str, int, str], ...] = ()
    read: int = 0
    session: int = 0
    restarts: int = 0
    hold: str = "OPEN"
    holds: int = 1
    closed_by: str = ""
    since: int = 0  # attempts made before the present hold was opened
    cancelled: bool = False
    trail: tuple[str, ...] = field(default=(), compare=False)

    def bench(self, n: int, **changes: object) -> World:
        changed = replace(self.benches[n], **changes)  # type: ignore[arg-type]
        return replace(self, benches=(*self.benches[:n], changed, *self.benches[n + 1 :]))

    def entry(self, kind: str, n: int, detail: str = "", **changes: object) -> World:
        world = self.bench(n, phase=kind, **changes)
        return replace(world, journal=(*world.journal, (kind, n, detail)))


Move = tuple[str, World]


def first() -> World:
    """A submitted step with its hold, nothing granted."""
    step, _ = steps.submit("stp", T0, candidates=["ins"])
    return World(_bare(step))


def _bare(step: Step) -> Step:
    return replace(step, history=())


# --- the platform -----------------------------------------------------------------------------------------------------


def _happen(world: World, n: int, event: ev.Event, rules: Rules) -> World:
    attempt, effects = rules.step(world.attempts[n], event)
    if attempt == world.attempts[n] and not effects:
        return world
    attempt = replace(attempt, history=()) if attempt.history else attempt
    world = replace(world, attempts=(*world.attempts[:n], attempt, *world.attempts[n + 1 :]))
    for effect in effects:
        match effect:
            case ev.ChargeWanted():
                world = _close(world, f"charged for {n}")
            case ev.AttemptEnded():
                world = _step_happens(world, effect, rules)
            case ev.StrikeCandidate():
                world = _step_happens(world, steps.CandidateStruck(T0, "ins", effect.reason), rules)
            case ev.LockOutBench():
                # The session is revoked and the driver's link cut: this attempt cannot reach the hardware any more.
                world = world.bench(n, locked=True)
            case _:
                pass
    return world


def _step_happens(world: World, event: steps.StepEvent, rules: Rules) -> World:
    step, effects = rules.step_step(world.step, event)
    world = replace(world, step=_bare(step))
    for effect in effects:
        match effect:
            case steps.ReleaseHold():
                world = _close(world, "released")
            case steps.OpenHold():
                world = replace(world, hold="OPEN", holds=world.holds + 1, closed_by="", since=len(world.attempts))
            case ev.SendStop():
                n = int(effect.attempt)
                world = _happen(world, n, ev.StopAsked(T0, "per_rae", effect.mode), rules)
            case _:
                pass
    return world


def _close(world: World, how: str) -> World:
    if world.hold == "CLOSED":
        raise Broken(f"the hold is closed twice: {world.closed_by}, then {how}")
    if how == "released":
        for n, (attempt, bench) in enumerate(zip(world.attempts, world.benches, strict=True)):
            if attempt.state in LIVE:
                raise Broken(f"the hold is released while attempt {n} is {attempt.state}")
            if n >= world.since and bench.starts and attempt.state is not AttemptState.SUPERSEDED:
                raise Broken(f"the hold is released, but attempt {n} has run")
    return replace(world, hold="CLOSED", closed_by=how)


def _platform(world: World, setting: Setting, rules: Rules) -> Iterator[Move]:
    made = len(world.attempts)
    if world.step.state is StepState.READY and made < setting.attempts:
        attempt, _ = attempts.grant(
            str(made), "stp", T0, repeatable=setting.repeatable, consumes=not setting.repeatable
        )
        granted = replace(
            world,
            attempts=(*world.attempts, replace(attempt, history=())),
            benches=(*world.benches, Bench(session=_known_session(world))),
        )
        yield "grant", _step_happens(granted, steps.AttemptGranted(T0, str(made)), rules)
    if setting.cancels and not world.cancelled:
        yield "cancel", _step_happens(replace(world, cancelled=True), steps.CancelWished(T0, "per_rae"), rules)
    if world.read < len(world.journal):
        kind, n, detail = world.journal[world.read]
        yield f"read {kind} {n}", _read(replace(world, read=world.read + 1), kind, n, detail, world.read, rules)
    for seq in range(world.read):
        kind, n, detail = world.journal[seq]
        again = _read(world, kind, n, detail, seq, rules)
        if again != world:
            raise Broken(f"a repeated {kind} changed something: {world} -> {again}")
    for n in range(made):
        yield from _watch(world, n, rules)


def _known_session(world: World) -> int:
    return sum(1 for kind, _, _ in world.journal[: world.read] if kind == "SESSION")


def _read(world: World, kind: str, n: int, detail: str, seq: int, rules: Rules) -> World:
    if kind == "SESSION":
        return world
    source = ("jnl", seq)
    fault = Fault.LAB if detail == "failed" else Fault.NONE
    durable = OBJECT if world.benches[n].bytes == "stored" else frozenset()
    made: dict[str, ev.Event] = {
        "RECEIVED": ev.Received(T0, source),
        "INTENT": ev.Intended(T0, source),
        "STARTED": ev.Started(T0, source),
        "RESULT": ev.ResultRead(T0, detail, 5, OBJECT, durable, fault, source),
        "TOMBSTONE": ev.Tombstoned(T0, detail, True, source),
        "UNKNOWN": ev.UnknownReported(T0, detail, source),
    }
    return _happen(world, n, made[kind], rules)


def _watch(world: World, n: int, rules: Rules) -> Iterator[Move]:
    attempt, bench = world.attempts[n], world.benches[n]
    if attempt.state in (AttemptState.GRANTED, AttemptState.RUNNING):
        yield f"lease of {n} lapses", _happen(world, n, ev.LeaseLapsed(T0), rules)
    if attempt.state is AttemptState.SUSPECT:
        yield f"{n} is silent too long", _happen(world, n, ev.SuspectExpired(T0), rules)
    if attempt.state in (AttemptState.SUSPECT, AttemptState.UNKNOWN):
        yield f"contact about {n}", _happen(world, n, ev.ContactRegained(T0), rules)
    if bench.bytes == "node":
        yield f"bytes of {n} stored", _happen(world.bench(n, bytes="stored"), n, ev.BytesStored(T0, OBJECT), rules)
    if attempt.state is AttemptState.UNKNOWN:
        # People tell the truth, as they find it at the bench.
        ran = bench.starts > 0
        verdict = Verdict.RAN if ran else Verdict.NOT_RUN
        if attempts.adjudication_refusal(attempt, verdict, PEOPLE) is None:
            yield f"people say {n} {verdict}", _happen(world, n, ev.Adjudicated(T0, verdict, PEOPLE, "seen"), rules)
        if attempt.repeatable and attempt.outcome is None:
            yield f"{n} is planned anew", _happen(world, n, ev.PlannedAnew(T0), rules)


# --- the node and its instrument --------------------------------------------------------------------------------------


def _node(world: World, setting: Setting, rules: Rules) -> Iterator[Move]:
    for n, bench in enumerate(world.benches):
        if not world.attempts[n].answered or not rules.knows_ids_for_ever:
            yield from _deliver(world, n, rules)
        if attempts.stop_due(world.attempts[n]) is not None:
            yield from _stop(world, n)
        current = bench.session == world.session
        if bench.phase == "RECEIVED" and current and not bench.locked:
            yield f"intent {n}", world.entry("INTENT", n)
        if bench.phase == "INTENT" and current and not bench.voided and not bench.locked and bench.hardware == "idle":
            yield f"start {n}", world.bench(n, hardware="runs", starts=bench.starts + 1)
        if bench.phase == "INTENT" and bench.hardware != "idle" and current:
            yield f"started {n}", world.entry("STARTED", n)
        if bench.hardware == "runs":
            yield f"hardware of {n} ends", world.bench(n, hardware="over")
        if bench.phase == "STARTED" and bench.hardware == "over":
            yield from _result(world, n, setting)
        if setting.loses_bytes and bench.phase == "RESULT" and bench.bytes == "node":
            yield f"bytes of {n} lost", world.entry("UNKNOWN", n, "bytes_missing", bytes="lost")
    if world.restarts < setting.restarts:
        yield "node restarts", _restart(world, setting, rules)


def _deliver(world: World, n: int, rules: Rules) -> Iterator[Move]:
    bench = world.benches[n]
    if bench.phase and rules.knows_ids_for_ever:
        return
    if bench.session != world.session or bench.locked:
        if not bench.phase:
            yield f"grant {n} is stale", world.entry("TOMBSTONE", n, "stale_grant")
    else:
        yield f"grant {n} arrives", world.entry("RECEIVED", n)


def _stop(world: World, n: int) -> Iterator[Move]:
    bench = world.benches[n]
    if bench.phase in ("", "RECEIVED"):
        yield f"stop of {n} before intent", world.entry("TOMBSTONE", n, "stopped")
    elif bench.phase == "INTENT" and bench.session == world.session and bench.hardware == "idle" and not bench.voided:
        # This very process has not sent the start.
        yield f"stop of {n} before start", world.entry("TOMBSTONE", n, "stopped", voided=True)
    elif bench.phase == "STARTED":
        yield f"stopped {n}", world.entry("RESULT", n, "stopped", hardware="over", bytes="node")


def _result(world: World, n: int, setting: Setting) -> Iterator[Move]:
    yield f"result of {n}", world.entry("RESULT", n, "done", bytes="node")
    if setting.fails:
        yield f"failure of {n}", world.entry("RESULT", n, "failed", bytes="node")


def _restart(world: World, setting: Setting, rules: Rules) -> World:
    world = replace(
        world,
        session=world.session + 1,
        restarts=world.restarts + 1,
        journal=(*world.journal, ("SESSION", -1, "")),
    )
    for n, bench in enumerate(world.benches):
        if bench.phase == "RECEIVED":
            world = world.entry("TOMBSTONE", n, "restart")
        elif bench.phase == "INTENT":
            world = _in_doubt(world, n, setting, rules)
        elif bench.phase == "STARTED" and not setting.remembers:
            world = world.entry("UNKNOWN", n, "instrument_forgot")
    return world


def _in_doubt(world: World, n: int, setting: Setting, rules: Rules) -> World:
    """INTENT without STARTED: only the instrument can say."""
    bench = world.benches[n]
    if rules.intent_after_restart == "resume":
        return world.bench(n, session=world.session, hardware="idle")
    if rules.intent_after_restart == "tombstone":
        return world.entry("TOMBSTONE", n, "restart", voided=True)
    if setting.void and bench.hardware == "idle":
        return world.entry("TOMBSTONE", n, "voided", voided=True)
    if (setting.void or setting.remembers) and bench.hardware != "idle":
        return world.entry("STARTED", n)
    return world.entry("UNKNOWN", n, "agent_died", voided=bench.hardware == "idle")


# --- what can happen, and what must not -------------------------------------------------------------------------------


def moves(world: World, setting: Setting, rules: Rules) -> Iterator[Move]:
    """Every next world. Raises ``Broken`` where a move itself breaks a promise."""
    try:
        yield from _platform(world, setting, rules)
        yield from _node(world, setting, rules)
    except InvalidTransition as error:
        raise Broken(f"a legal happening was illegal: {error}") from error


def promise(world: World) -> None:
    """What holds in every world. Raises ``Broken``."""
    ended_by_fault = sum(a.state is AttemptState.FAILED_RAN and a.fault is not Fault.NONE for a in world.attempts)
    again = ended_by_fault + sum(a.state is AttemptState.SUPERSEDED for a in world.attempts)
    if any(b.starts > 1 for b in world.benches):
        raise Broken("one attempt was started twice")
    if sum(b.starts for b in world.benches) > 1 + again:
        raise Broken("the step was started twice")
    live = [a.attempt for a in world.attempts if a.state in LIVE]
    if len(live) > 1:
        raise Broken(f"two live attempts: {live}")
    if (world.step.state is StepState.ACTIVE) != bool(live):
        raise Broken(f"the step is {world.step.state} with live attempts {live}")
    if live and world.hold != "OPEN":
        raise Broken("a live attempt without an open hold")
    if world.step.state in ENDED and world.hold != "CLOSED":
        raise Broken(f"the step is {world.step.state}, its hold is open")
    for a, b in zip(world.attempts, world.benches, strict=True):
        if a.state in (AttemptState.REFUSED, AttemptState.ADJUDICATED_NOT_RUN) and b.starts:
            raise Broken(f"attempt {a.attempt} is {a.state}, but it has run")
        if a.state in (AttemptState.SUCCEEDED, AttemptState.FAILED_RAN, AttemptState.STOPPED) and b.bytes != "stored":
            raise Broken(f"attempt {a.attempt} is {a.state} without its bytes")
