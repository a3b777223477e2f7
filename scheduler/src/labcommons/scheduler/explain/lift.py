"""Checking an answer: does a condition hold, and what does the world look like once it does.

This is how a reason is shown to be true: lift its constraint, and the step is granted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from labcommons.scheduler.dispatch import (
    AllowRule,
    Bench,
    Condition,
    Reason,
    WaitingStep,
    ages_after,
    decide,
    order,
    usable,
)
from labcommons.scheduler.steps import StepState

__all__ = ["World", "holds", "lift"]


@dataclass(frozen=True)
class World:
    """All that the dispatcher looks at."""

    steps: tuple[WaitingStep, ...]
    benches: tuple[Bench, ...]
    barrier: bool = False

    def grantable(self, step: str) -> bool:
        """Whether the step would be granted now."""
        return any(g.step == step for g in decide(self.steps, self.benches, barrier=self.barrier).grants)


def lift(world: World, reason: Reason) -> World:
    """The world in which every condition of ``reason`` holds and nothing else has changed."""
    for condition in reason.conditions:
        world = _lift_one(world, condition, reason.step)
    return world


def holds(world: World, condition: Condition, step: str) -> bool:
    """Whether a condition of ``step``'s reason holds in this world: making it so would change nothing."""
    return _lift_one(world, condition, step) == world


def _lift_one(world: World, condition: Condition, step: str) -> World:
    match condition.what:
        case "barrier":
            return replace(world, barrier=False)
        case "ahead":
            return _clear_ahead(world, step, condition.be["on"])
        case "held":
            return _steps(world, step, lambda s: replace(s, held=True))
        case "cancel_wished":
            return _steps(world, step, lambda s: replace(_ready(s), cancel_wished=False))
        case "struck_by":
            return _steps(world, step, lambda s: replace(s, struck=s.struck - {condition.be["without"]}))
        case "unknown":
            return _steps(world, step, lambda s: replace(_ready(s), unknown=None))
        case "state" if condition.be == "DONE":
            return _steps(world, step, lambda s: _done(s, condition.of))
        case _:
            return _bench(world, condition)


def _steps(world: World, step: str, change: Callable[[WaitingStep], WaitingStep]) -> World:
    return replace(world, steps=tuple(change(s) if s.step == step else s for s in world.steps))


def _ready(step: WaitingStep) -> WaitingStep:
    """An ACTIVE step whose attempt is out of the way stands in the queue again."""
    return replace(step, state=StepState.READY) if step.state is StepState.ACTIVE else step


def _done(step: WaitingStep, before: str) -> WaitingStep:
    left = tuple(b for b in step.after if b != before)
    return replace(step, after=left, state=step.state if left else StepState.READY)


def _clear_ahead(world: World, step: str, instrument: str) -> World:
    """The READY steps in front of this one on that instrument have gone, each by the place that it held."""
    mine = next(s for s in world.steps if s.step == step)
    queued = [s for s in world.steps if s.state is StepState.READY or s == mine]
    queue = order(queued)
    front = queue[: queue.index(mine)]
    gone = {s.step for s in front if any(c.instrument == instrument for c in usable(s))}
    ages = ages_after(queued, gone)
    left = (replace(s, since=ages.get(s.step, s.since)) for s in world.steps if s.step not in gone)
    return replace(world, steps=tuple(left))


def _bench(world: World, condition: Condition) -> World:
    def changed(bench: Bench) -> Bench:
        if bench.instrument != condition.of:
            return bench
        match condition.what:
            case "state":
                return replace(bench, state="idle")
            case "token":
                return replace(bench, tokens=bench.tokens or (1,))
            case "locked":
                return replace(bench, locked=None)
            case "allowed" | "open":
                return replace(bench, allow=(*(bench.allow or ()), _rule(condition.be)))
            case _:
                return replace(bench, **{condition.what: condition.be})

    return replace(world, benches=tuple(changed(b) for b in world.benches))


def _rule(wanted: dict[str, Any]) -> AllowRule:
    return AllowRule(wanted["protocol"], frozenset({wanted["project"]}))
