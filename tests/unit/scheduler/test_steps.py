"""The step's table of transitions, its wishes, its hold, and what its end means for the steps after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from labcommons.scheduler import steps
from labcommons.scheduler.events import AttemptEnded, AttemptState, Audit, Before, Fault, SendStop
from labcommons.scheduler.experiments import ExperimentState, fold
from labcommons.scheduler.steps import ENDED, MAX_FAULTS, TRANSITIONS, InvalidTransition, Step, StepState
from support.clocks import at

S = StepState
A = AttemptState

#: delivery.md, "Step", arrow by arrow.
DESIGN = {
    ("WAITING", "READY"),
    ("READY", "ACTIVE"),
    ("ACTIVE", "DONE"),
    ("ACTIVE", "FAILED"),
    ("ACTIVE", "STOPPED"),
    ("WAITING", "CANCELLED"),
    ("READY", "CANCELLED"),
    ("WAITING", "SKIPPED"),
    ("READY", "SKIPPED"),
    ("READY", "FAILED"),
    # by adoption after a restore
    ("WAITING", "ACTIVE"),
    ("ACTIVE", "WAITING"),
    ("ACTIVE", "SKIPPED"),
    # its attempt ended un-run, or failed by another's fault
    ("ACTIVE", "READY"),
    ("ACTIVE", "CANCELLED"),
}

GRANTED = steps.AttemptGranted(at(1), "att_1")
CANCEL = steps.CancelWished(at(2), "per_rae")
LIFTED = steps.BarrierLifted(at(90))


def ended(state: AttemptState, fault: Fault = Fault.NONE, **facts: object) -> AttemptEnded:
    return replace(AttemptEnded(at(3), "att_1", state, fault), **facts)  # type: ignore[arg-type]


def ready(*candidates: str) -> Step:
    made, effects = steps.submit("stp_1", at(0), candidates=candidates)
    assert effects[-1] == steps.StepReady("stp_1")
    return made


def waiting() -> Step:
    made, effects = steps.submit("stp_2", at(0), after=["stp_1"])
    assert effects == (Audit(at(0), "stp_2", None, "WAITING", "submitted"),)
    return made


def after(first: Step, *happenings: steps.StepEvent) -> Step:
    for event in happenings:
        first, _ = steps.step(first, event)
    return first


def active(*happenings: steps.StepEvent) -> Step:
    return after(ready("ins_a", "ins_b"), GRANTED, *happenings)


def adopted() -> Step:
    return after(waiting(), steps.Adopted(at(1), "att_1"))


def names(effects: tuple[steps.StepEffect, ...]) -> list[str]:
    return [type(e).__name__ for e in effects]


def in_state(state: StepState) -> Step:
    makers: dict[StepState, Callable[[], Step]] = {
        S.WAITING: waiting,
        S.READY: ready,
        S.ACTIVE: active,
        S.DONE: lambda: active(ended(A.SUCCEEDED)),
        S.FAILED: lambda: active(ended(A.FAILED_RAN)),
        S.STOPPED: lambda: active(ended(A.STOPPED)),
        S.CANCELLED: lambda: after(ready(), CANCEL),
        S.SKIPPED: lambda: after(waiting(), steps.Skipped(at(1), "guard")),
    }
    made = makers[state]()
    assert made.state is state
    return made


def test_the_table_is_the_designs_arrow_by_arrow() -> None:
    assert {(a.value, b.value) for a, targets in TRANSITIONS.items() for b in targets} == DESIGN
    assert {S.DONE, S.FAILED, S.STOPPED, S.CANCELLED, S.SKIPPED} == ENDED


ARROWS = [
    (waiting(), steps.DependenciesMet(at(1)), S.READY, ["Audit", "StepReady"]),
    (waiting(), CANCEL, S.CANCELLED, ["Audit", "ReleaseHold", "StepEnded"]),
    (waiting(), steps.Skipped(at(1), "stp_1 ended FAILED"), S.SKIPPED, ["Audit", "ReleaseHold", "StepEnded"]),
    (waiting(), steps.Adopted(at(1), "att_1"), S.ACTIVE, ["Audit"]),
    (ready(), GRANTED, S.ACTIVE, ["Audit"]),
    (ready(), CANCEL, S.CANCELLED, ["Audit", "ReleaseHold", "StepEnded"]),
    (ready(), steps.Skipped(at(1), "guard is false"), S.SKIPPED, ["Audit", "ReleaseHold", "StepEnded"]),
    (ready(), steps.NoCandidateLeft(at(1), "out of range"), S.FAILED, ["Audit", "ReleaseHold", "StepEnded"]),
    (active(), ended(A.SUCCEEDED), S.DONE, ["Audit", "StepEnded"]),
    (active(), ended(A.STOPPED), S.STOPPED, ["Audit", "StepEnded"]),
    (active(), ended(A.FAILED_RAN), S.FAILED, ["Audit", "StepEnded"]),
    (active(), ended(A.ADJUDICATED_RAN), S.FAILED, ["Audit", "StepEnded"]),
    (active(), ended(A.REFUSED), S.READY, ["Audit", "StepReady"]),
    (active(), ended(A.SUPERSEDED), S.READY, ["Audit", "StepReady"]),
    (active(), ended(A.ADJUDICATED_NOT_RUN), S.READY, ["Audit", "StepReady"]),
    (active(), ended(A.FAILED_RAN, Fault.LAB), S.READY, ["Audit", "OpenHold", "StepReady"]),
    (active(), ended(A.FAILED_RAN, Fault.FACILITY), S.READY, ["Audit", "OpenHold", "StepReady"]),
    (active(), ended(A.FAILED_RAN, Fault.LAB, consumed=True), S.FAILED, ["Audit", "StepEnded"]),
    (active(CANCEL), ended(A.REFUSED), S.CANCELLED, ["Audit", "ReleaseHold", "StepEnded"]),
    # The charge closed the hold and was refunded: nothing is left to release.
    (active(CANCEL), ended(A.FAILED_RAN, Fault.LAB), S.CANCELLED, ["Audit", "StepEnded"]),
    (active(CANCEL), ended(A.SUCCEEDED), S.DONE, ["Audit", "StepEnded"]),
    (active(CANCEL), ended(A.STOPPED), S.STOPPED, ["Audit", "StepEnded"]),
    (adopted(), ended(A.REFUSED), S.READY, ["Audit", "StepReady"]),
    (adopted(), ended(A.REFUSED, before=Before.OPEN), S.WAITING, ["Audit"]),
    (adopted(), ended(A.REFUSED, before=Before.ENDED), S.SKIPPED, ["Audit", "ReleaseHold", "StepEnded"]),
    (adopted(), ended(A.REFUSED, before=Before.ENDED, barrier=True), S.WAITING, ["Audit"]),
    (adopted(), ended(A.SUCCEEDED, before=Before.OPEN), S.DONE, ["Audit", "StepEnded"]),
]


@pytest.mark.parametrize(("before", "event", "target", "effects"), ARROWS)
def test_where_each_event_leads_and_what_follows(
    before: Step, event: steps.StepEvent, target: StepState, effects: list[str]
) -> None:
    moved, followed = steps.step(before, event)
    assert moved.state is target
    assert names(followed) == effects
    if target is not S.ACTIVE:
        assert moved.attempt is None


def test_every_arrow_of_the_table_is_walked_by_the_tests_above() -> None:
    walked = {(b.state.value, t.value) for b, _, t, _ in ARROWS}
    assert walked == DESIGN


def test_a_hold_is_released_only_without_a_live_attempt() -> None:
    for state in StepState:
        for event in (CANCEL, steps.Skipped(at(5), "x"), steps.NoCandidateLeft(at(5), "x"), LIFTED):
            step = in_state(state)
            try:
                moved, effects = steps.step(step, event)
            except InvalidTransition:
                continue
            if "ReleaseHold" in names(effects):
                assert step.state in (S.WAITING, S.READY)
                assert moved.state in ENDED


def test_cancel_of_an_active_step_is_a_wish_that_sends_one_stop() -> None:
    wished, effects = steps.step(active(), CANCEL)
    assert (wished.state, wished.cancel_wished) == (S.ACTIVE, True)
    assert effects == (SendStop("att_1", "safe_point"),)
    assert steps.step(wished, CANCEL) == (wished, ())


@pytest.mark.parametrize("state", sorted(ENDED))
def test_cancel_of_what_has_ended_changes_nothing(state: StepState) -> None:
    step = in_state(state)
    assert steps.step(step, CANCEL) == (step, ())
    assert steps.step(step, LIFTED) == (step, ())


def test_the_barrier_keeps_wishes_until_it_is_lifted() -> None:
    for first in (waiting(), ready()):
        wished, effects = steps.step(first, replace(CANCEL, barrier=True))
        assert (wished.state, effects) == (first.state, ())
        assert steps.step(wished, LIFTED)[0].state is S.CANCELLED
        kept, effects = steps.step(first, steps.Skipped(at(2), "guard", barrier=True))
        assert (kept.state, effects) == (first.state, ())
        lifted, effects = steps.step(kept, LIFTED)
        assert (lifted.state, names(effects)) == (S.SKIPPED, ["Audit", "ReleaseHold", "StepEnded"])
        assert steps.step(first, LIFTED) == (first, ())
    refused = after(active(CANCEL), ended(A.REFUSED, barrier=True))
    assert refused.state is S.READY
    assert after(refused, LIFTED).state is S.CANCELLED
    held_back = after(adopted(), ended(A.REFUSED, before=Before.ENDED, barrier=True))
    assert after(held_back, LIFTED).state is S.SKIPPED
    assert after(active(), LIFTED).state is S.ACTIVE


def test_a_struck_candidate_is_no_candidate_and_the_last_one_fails_the_step() -> None:
    struck = active(steps.CandidateStruck(at(2), "ins_a", "not_allowed"))
    again = after(struck, ended(A.REFUSED))
    assert (again.state, again.open_candidates) == (S.READY, ("ins_b",))
    both = after(again, steps.AttemptGranted(at(4), "att_2"), steps.CandidateStruck(at(5), "ins_b", "unsupported"))
    last = replace(ended(A.REFUSED), attempt="att_2")
    failed, effects = steps.step(both, last)
    assert failed.state is S.FAILED
    assert names(effects) == ["Audit", "Audit", "ReleaseHold", "StepEnded"]
    behind = after(both, replace(last, barrier=True))
    assert behind.state is S.READY
    assert after(behind, LIFTED).state is S.FAILED


def test_runs_that_fail_by_anothers_fault_are_repeated_so_often_and_no_more() -> None:
    step = ready("ins_a")
    for n in range(MAX_FAULTS):
        assert step.state is S.READY
        attempt = f"att_{n}"
        step = after(step, steps.AttemptGranted(at(n), attempt))
        step = after(step, replace(ended(A.FAILED_RAN, Fault.LAB), attempt=attempt))
    assert (step.state, step.faults) == (S.FAILED, MAX_FAULTS)


def test_repetitions_change_nothing() -> None:
    again = after(waiting(), steps.DependenciesMet(at(1)))
    assert steps.step(again, steps.DependenciesMet(at(2))) == (again, ())
    assert steps.step(active(), GRANTED) == (active(), ())
    skipped = in_state(S.SKIPPED)
    assert steps.step(skipped, steps.Skipped(at(9), "guard")) == (skipped, ())
    struck = active(steps.CandidateStruck(at(2), "ins_a", "unsupported"))
    assert steps.step(struck, steps.CandidateStruck(at(2), "ins_a", "unsupported")) == (struck, ())


@pytest.mark.parametrize(
    ("step", "event", "words"),
    [
        (waiting(), GRANTED, "before the steps before it were done"),
        (after(ready(), replace(CANCEL, barrier=True)), GRANTED, "to be cancelled or skipped"),
        (after(ready(), steps.Skipped(at(1), "guard", barrier=True)), GRANTED, "to be cancelled or skipped"),
        (active(), steps.AttemptGranted(at(2), "att_2"), "ACTIVE -> ACTIVE"),
        (active(), steps.Skipped(at(2), "guard"), "with a live attempt"),
        (active(), steps.NoCandidateLeft(at(2), "gone"), "with a live attempt"),
        (active(), replace(ended(A.SUCCEEDED), attempt="att_9"), "not this step's"),
        (active(), ended(A.RUNNING), "is said to have ended RUNNING"),
        (in_state(S.DONE), ended(A.SUCCEEDED), "not this step's"),
        (in_state(S.DONE), GRANTED, "DONE -> ACTIVE"),
        (in_state(S.DONE), steps.DependenciesMet(at(2)), "DONE -> READY"),
        (in_state(S.DONE), steps.Skipped(at(2), "guard"), "DONE -> SKIPPED"),
        (waiting(), steps.NoCandidateLeft(at(2), "x"), "WAITING -> FAILED"),
    ],
)
def test_an_illegal_event_raises_with_the_whole_story(step: Step, event: steps.StepEvent, words: str) -> None:
    with pytest.raises(InvalidTransition, match=words) as caught:
        steps.step(step, event)
    for passage in step.history:
        assert f"{passage.before or 'born'} -> {passage.after} ({passage.cause})" in str(caught.value)


def test_a_step_without_its_story_says_so() -> None:
    with pytest.raises(InvalidTransition, match="Its story: none"):
        steps.step(Step("stp_1", S.DONE), GRANTED)


# --- the graph --------------------------------------------------------------------------------------------------------


def graph(**states: str) -> list[Step]:
    edges = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)}
    return [Step(name, StepState(states.get(name, "WAITING")), after=edges[name]) for name in edges]


def test_a_step_is_ready_when_all_before_it_are_done() -> None:
    assert steps.ready_after(graph(a="ACTIVE"), "a") == ("b", "c")
    assert steps.ready_after(graph(a="DONE", b="ACTIVE", c="ACTIVE"), "b") == ()
    assert steps.ready_after(graph(a="DONE", b="ACTIVE", c="DONE"), "b") == ("d",)
    assert steps.ready_after(graph(a="DONE", b="CANCELLED", c="DONE"), "c") == ()


def test_resolution_walks_the_whole_graph() -> None:
    due = steps.resolve(graph(a="DONE", b="FAILED"))
    assert due.ready == ("c",)
    assert dict(due.skipped) == {"d": "b ended FAILED", "e": "d ended SKIPPED"}
    backwards = steps.resolve(graph(a="DONE", b="STOPPED")[::-1])
    assert dict(backwards.skipped) == {"d": "b ended STOPPED", "e": "d ended SKIPPED"}
    assert steps.resolve(graph(a="ACTIVE")) == steps.Resolution((), {})


def test_how_the_steps_before_stand() -> None:
    def of(name: str, **states: str) -> Before:
        every = graph(**states)
        return steps.before(next(s for s in every if s.step == name), every)

    assert of("a") is Before.DONE
    assert of("d", b="DONE", c="DONE") is Before.DONE
    assert of("d", b="DONE", c="ACTIVE") is Before.OPEN
    assert of("d", b="SKIPPED", c="ACTIVE") is Before.ENDED


# --- the experiment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "attempts", "folded"),
    [
        (["READY", "WAITING"], [], "waiting"),
        (["ACTIVE", "WAITING"], ["GRANTED"], "running"),
        (["DONE", "READY"], ["SUCCEEDED"], "running"),
        (["ACTIVE"], ["UNKNOWN"], "needs_person"),
        (["ACTIVE", "FAILED"], ["UNKNOWN", "FAILED_RAN"], "needs_person"),
        (["DONE", "SKIPPED"], ["SUCCEEDED"], "succeeded"),
        (["FAILED", "CANCELLED", "SKIPPED"], ["FAILED_RAN"], "failed"),
        (["CANCELLED", "SKIPPED"], [], "cancelled"),
        (["STOPPED", "SKIPPED"], ["STOPPED"], "cancelled"),
        (["FAILED"], ["ADJUDICATED_RAN"], "failed"),
    ],
)
def test_an_experiment_is_a_fold(states: list[str], attempts: list[str], folded: str) -> None:
    assert fold(states, attempts) is ExperimentState(folded)
    assert fold(reversed(states), reversed(attempts)) is ExperimentState(folded)


def test_an_experiment_without_steps_is_none() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        fold([])
