"""Compiling: what is wrong with a document or with arguments, and a remedy that works for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from labcommons.core.errors import LabCommonsError
from labcommons.core.ids import SampleId
from labcommons.core.quantities import Quantity
from labcommons.core.values import Enum, Int, Sample
from labcommons.protocols.capabilities import Capability, load_shipped, parse_capability
from labcommons.protocols.checks import check_document, dependencies
from labcommons.protocols.compile import (
    Plan,
    Reason,
    compile_experiment,
)
from labcommons.protocols.documents import OutputRef, SampleRef, parse_protocol
from labcommons.protocols.library import load_library
from support.compiling import ARGUMENTS, UL, chain, only, plan, reasons, two_mixes
from support.documents import ENTROPY, candidate, change, colour_document, instrument

GUARD = "/steps/1/guard"


def test_the_published_example_compiles() -> None:
    got = plan()
    mix, measure = got.steps
    assert (mix.role, mix.capability, mix.instrument_type) == ("mixer", "liquid.mix@1", "colour-mixer")
    assert (mix.candidates[0].expected_ms, mix.candidates[0].maximum_ms) == (14_500, 60_000)
    assert (mix.hold_ms, mix.timeout_ms) == (60_000, 600_000)
    assert (measure.hold_ms, measure.timeout_ms) == (20_000, 20_000)
    assert measure.candidates[0].expected_ms == 2800
    assert (mix.after, measure.after) == ((), ("mix",))
    assert measure.arguments == {
        "sample": SampleRef(name="well"),
        "exposure": Quantity.of("100", "ms"),
        "averages": Int(4),
    }
    assert got.cost_ms == {"colour-mixer": 60_000, "colour-reader": 20_000}
    assert got.parameters["averages"] == Int(4)
    assert (mix.repeatable, mix.on_partition, measure.guard) == (
        False,
        "continue",
        colour_document()["steps"][1]["guard"],
    )


def test_a_plan_comes_back_from_its_json() -> None:
    got = plan()
    assert Plan.from_json(json.loads(json.dumps(got.to_json()))) == got
    assert got.step("measure") is got.steps[1]
    with pytest.raises(KeyError):
        got.step("other")


def test_the_answer_to_a_compile_has_the_published_form() -> None:
    summary = plan().summary()
    assert set(summary) == {"steps", "cost_ms"}
    assert set(summary["steps"][0]) == {"step", "action", "instrument_type", "candidates", "hold_ms"}
    assert set(summary["steps"][0]["candidates"][0]) == {"instrument", "lab", "expected_ms", "maximum_ms"}


def test_values_are_taken_as_well_as_their_json() -> None:
    values = {name: Quantity.of(value, unit) for name, (value, unit) in UL.items()}
    assert plan(arguments=values) == plan()


@pytest.mark.parametrize(
    ("place", "value", "code", "field"),
    [
        ("/roles/mixer/capability", "liquid.mix@2", "unknown_capability", "/roles/mixer/capability"),
        ("/steps/0/action", "shake", "unknown_action", "/steps/0/action"),
        ("/steps/0/role", "pourer", "unknown_role", "/steps/0/role"),
        ("/steps/1/after", ["mixx"], "unknown_step", "/steps/1/after/0"),
        ("/steps/0/after", ["measure"], "cycle", "/steps/1/after"),
        ("/steps/0/after", ["mix"], "cycle", "/steps/0/after"),
        ("/steps/0/arguments/red", ..., "missing_argument", "/steps/0/arguments/red"),
        ("/steps/0/arguments/into", ..., "missing_argument", "/steps/0/arguments/into"),
        ("/steps/0/arguments/pink", {"int": 1}, "unknown_parameter", "/steps/0/arguments/pink"),
        ("/steps/0/arguments/red", {"from": "parameters.pink"}, "unknown_parameter", "/steps/0/arguments/red"),
        ("/steps/0/arguments/red", {"from": "parameters.averages"}, "wrong_kind", "/steps/0/arguments/red"),
        ("/steps/0/arguments/red", {"from": "samples.well"}, "wrong_kind", "/steps/0/arguments/red"),
        ("/steps/0/arguments/into", {"from": "parameters.red"}, "wrong_kind", "/steps/0/arguments/into"),
        ("/steps/0/arguments/red", {"value": "3", "unit": "mg"}, "wrong_dimension", "/steps/0/arguments/red"),
        ("/steps/0/arguments/red", "3 uL", "wrong_kind", "/steps/0/arguments/red"),
        ("/steps/0/arguments/into", {"from": "samples.wall"}, "unknown_sample", "/steps/0/arguments/into"),
        ("/samples/well/made_by", "mixx", "unknown_step", "/samples/well/made_by"),
        ("/samples/well/derives_from", ["wall"], "unknown_sample", "/samples/well/derives_from/0"),
        ("/samples/well/derives_from", ["well"], "unknown_sample", "/samples/well/derives_from/0"),
        (
            "/steps/1/arguments/exposure",
            {"from": "steps.mixx.outputs.volume"},
            "unknown_step",
            "/steps/1/arguments/exposure",
        ),
        (
            "/steps/1/arguments/exposure",
            {"from": "steps.mix.outputs.v"},
            "unknown_output",
            "/steps/1/arguments/exposure",
        ),
        (
            "/steps/1/arguments/exposure",
            {"from": "steps.mix.outputs.volume"},
            "wrong_dimension",
            "/steps/1/arguments/exposure",
        ),
        (
            "/steps/1/arguments/averages",
            {"from": "steps.mix.outputs.volume"},
            "wrong_kind",
            "/steps/1/arguments/averages",
        ),
        (GUARD, "steps.mix.outputs.volume >", "bad_guard", GUARD),
        (GUARD, "steps.mix.outputs.volume > 20", "bare_number", GUARD),
        (GUARD, "steps.mix.outputs.volume > quantity('2', 'mg')", "wrong_dimension", GUARD),
        (GUARD, "steps.mix.outputs.volume > quantity('2', 'ull')", "unknown_unit", GUARD),
        (GUARD, "steps.mix.outputs.v > quantity('2', 'uL')", "unknown_output", GUARD),
        (GUARD, "steps.mixx.outputs.volume > quantity('2', 'uL')", "unknown_step", GUARD),
        (GUARD, "parameters.pink > 2", "bad_reference", GUARD),
        (GUARD, "volume > 2", "bad_reference", GUARD),
        (GUARD, "parameters.averages", "bad_guard", GUARD),
        (GUARD, "steps.measure.outputs.lightness > quantity('2', '1')", "cycle", "/steps/1/after"),
        ("/steps/1/foreach", {"over": "wells", "maximum": 3}, "unsupported", "/steps/1/foreach"),
        ("/steps/1/on_error", "retry", "unsupported", "/steps/1/on_error"),
        ("/steps/1/interlocks", ["lid"], "unsupported", "/steps/1/interlocks"),
        ("/steps/1/signals", ["t"], "unsupported", "/steps/1/signals"),
        ("/roles/mixer/constraints", {"a": 1}, "unsupported", "/roles/mixer/constraints"),
        ("/safety", {"approval": "human"}, "unsupported", "/safety"),
        ("/analysis", {"function": "fit"}, "unsupported", "/analysis"),
        ("/materials", [{"name": "acid", "hazards": ["corrosive"]}], "unsupported", "/materials/0/hazards"),
    ],
)
def test_what_is_wrong_with_a_document(place: str, value: Any, code: str, field: str) -> None:
    reason = only(change(colour_document(), place, value))
    assert (reason.code, reason.field, reason.instrument) == (code, f"/protocol{field}", None)
    assert reason.located(7) == f"/protocol{field}"


def test_an_undeclared_role_alone_is_said_once() -> None:
    document = change(colour_document(), "/roles/mixer", ...)
    assert [reason.code for reason in reasons(document)] == ["unknown_role"]


def test_guards_may_read_parameters_of_every_readable_kind() -> None:
    document = colour_document()
    document["parameters"] |= {
        "mode": {"kind": "enum", "values": ["fast"], "default": {"enum": "fast"}},
        "note": {"kind": "text", "default": "x"},
        "ramp": {
            "kind": "profile",
            "unit": "Cel",
            "default": {"profile": {"unit": "Cel", "points": [{"t_ms": 0, "value": "1"}]}},
        },
    }
    document["steps"][1]["guard"] = "parameters.mode == 'fast' && parameters.note != '' && parameters.averages > 1"
    assert plan(document).parameters["mode"] == Enum("fast")
    document["steps"][1]["guard"] = "parameters.ramp == 1"
    assert only(document).code == "bad_guard"


@pytest.mark.parametrize(
    ("name", "value", "code", "field", "remedied"),
    [
        ("pink", {"int": 1}, "unknown_parameter", "/arguments/pink", ...),
        ("a/b", {"int": 1}, "unknown_parameter", "/arguments/a~1b", ...),
        ("red", ..., "missing_argument", "/arguments/red", {"value": "0", "unit": "uL"}),
        ("red", 30, "bare_number", "/arguments/red", {"value": "30", "unit": "uL"}),
        ("red", {"value": "30"}, "bare_number", "/arguments/red", {"value": "30", "unit": "uL"}),
        ("red", {"value": "30", "unit": "mg"}, "wrong_dimension", "/arguments/red", {"value": "30", "unit": "uL"}),
        ("red", {"value": "30", "unit": "ull"}, "unknown_unit", "/arguments/red/unit", {"value": "30", "unit": "uL"}),
        ("red", {"value": "101", "unit": "uL"}, "out_of_range", "/arguments/red", {"value": "80", "unit": "uL"}),
        ("red", "30 uL", "wrong_kind", "/arguments/red", {"value": "0", "unit": "uL"}),
        ("averages", {"int": 65}, "out_of_range", "/arguments/averages", {"int": 64}),
        ("averages", {"value": "4", "unit": "1"}, "wrong_kind", "/arguments/averages", {"int": 1}),
        (
            "averages",
            {"profile": {"unit": "Cel", "points": [{"t_ms": 9, "value": "1"}, {"t_ms": 3, "value": "2"}]}},
            "profile_backwards",
            "/arguments/averages/profile/points/1/t_ms",
            {"int": 1},
        ),
    ],
)
def test_what_is_wrong_with_arguments_and_its_remedy(
    name: str, value: Any, code: str, field: str, remedied: Any
) -> None:
    arguments = {k: v for k, v in (ARGUMENTS | {name: value}).items() if v is not ...}
    reason = only(arguments=arguments)
    assert (reason.code, reason.field, reason.located(2)) == (code, field, f"/experiments/2{field}")
    plan(arguments={k: v for k, v in (ARGUMENTS | {name: remedied}).items() if v is not ...})


def test_every_wrong_argument_is_named() -> None:
    found = reasons(arguments={"red": 3, "yellow": {"value": "1", "unit": "s"}})
    assert [reason.code for reason in found] == ["bare_number", "wrong_dimension", "missing_argument"]
    protocol = change(colour_document(), "/parameters", {})
    protocol["steps"][0]["arguments"] = {n: {"value": "1", "unit": "uL"} for n in UL}
    protocol["steps"][0]["arguments"]["into"] = {"from": "samples.well"}
    protocol["steps"][1]["arguments"].pop("averages")
    assert "none" in only(protocol, {"red": {"int": 1}}).remedy
    assert plan(protocol, {}).step("measure").arguments["averages"] == Int(4)


def test_a_value_outside_the_capabilitys_own_limits() -> None:
    document = change(colour_document(), "/steps/1/arguments/exposure", {"value": "3", "unit": "s"})
    reason = only(document)
    assert (reason.step, reason.code, reason.limit) == ("measure", "out_of_range", "1 to 2000 ms")
    assert reason.field == "/protocol/steps/1/arguments/exposure"
    wide = change(colour_document(), "/parameters/averages/max", "500")
    reason = only(wide, ARGUMENTS | {"averages": {"int": 100}})
    assert (reason.field, reason.limit) == ("/arguments/averages", "1 to 64")


def test_an_output_orders_the_steps_and_holds_for_the_worst_case() -> None:
    document, _ = chain()
    got = plan(document)
    again = got.step("again")
    assert again.after == ("mix",)
    assert again.arguments["red"] == OutputRef(step="mix", output="volume")
    # 80 uL, the mixer's limit, stands in for what is not known yet.
    assert again.candidates[0].expected_ms == (4000 + 150 * (80 + 40))


def test_the_order_follows_after_outputs_guards_and_samples() -> None:
    protocol = parse_protocol(chain()[0])
    assert [dependencies(protocol, step) for step in protocol.steps] == [(), ("mix",), ("mix",)]
    broken = parse_protocol(change(colour_document(), GUARD, "steps.mix.outputs.volume >"))
    assert dependencies(broken, broken.steps[1]) == ("mix",)
    brought = parse_protocol(change(colour_document(), "/samples/well", {}))
    assert dependencies(brought, brought.steps[0]) == ()


def test_a_longer_cycle_is_told() -> None:
    document = two_mixes()
    document["steps"][0]["after"] = ["measure"]
    document["steps"][1]["after"] = ["mix"]
    document["steps"][2]["after"] = ["again"]
    reason = only(document)
    assert reason.code == "cycle"
    assert reason.text.endswith("again after mix after measure after again")


def consuming() -> Mapping[str, Capability]:
    shipped = load_shipped()["colour.measure@1"].model_dump(mode="json", exclude_none=True)
    shipped["actions"]["read"]["takes"]["sample"]["becomes"] = "consumed"
    return {**load_shipped(), "colour.measure@1": parse_capability(shipped)}


def test_a_sample_that_is_used_up_serves_nobody_after() -> None:
    document = colour_document()
    document["steps"].append(document["steps"][1] | {"id": "twice", "after": ["measure"]})
    assert plan(document).step("twice").after == ("mix", "measure")
    (reason,) = reasons(document, capabilities=consuming())
    assert (reason.step, reason.code, reason.field) == (
        "twice",
        "sample_consumed",
        "/protocol/steps/2/arguments/sample",
    )
    assert plan(colour_document(), capabilities=consuming()).cost_ms["colour-reader"] == 20_000


def test_sample_constants_and_text_outputs() -> None:
    """A sample that is named in the document itself, with and without an amount, and one by parameter."""
    sample = str(SampleId.mint(5, ENTROPY))
    document = change(colour_document(), "/steps/0/arguments/into", {"sample": sample})
    assert plan(document).step("mix").arguments["into"] == Sample(SampleId(sample))
    amount = {"sample": sample, "amount": {"value": "1", "unit": "mL"}}
    document = change(colour_document(), "/steps/0/arguments/into", amount)
    assert isinstance(plan(document).step("mix").arguments["into"], Sample)
    document = change(colour_document(), "/parameters/tube", {"kind": "sample"})
    document["steps"][0]["arguments"]["into"] = {"from": "parameters.tube"}
    got = plan(document, ARGUMENTS | {"tube": {"sample": sample}})
    assert got.step("mix").arguments["into"] == Sample(SampleId(sample))


def test_the_demonstrations_protocol_compiles_on_a_press() -> None:
    offer = {
        "capability": "compression.test@1",
        "actions": {"crush": {"duration": {"expected_ms": "60000.0 + 100.0 * theta * n", "maximum_ms": 600_000}}},
    }
    press = candidate(instrument(offer, name="press", kind="barrel-press"), 1)
    protocol = load_library()["compression-toughness"]
    assert check_document(protocol, load_shipped()) == []
    words = {"n": 9, "theta": "40 deg", "r": "2.1 mm", "t": "0.105 cm"}
    arguments = {name: protocol.parameters[name].from_words(given) for name, given in words.items()}
    got = compile_experiment(protocol, load_shipped(), arguments, [press], available_ms={"barrel-press": 600_000})
    assert isinstance(got, Plan)
    assert got.cost_ms == {"barrel-press": 600_000}
    assert got.steps[0].candidates[0].expected_ms == 96_000
    assert got.steps[0].arguments["t"] == Quantity.of("0.105", "cm")


def test_a_reason_from_an_error_keeps_its_words() -> None:
    error = LabCommonsError("why", code="x", field="/a", remedy="do", limit=3)
    assert Reason.of(error, step="s", instrument="i") == Reason("s", "i", "x", "3", "/a", "do", "why")
