"""Each rule of `check` against answers that a test wrote: what it calls a breach, and what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest

from labcommons.node.checks import moving, still
from labcommons.node.checks.arguments import middle
from labcommons.node.checks.probe import Breach, NotApplicable, Probe
from labcommons.node.checks.run import RULES, run_checks
from labcommons.node.drivers.contract import (
    Action,
    Description,
    Driver,
    Event,
    Health,
    InstrumentLost,
    InstrumentRefused,
    Status,
)

FORCE: dict[str, Any] = {"kind": "quantity", "unit": "N", "min": "0", "max": "10"}
ACTION: dict[str, Any] = {
    "name": "press",
    "parameters": {"force": FORCE},
    "outputs": {"depth": {"kind": "quantity", "unit": "mm"}},
    "duration": {"expected_ms": 10, "max_ms": 20},
}
ABOUT: dict[str, Any] = {
    "protocol": 1,
    "instrument": {"name": "P", "manufacturer": "M", "model": "1", "serial": "2"},
    "actions": [ACTION],
    "remembers_attempts": True,
    "can_void": True,
    "on_disconnect": "continue",
    "simulated": True,
    "time_scale": "1",
}
DONE = Status("done", result={"outputs": {"depth": {"value": "1", "unit": "mm"}}, "files": []})


class Canned:
    """Answers each word with what a test gave: a value, an exception to raise, or a list of them, one a call."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.closed = 0

    def __getattr__(self, word: str) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            found = self.answers.get(word, Status("never_seen") if word not in ("health", "describe") else None)
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
            if callable(found):
                found = found(*arguments)
            if isinstance(found, Exception):
                raise found
            return Health("idle") if found is None else found

        return answer

    def close(self) -> None:
        self.closed += 1


def probe(about: dict[str, Any] | None = None, address: tuple[str, int] | None = None, **answers: Any) -> Probe:
    described = Description.from_json(ABOUT | (about or {}))
    numbers = itertools.count()
    answers = {"describe": described, **answers}
    found = Probe(
        lambda: cast("Driver", Canned(**answers)),
        address,
        lambda: f"check-{next(numbers)}",
        reply_s=0.1,
        patience_s=0.2,
    )
    found.described = described
    if described.actions:
        found.arguments = middle(described.actions[0], "smp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")
    found.done = "check-done"
    return found


def refused(code: str, retryable: bool = False) -> InstrumentRefused:
    return InstrumentRefused(code, "no", retryable)


FORGETS = {"remembers_attempts": False, "can_void": False}
NO_VOID = {"can_void": False}
RUNNING, STOPPED, PAUSED = Status("running"), Status("stopped"), Status("paused")
BUSY = Health("busy", "att")


def with_action(**changed: Any) -> dict[str, Any]:
    return {"actions": [ACTION | changed]}


def with_parameter(**spec: Any) -> dict[str, Any]:
    return with_action(parameters={"force": spec})


BREACHES: list[tuple[Callable[[Probe], None], Probe, str]] = [
    (still.describe, probe({"instrument": {"name": "P"}}), "instrument.manufacturer is missing"),
    (still.describe, probe({"actions": []}), "lists no action"),
    (still.describe, probe({"actions": [ACTION, ACTION]}), "two actions have one name"),
    (still.describe, probe(with_action(outputs={"depth": {"kind": "number"}})), "the kind 'number' is none of"),
    (still.describe, probe(with_action(outputs={"depth": {"kind": "quantity", "unit": "furlong"}})), "output depth"),
    (still.describe, probe(with_action(parameters={"mode": {"kind": "enum"}}, outputs={})), "lists its values"),
    (still.never_seen, probe(status=[Status("never_seen"), RUNNING]), "that nobody sent is running"),
    (still.never_seen, probe(health=BUSY), "busy after status"),
    (still.stop_leaves_no_trace, probe(stop=STOPPED), "said stopped"),
    (still.void_holds, probe(NO_VOID, void=refused("busy")), "void answers busy"),
    (still.void_holds, probe(NO_VOID, void=Status("voided")), "void answers voided"),
    (still.void_holds, probe(void=RUNNING), "answers running"),
    (still.void_holds, probe(void=Status("voided"), status=DONE), "after void the status is done"),
    (
        still.void_holds,
        probe(void=Status("voided"), status=Status("voided"), start=refused("busy")),
        "refused with busy",
    ),
    (moving.refusals, probe(start=refused("busy")), "refused with busy, not bad_request"),
    (moving.refusals, probe(start=RUNNING), "an unknown action answers running"),
    (moving.refusals, probe(start=refused("bad_request")), "is never_seen afterwards, not voided"),
    (moving.refusals, probe(FORGETS, start=refused("bad_request"), status=DONE), "is done afterwards"),
    (moving.run_once, probe(start=refused("busy")), "a good start is refused"),
    (moving.run_once, probe(start=Status("running", duplicate=True)), "the first start of an id answers"),
    (moving.run_once, probe(start=RUNNING, status=RUNNING), "it still runs"),
    (moving.run_once, probe(start=RUNNING, status=Status("failed", error={"code": "hardware"})), "ended failed"),
    (moving.run_once, probe(start=RUNNING, status=Status("done")), "there is no result"),
    (moving.run_once, probe(start=RUNNING, status=DONE, health=BUSY), "busy after the end of a run"),
    (moving.duplicate, probe(start=refused("busy")), "the same start again is refused"),
    (moving.duplicate, probe(start=RUNNING), "answers phase running and duplicate False"),
    (moving.other_arguments, probe(start=refused("busy")), "refused with busy"),
    (moving.other_arguments, probe(start=DONE), "other arguments answers done"),
    (moving.other_arguments, probe(start=refused("bad_request"), status=STOPPED), "is stopped after a start"),
    (moving.void_after_run, probe(void=Status("voided")), "answers voided"),
    (moving.readback, probe(readback=Status("cannot_tell")), "answers cannot_tell"),
    (moving.readback, probe(FORGETS, readback=Status("never_seen")), "answers never_seen"),
    (moving.release, probe(release=DONE, status=Status("never_seen")), "is never_seen"),
    (moving.busy, probe(start=[RUNNING, refused("busy", True)], status=RUNNING), "health says idle"),
    (moving.busy, probe(start=[RUNNING, refused("busy")], status=RUNNING, health=BUSY), "retryable False"),
    (
        moving.busy,
        probe(start=[RUNNING, refused("busy", True)], status=RUNNING, health=BUSY, release=DONE),
        "release of a running attempt answers done",
    ),
    (
        moving.busy,
        probe(start=[RUNNING, refused("busy", True)], status=RUNNING, health=BUSY, release=refused("voided")),
        "release of a running attempt is refused with voided",
    ),
    (moving.stop, probe(start=RUNNING, status=RUNNING, stop=InstrumentLost("gone")), "got gone"),
    (moving.stop, probe(start=RUNNING, status=RUNNING, stop=RUNNING), "safe point answers running"),
    (moving.stop, probe(start=RUNNING, status=RUNNING, stop=PAUSED), "a stop now answers paused"),
    (moving.stop, probe(start=RUNNING, status=RUNNING, stop=STOPPED, health=BUSY), "busy after a stop"),
    (moving.resume, probe(resume=refused("busy")), "refused with busy"),
    (moving.resume, probe(resume=RUNNING), "answers running"),
    (moving.events, probe(subscribe=True, start=RUNNING, status=DONE), "no phase event said so; heard was: nothing"),
    (
        moving.lost_link,
        probe({"on_disconnect": "abort"}, ("127.0.0.1", 9), start=RUNNING, status=RUNNING),
        "on_disconnect is abort",
    ),
]


@pytest.mark.parametrize(("rule", "found", "words"), BREACHES, ids=[f"{r.__name__}-{w[:24]}" for r, _, w in BREACHES])
def test_it_is_a_breach(rule: Callable[[Probe], None], found: Probe, words: str) -> None:
    with pytest.raises(Breach, match=words):
        rule(found)
    found.close()


def test_a_range_that_is_none_is_a_breach() -> None:
    for spec, words in (
        ({"kind": "quantity", "unit": "N", "min": 4}, "min must be a decimal as text"),
        ({"kind": "quantity", "unit": "N", "min": "4", "max": "3"}, "min is above max"),
    ):
        driver = Canned(describe=Description.from_json(ABOUT | with_parameter(**spec)))
        with pytest.raises(Breach, match=words):
            still.describe(Probe(lambda d=driver: cast("Driver", d), None, lambda: "x"))  # type: ignore[misc]


NOT_FOR_IT: list[tuple[Callable[[Probe], None], Probe]] = [
    (still.health, probe(health=Health("maintenance", "until noon"))),
    (still.unknown_op, probe()),
    (still.void_holds, probe(NO_VOID, void=refused("unsupported"))),
    (moving.duplicate, probe(FORGETS)),
    (moving.other_arguments, probe(with_action(parameters={}))),
    (moving.void_after_run, probe(NO_VOID)),
    (moving.readback, probe(readback=refused("unsupported"))),
    (moving.release, probe(release=refused("unsupported"))),
    (moving.resume, probe(resume=refused("unsupported"))),
    (moving.busy, probe(start=RUNNING, status=RUNNING, health=BUSY)),
    (moving.busy, probe(start=RUNNING, status=DONE, health=BUSY)),
    (moving.events, probe(subscribe=False)),
    (moving.lost_link, probe()),
    (moving.lost_link, probe(None, ("127.0.0.1", 9), start=RUNNING, status=DONE)),
    (moving.run_once, probe(with_action(duration={"expected_ms": 1, "max_ms": 90_000}), start=RUNNING, status=RUNNING)),
]


@pytest.mark.parametrize(("rule", "found"), NOT_FOR_IT, ids=[r.__name__ for r, _ in NOT_FOR_IT])
def test_it_does_not_speak_of_this_instrument(rule: Callable[[Probe], None], found: Probe) -> None:
    with pytest.raises(NotApplicable):
        rule(found)


def test_refusals_where_nothing_is_wrong_are_breaches() -> None:
    with pytest.raises(InstrumentRefused):
        moving.readback(probe(readback=refused("hardware")))
    with pytest.raises(InstrumentRefused):
        moving.release(probe(release=refused("hardware")))


def test_events_outside_zero_to_one_are_breaches() -> None:
    def subscribe(callback: Callable[[Event], None]) -> bool:
        for fraction, phase in ((1.5, None), (None, "done")):
            kind = "progress" if phase is None else "phase"
            callback(Event(cast("Any", kind), "check-0", fraction=fraction, phase=phase))
        return True

    with pytest.raises(Breach, match="outside 0 to 1"):
        moving.events(probe(subscribe=subscribe, start=RUNNING, status=DONE))


def test_the_walk_ends_where_the_instrument_cannot_be_learnt_or_is_not_idle() -> None:
    lost = list(run_checks(probe(describe=InstrumentLost("gone")), lambda p: None))
    assert [f.outcome for f in lost] == ["fail"] + ["n/a"] * (len(RULES) - 1)
    assert "gone" in lost[0].detail
    busy = list(run_checks(probe(health=BUSY), lambda p: None))
    assert [f.outcome for f in busy] == ["pass"] + ["n/a"] * (len(RULES) - 1)
    odd = list(run_checks(probe(status=refused("hardware")), lambda p: None))
    assert next(f for f in odd if f.check == "never seen").detail.startswith("refused where nothing is wrong")


def test_an_action_that_is_not_there_leaves_nothing_to_check() -> None:
    found = probe()
    found.action_name = "melt"
    with pytest.raises(NotApplicable, match="no action is called 'melt'"):
        moving.run_once(found)
    found.described = None
    with pytest.raises(NotApplicable, match="no description"):
        moving.duplicate(found)
    found.done = None
    with pytest.raises(NotApplicable):
        moving.readback(found)


def test_the_middle_of_each_kind() -> None:
    specs: dict[str, dict[str, Any]] = {
        "n": {"kind": "int", "min": "3", "max": "4"},
        "m": {"kind": "int", "min": "2.5"},
        "f": {"kind": "quantity", "unit": "N", "max": "8"},
        "g": {"kind": "quantity", "unit": "g"},
        "e": {"kind": "enum", "values": ["slow", "quick"]},
        "s": {"kind": "sample"},
        "a": {"kind": "array", "unit": "V", "min": "0", "max": "1"},
        "p": {"kind": "profile", "unit": "Cel", "min": "20", "max": "30"},
        "t": {"kind": "text"},
    }
    found = middle(Action("x", specs, {}, 1, 2), "smp_1")
    assert (found["n"], found["m"]) == ({"int": 3}, {"int": 3})
    assert (found["f"]["value"], found["g"]["value"]) == ("8", "1")
    assert (found["e"], found["s"], found["t"]) == ({"enum": "slow"}, {"sample": "smp_1"}, "check")
    assert found["a"]["array"]["values"] == ["0.5", "0.5"]
    assert [p["value"] for p in found["p"]["profile"]["points"]] == ["25", "25"]
