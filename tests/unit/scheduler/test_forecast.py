"""When: the real policy on the queue as it stands."""

from __future__ import annotations

from dataclasses import replace

from labcommons.scheduler.dispatch import Bench, Candidate, WaitingStep
from labcommons.scheduler.replay.queue import Eta, forecast
from labcommons.scheduler.steps import StepState
from support.clocks import at

NORTH = Candidate("ins_north", "lab_north", 20_000, 60_000)
SOUTH = Candidate("ins_south", "lab_south", 30_000, 30_000)
PRESS = Bench("ins_north", "lab_north", time_scale="10")
OTHER = Bench("ins_south", "lab_south", time_scale="1")


def step(name: str, since: float, *candidates: Candidate, **facts: object) -> WaitingStep:
    made = WaitingStep(name, f"exp_{name}", "prj_a", at(since), candidates or (NORTH,))
    return replace(made, **facts)  # type: ignore[arg-type]


def test_one_after_the_other_on_one_bench_in_the_labs_time() -> None:
    times = forecast([step("b", 2), step("a", 1)], [PRESS], at(100))
    assert times == {
        "a": Eta(at(100), at(102), at(100), at(106)),
        "b": Eta(at(102), at(104), at(106), at(112)),
    }


def test_what_runs_now_comes_first() -> None:
    busy = replace(PRESS, state="busy", busy_until=at(110))
    assert forecast([step("a", 1)], [busy], at(100))["a"].p50_at == at(112)
    overdue = replace(busy, busy_until=at(90))
    assert forecast([step("a", 1)], [overdue], at(100))["a"].p50_at == at(102)


def test_two_benches_share_the_queue() -> None:
    steps = [step(n, i, SOUTH, NORTH) for i, n in enumerate("abc")]
    times = forecast(steps, [PRESS, OTHER], at(0))
    assert {n: t.p50_at for n, t in times.items()} == {"a": at(30), "b": at(2), "c": at(4)}


def test_a_graph_of_steps_is_walked_and_its_role_stays_on_one_bench() -> None:
    first = step("mix", 1, NORTH, SOUTH, experiment="exp_x", role="press")
    later = step("read", 1, SOUTH, NORTH, experiment="exp_x", role="press", state=StepState.WAITING, after=("mix",))
    last = step("end", 1, SOUTH, experiment="exp_x", state=StepState.WAITING, after=("read", "mix"))
    times = forecast([last, later, first], [PRESS, OTHER], at(0))
    assert {n: t.p50_at for n, t in times.items()} == {"mix": at(2), "read": at(4), "end": at(34)}
    beside = step("next", 2, NORTH, SOUTH, experiment="exp_x", role="press")
    assert forecast([first, beside], [PRESS, OTHER], at(0))["next"].p50_at == at(4)


def test_what_waits_for_a_running_step_starts_when_that_is_done() -> None:
    waiting = step("read", 1, state=StepState.WAITING, after=("mix",))
    times = forecast([waiting], [PRESS], at(0), {"mix": (at(50), at(80))})
    assert times == {"read": Eta(at(50), at(52), at(80), at(86))}


def test_what_no_clock_brings_has_no_forecast() -> None:
    steps = [
        step("held up", 1, held=False),
        step("cancelled", 1, cancel_wished=True),
        step("unknown", 1, state=StepState.WAITING, after=("x",), unknown="att_1"),
        step("after nothing known", 1, state=StepState.WAITING, after=("x",)),
        step("nowhere", 1, SOUTH),
    ]
    assert forecast(steps, [PRESS, replace(OTHER, online=False)], at(0)) == {}
