"""What must be true of the books at any moment, over plain data: run after tests, and in production on demand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labcommons.scheduler import attempts, experiments, steps
from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.attempts import Attempt, AttemptState
from labcommons.scheduler.steps import Step, StepState

__all__ = ["ExperimentFacts", "HoldFacts", "TokenFacts", "World", "check_world"]


@dataclass(frozen=True)
class HoldFacts:
    """A row of the holds: the step's ``n``-th; ``open``; ``charged_ms`` once it is closed."""

    step: str
    allocation: str
    amount_ms: int
    open: bool
    charged_ms: int = 0


@dataclass(frozen=True)
class ExperimentFacts:
    """An experiment's stored state and the steps it has."""

    experiment: str
    state: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class TokenFacts:
    """What an attempt was granted with: each token is used once, each fence is one attempt's."""

    attempt: str
    instrument: str
    session: str
    token: int
    epoch: int
    fence: int


@dataclass(frozen=True)
class World:
    """The books, or a whole part of them: all attempts of the steps named, all holds, all entries of their accounts."""

    steps: Sequence[Step] = ()
    attempts: Sequence[Attempt] = ()
    experiments: Sequence[ExperimentFacts] = ()
    holds: Sequence[HoldFacts] = ()
    entries: Sequence[ledger.Entry] = ()
    tokens: Sequence[TokenFacts] = ()


def check_world(world: World) -> list[str]:
    """Every invariant that is broken, each as a sentence; empty when all hold."""
    by_step: defaultdict[str, list[Attempt]] = defaultdict(list)
    for a in world.attempts:
        by_step[a.step].append(a)
    return [
        *_attempts(world, by_step),
        *_steps(world, by_step),
        *_holds(world, by_step),
        *_experiments(world, by_step),
        *_tokens(world.tokens),
        *_stories(world),
        *ledger.check(world.entries, {a.attempt: a.step for a in world.attempts}),
    ]


def _live(its: Iterable[Attempt]) -> list[str]:
    # One whose charge was asked for is a late result on its way through RESULT_STORED: the step has gone on.
    return [a.attempt for a in its if a.state in attempts.LIVE and not a.accounted]


def _attempts(world: World, by_step: dict[str, list[Attempt]]) -> Iterator[str]:
    for step, its in by_step.items():
        live = _live(its)
        if len(live) > 1:
            yield f"step {step} has {len(live)} live attempts: {', '.join(live)}"
        ran = [a.attempt for a in its if a.state is AttemptState.SUCCEEDED]
        if len(ran) > 1:
            yield f"step {step} succeeded {len(ran)} times: {', '.join(ran)}"
    for a in world.attempts:
        if a.started and a.state is AttemptState.REFUSED:
            yield f"attempt {a.attempt} was refused and has started"
        if a.state in (AttemptState.SUCCEEDED, AttemptState.FAILED_RAN, AttemptState.STOPPED) and not a.stored:
            yield f"attempt {a.attempt} is {a.state}, but its result is not durable"
        if a.state is AttemptState.SUPERSEDED and not a.repeatable:
            yield f"attempt {a.attempt} was superseded, but its protocol is not repeatable"


def _steps(world: World, by_step: dict[str, list[Attempt]]) -> Iterator[str]:
    for s in world.steps:
        live = _live(by_step.get(s.step, []))
        if (s.state is StepState.ACTIVE) != bool(live):
            yield f"step {s.step} is {s.state} with {len(live)} live attempts"
        if s.state is StepState.ACTIVE and live and s.attempt not in live:
            yield f"step {s.step} names attempt {s.attempt} as its live one, but that is {', '.join(live)}"
        if s.state is StepState.DONE and not any(a.state is AttemptState.SUCCEEDED for a in by_step.get(s.step, [])):
            yield f"step {s.step} is DONE, but none of its attempts succeeded"


def _holds(world: World, by_step: dict[str, list[Attempt]]) -> Iterator[str]:
    open_by_step: defaultdict[str, int] = defaultdict(int)
    for h in world.holds:
        open_by_step[h.step] += h.open
        if not 0 <= h.charged_ms <= h.amount_ms or (h.open and h.charged_ms):
            state = "open" if h.open else "closed"
            yield f"a hold of {h.amount_ms} ms for step {h.step} is {state} and charged {h.charged_ms} ms"
    for s in world.steps if world.holds else ():
        holds = open_by_step[s.step]
        if holds > 1:
            yield f"step {s.step} has {holds} open holds"
        if holds and s.state in steps.ENDED:
            yield f"step {s.step} is {s.state}, but its hold is open"
        if not holds and _live(by_step.get(s.step, [])):
            yield f"step {s.step} has a live attempt, but no open hold"
    if world.entries:
        yield from _held_accounts(world)


def _held_accounts(world: World) -> Iterator[str]:
    open_ms: defaultdict[str, int] = defaultdict(int)
    for h in world.holds:
        open_ms[ledger.held(h.allocation)] += h.amount_ms * h.open
    booked = {a: ms for a, ms in ledger.balances(world.entries).items() if a.startswith("held:")}
    for account in sorted({*open_ms, *booked}):
        if open_ms[account] != booked.get(account, 0):
            yield f"{account} holds {booked.get(account, 0)} ms, but the open holds come to {open_ms[account]} ms"


def _experiments(world: World, by_step: dict[str, list[Attempt]]) -> Iterator[str]:
    states = {s.step: s.state for s in world.steps}
    for e in world.experiments:
        fold = experiments.fold([states[s] for s in e.steps], [a.state for s in e.steps for a in by_step.get(s, [])])
        if fold != e.state:
            yield f"experiment {e.experiment} is stored as {e.state}, but its steps fold to {fold}"


def _tokens(facts: Iterable[TokenFacts]) -> Iterator[str]:
    used: dict[tuple[object, ...], str] = {}
    for t in facts:
        for key in (
            ("token", str(t.token), "of", t.instrument, "in session", t.session),
            ("fence", str(t.epoch), str(t.fence), "of", t.instrument),
        ):
            other = used.setdefault(key, t.attempt)
            if other != t.attempt:
                yield f"attempts {other} and {t.attempt} share {' '.join(map(str, key))}"


def _stories(world: World) -> Iterator[str]:
    """Each story that is at hand is a path through its table and ends where the thing stands."""
    for a in world.attempts:
        path = [AttemptState(p.after) for p in a.history]
        for before, after in pairwise(path):
            if after not in attempts.TRANSITIONS[before]:
                yield f"attempt {a.attempt} went from {before} to {after}"
        if path and path[-1] is not a.state:
            yield f"attempt {a.attempt} is {a.state}, but its story ends {path[-1]}"
    for s in world.steps:
        walk = [StepState(p.after) for p in s.history]
        for was, then in pairwise(walk):
            if then not in steps.TRANSITIONS[was]:
                yield f"step {s.step} went from {was} to {then}"
        if walk and walk[-1] is not s.state:
            yield f"step {s.step} is {s.state}, but its story ends {walk[-1]}"
