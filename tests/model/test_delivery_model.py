"""Every world that the product's tables allow around one step: at most one start, the hold closed once, nothing freed
while it may still run. And mutants, each of which must be caught: a model that cannot fail shows nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from labcommons.scheduler import attempts, steps
from labcommons.scheduler import events as ev
from labcommons.scheduler.attempts import Attempt, AttemptState
from labcommons.scheduler.steps import Step, StepState
from model.delivery import Broken, Rules, Setting, World, first, moves, promise
from support.clocks import T0

SETTINGS = {
    "void": Setting(void=True, remembers=True),
    "remembers, no void": Setting(remembers=True),
    "dumb": Setting(),
    "repeatable": Setting(repeatable=True, restarts=0, cancels=False, loses_bytes=False),
    "fails by the lab's fault": Setting(void=True, remembers=True, fails=True, restarts=0),
}


def explore(setting: Setting, rules: Rules, most: int) -> tuple[int, set[str], set[str]]:
    """Breadth first through all worlds: how many, and the states in which attempts and steps were seen.

    Raises ``Broken`` with the shortest way there.
    """
    start = first()
    seen = {start}
    queue = deque([start])
    attempt_states: set[str] = set()
    step_states: set[str] = set()
    while queue:
        world = queue.popleft()
        try:
            promise(world)
            following = list(moves(world, setting, rules))
        except Broken as error:
            raise Broken(f"{error}\n  after: {' / '.join(world.trail)}") from error
        attempt_states |= {str(a.state) for a in world.attempts}
        step_states.add(str(world.step.state))
        for label, after in following:
            if after not in seen:
                seen.add(after)
                queue.append(replace(after, trail=(*world.trail, label)))
        assert len(seen) <= most, "the model has grown past what a test should walk"
    return len(seen), attempt_states, step_states


@pytest.mark.parametrize("name", SETTINGS)
def test_every_world_keeps_the_promises(name: str) -> None:
    worlds, attempt_states, step_states = explore(SETTINGS[name], Rules(), 400_000)
    assert worlds > 1_000
    # It went everywhere it should have: the promises were not kept by standing still.
    setting = SETTINGS[name]
    expected = {"GRANTED", "RUNNING", "SUSPECT", "UNKNOWN", "SUCCEEDED", "ADJUDICATED_RAN", "ADJUDICATED_NOT_RUN"}
    expected |= {"REFUSED", "STOPPED"} if setting.cancels else set()
    assert expected <= attempt_states
    assert {"READY", "ACTIVE", "DONE", "FAILED"} <= step_states
    assert ({"STOPPED", "CANCELLED"} <= step_states) is setting.cancels
    assert ("SUPERSEDED" in attempt_states) is setting.repeatable
    assert ("FAILED_RAN" in attempt_states) is setting.fails


# --- mutants ----------------------------------------------------------------------------------------------------------


def time_frees(attempt: Attempt, event: ev.Event) -> attempts.Result:
    """Rule 3: silence long enough is taken for "did not run"."""
    if isinstance(event, ev.SuspectExpired) and attempt.state is AttemptState.SUSPECT:
        return replace(attempt, state=AttemptState.REFUSED), (
            ev.AttemptEnded(T0, attempt.attempt, AttemptState.REFUSED),
        )
    return attempts.step(attempt, event)


def bytes_do_not_matter(attempt: Attempt, event: ev.Event) -> attempts.Result:
    """A RESULT makes its outcome at once."""
    if isinstance(event, ev.ResultRead):
        event = replace(event, durable=event.objects)
    return attempts.step(attempt, event)


def repetition_counts(attempt: Attempt, event: ev.Event) -> attempts.Result:
    """An entry that is read twice is news twice: a STARTED read again ends a doubt that came after it."""
    return attempts.step(attempt, replace(event, source=None) if isinstance(event, ev.Started) else event)


def a_doubt_is_a_refusal(attempt: Attempt, event: ev.Event) -> attempts.Result:
    """A doubt is taken for "did not run"."""
    if isinstance(event, ev.UnknownReported):
        event = ev.Tombstoned(event.at, event.reason, True, event.source)
        attempt = replace(attempt, started=False)
    return attempts.step(attempt, event)


def unknown_is_planned_anew(attempt: Attempt, event: ev.Event) -> attempts.Result:
    """Rule 16: any UNKNOWN attempt is planned anew, as if its protocol were repeatable."""
    after, effects = attempts.step(attempt, event)
    if after.state is AttemptState.UNKNOWN and attempt.state is not AttemptState.UNKNOWN:
        anew = replace(after, state=AttemptState.ADJUDICATED_NOT_RUN)
        ended = ev.AttemptEnded(T0, attempt.attempt, AttemptState.ADJUDICATED_NOT_RUN)
        return anew, (*effects, ended)
    return after, effects


def cancel_frees(step: Step, event: steps.StepEvent) -> steps.Result:
    """Rule 13: a cancel takes effect although an attempt is live."""
    if isinstance(event, steps.CancelWished) and step.state is StepState.ACTIVE:
        gone = replace(step, state=StepState.CANCELLED, attempt=None)
        return gone, (steps.ReleaseHold(step.step), steps.StepEnded(step.step, StepState.CANCELLED))
    return steps.step(step, event)


def done_releases(step: Step, event: steps.StepEvent) -> steps.Result:
    """Rule 12: the end of the step closes the hold that the charge has closed."""
    after, effects = steps.step(step, event)
    if after.state is StepState.DONE:
        return after, (*effects, steps.ReleaseHold(step.step))
    return after, effects


MUTANTS = {
    "time frees": Rules(step=time_frees),
    "bytes do not matter": Rules(step=bytes_do_not_matter),
    "repetition counts": Rules(step=repetition_counts),
    "a doubt is a refusal": Rules(step=a_doubt_is_a_refusal),
    "unknown is planned anew": Rules(step=unknown_is_planned_anew),
    "cancel frees": Rules(step_step=cancel_frees),
    "done releases": Rules(step_step=done_releases),
    "a restart resumes an intent": Rules(intent_after_restart="resume"),
    "a restart takes an intent for not run": Rules(intent_after_restart="tombstone"),
    "ids are forgotten": Rules(knows_ids_for_ever=False),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    with pytest.raises(Broken):
        explore(SETTINGS["dumb"], MUTANTS[name], 60_000)


def test_the_model_starts_with_nothing_granted() -> None:
    assert first() == World(first().step)
    assert first().step.state is StepState.READY
