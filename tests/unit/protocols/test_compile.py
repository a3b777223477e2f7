"""Compiling: the plan and its cost, or reasons that name step, instrument, limit and remedy; each remedy works."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import LabId, SampleId
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Array, Enum, Int, Sample, Text
from labcommons.protocols.arguments import convert
from labcommons.protocols.capabilities import Capability, load_shipped, parse_capability
from labcommons.protocols.checks import check_document, dependencies
from labcommons.protocols.compile import (
    Candidate,
    Plan,
    Reason,
    Refusal,
    compile_experiment,
    duration,
    narrow,
    resolve_arguments,
)
from labcommons.protocols.documents import OutputRef, SampleRef, parse_protocol
from labcommons.protocols.library import load_library
from support.documents import ENTROPY, NORTH, SOUTH, candidate, change, colour_document, instrument, mixer, reader

UL = {"red": ("30", "uL"), "yellow": ("0.04", "mL"), "blue": ("0", "uL")}
ARGUMENTS: dict[str, Any] = {name: {"value": value, "unit": unit} for name, (value, unit) in UL.items()}
MIXER = candidate(instrument(mixer(), name="mixer", kind="colour-mixer"), 1)
READER = candidate(instrument(reader(), name="reader", kind="colour-reader"), 2)
BOTH = [MIXER, READER]
BAD_LAB = LabId.mint(9, ENTROPY)


def run(
    document: dict[str, Any] | None = None,
    arguments: Mapping[str, object] = ARGUMENTS,
    candidates: list[Candidate] | None = None,
    capabilities: Mapping[str, Capability] | None = None,
    **wishes: Any,
) -> Plan | Refusal:
    protocol = parse_protocol(document if document is not None else colour_document())
    found = BOTH if candidates is None else candidates
    return compile_experiment(protocol, capabilities or load_shipped(), arguments, found, **wishes)


def plan(*given: Any, **more: Any) -> Plan:
    got = run(*given, **more)
    assert isinstance(got, Plan), got.to_json()
    return got


def reasons(*given: Any, **more: Any) -> tuple[Reason, ...]:
    got = run(*given, **more)
    assert isinstance(got, Refusal)
    assert got.reasons
    assert all(reason.remedy and reason.text for reason in got.reasons)
    assert got.to_json() == {"reasons": [reason.to_json() for reason in got.reasons]}
    return got.reasons


def only(*given: Any, **more: Any) -> Reason:
    (reason,) = reasons(*given, **more)
    return reason


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


GUARD = "/steps/1/guard"


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


def test_an_instrument_whose_limit_is_passed_is_dropped_and_only_the_last_refuses() -> None:
    small = candidate(MIXER.spec, 3, SOUTH)
    offer = mixer()
    offer["actions"]["dispense"]["parameters"]["red"]["max"] = "0.1"
    offer["actions"]["dispense"]["parameters"]["red"]["unit"] = "mL"
    large = candidate(instrument(offer, name="large", kind="colour-mixer"), 4)
    arguments = ARGUMENTS | {"red": {"value": "90", "unit": "uL"}}
    got = plan(arguments=arguments, candidates=[small, large, READER])
    assert [c.instrument for c in got.step("mix").candidates] == [large.instrument]
    found = reasons(arguments=arguments, candidates=[small, MIXER, READER])
    assert [(r.step, r.instrument, r.code, r.limit, r.field) for r in found] == [
        ("mix", c.instrument, "out_of_range", "0 to 80 uL", "/arguments/red") for c in (small, MIXER)
    ]
    assert "mixer in south" in found[0].text


def test_no_instrument_offers_it() -> None:
    reason = only(candidates=[MIXER])
    assert (reason.step, reason.code, reason.instrument) == ("measure", "no_candidate", None)
    assert [r.code for r in reasons(candidates=[])] == ["no_candidate", "no_candidate"]


def test_wishes_for_labs() -> None:
    twin = candidate(READER.spec, 5, SOUTH)
    got = plan(candidates=[MIXER, READER, twin], labs=[NORTH])
    assert [c.lab for c in got.step("measure").candidates] == [NORTH]
    reason = only(candidates=[MIXER, twin], labs=[NORTH])
    assert (reason.step, reason.code, reason.field) == ("measure", "labs_unmatched", "/labs")
    assert SOUTH in reason.remedy
    assert {r.code for r in reasons(labs=[BAD_LAB])} == {"labs_unmatched"}


def test_wishes_for_types() -> None:
    other = candidate(instrument(reader(), kind="other-reader"), 6)
    everything = [MIXER, READER, other]
    assert plan(candidates=everything).step("measure").instrument_type == "colour-reader"
    got = plan(candidates=everything, types={"reader": "other-reader"})
    assert [c.instrument for c in got.step("measure").candidates] == [other.instrument]
    got = plan(candidates=everything, types=["other-reader", "colour-mixer", "colour-reader"])
    assert got.step("measure").instrument_type == "other-reader"
    reason = only(candidates=everything, types=["colour-mixer"])
    assert (reason.code, reason.field) == ("types_unmatched", "/types")
    assert "other-reader" in reason.remedy
    reason = only(candidates=everything, types={"readr": "other-reader"})
    assert (reason.code, reason.field, reason.located(0)) == (
        "unknown_role",
        "/types/readr",
        "/experiments/0/types/readr",
    )


def test_the_first_type_with_time_is_taken() -> None:
    other = candidate(instrument(reader(maximum_ms=5000), kind="other-reader"), 6)
    everything = [MIXER, READER, other]
    enough = {"colour-mixer": 60_000, "colour-reader": 19_999, "other-reader": 5000}
    got = plan(candidates=everything, available_ms=enough)
    assert got.cost_ms == {"colour-mixer": 60_000, "other-reader": 5000}
    # With a wish, no other type steps in.
    reason = only(candidates=everything, available_ms=enough, types={"reader": "colour-reader"})
    assert (reason.code, reason.limit) == ("insufficient_allocation", "19999")


def test_too_little_time_says_how_much_is_missing() -> None:
    short = {"colour-mixer": 59_000, "colour-reader": 20_000}
    reason = only(available_ms=short)
    assert (reason.step, reason.code, reason.limit, reason.field) == (
        "mix",
        "insufficient_allocation",
        "59000",
        "/project",
    )
    assert "one allocation of 60000 ms of colour-mixer" in reason.remedy
    assert reason.located(3) == "/project"
    plan(available_ms=short | {"colour-mixer": 60_000})
    assert [r.code for r in reasons(available_ms={})] == ["insufficient_allocation"] * 2


def two_mixes() -> dict[str, Any]:
    document = colour_document()
    again = json.loads(json.dumps(document["steps"][0])) | {"id": "again"}
    document["steps"].insert(1, again)
    return document


def test_steps_of_one_role_share_their_candidates_and_their_time() -> None:
    document = two_mixes()
    document["steps"][1]["arguments"]["red"] = {"value": "90", "unit": "uL"}
    reason = only(document)
    # The mixer could do the first step, but not the second: it is no candidate for either.
    assert (reason.step, reason.instrument, reason.limit) == ("again", MIXER.instrument, "0 to 80 uL")
    assert reason.field == "/protocol/steps/1/arguments/red"
    got = plan(two_mixes())
    assert got.cost_ms["colour-mixer"] == 120_000
    assert [step.id for step in got.steps] == ["mix", "again", "measure"]
    assert only(two_mixes(), available_ms={"colour-mixer": 119_999, "colour-reader": 20_000}).limit == "119999"


def test_two_roles_of_one_type_add_up() -> None:
    document = two_mixes()
    document["roles"]["second"] = {"capability": "liquid.mix@1"}
    document["steps"][1]["role"] = "second"
    assert (
        plan(document, available_ms={"colour-mixer": 120_000, "colour-reader": 20_000}).cost_ms["colour-mixer"]
        == 120_000
    )
    reason = only(document, available_ms={"colour-mixer": 119_999, "colour-reader": 20_000})
    assert (reason.step, reason.limit) == ("again", "119999")


def test_a_role_without_steps_needs_no_candidate() -> None:
    document = change(colour_document(), "/roles/spare", {"capability": "compression.test@1"})
    assert len(plan(document).steps) == 2


def test_the_hold_is_the_largest_maximum_among_the_candidates() -> None:
    slow = candidate(instrument(mixer(maximum_ms="90000"), name="slow", kind="colour-mixer"), 7)
    got = plan(candidates=[MIXER, slow, READER]).step("mix")
    assert (got.hold_ms, [c.maximum_ms for c in got.candidates]) == (90_000, [60_000, 90_000])
    # A maximum below what is expected would leave the run without time.
    hasty = candidate(instrument(mixer(maximum_ms=10), name="hasty", kind="colour-mixer"), 8)
    assert plan(candidates=[hasty, READER]).step("mix").hold_ms == 14_500


@pytest.mark.parametrize("text", ["4000 + 150 * red", "pink * 1.0", "red *", "0.0 - red"])
def test_an_instrument_with_a_bad_duration_is_dropped(text: str) -> None:
    bad = candidate(instrument(mixer(expected_ms=text), name="bad", kind="colour-mixer"), 7)
    assert [c.instrument for c in plan(candidates=[bad, MIXER, READER]).step("mix").candidates] == [MIXER.instrument]
    reason = only(candidates=[bad, READER])
    assert (reason.code, reason.instrument, reason.step) == ("bad_duration", bad.instrument, "mix")


def test_an_instrument_that_offers_only_other_actions_is_dropped() -> None:
    shipped = load_shipped()["liquid.mix@1"].model_dump(mode="json", exclude_none=True)
    shipped["actions"]["rinse"] = {}
    capabilities = {**load_shipped(), "liquid.mix@1": parse_capability(shipped)}
    offer = {"capability": "liquid.mix@1", "actions": {"rinse": {"duration": {"expected_ms": 1, "maximum_ms": 1}}}}
    rinser = candidate(instrument(offer, name="rinser", kind="colour-mixer"), 7)
    reason = only(candidates=[rinser, READER], capabilities=capabilities)
    assert (reason.code, reason.instrument) == ("unknown_action", rinser.instrument)
    with pytest.raises(KeyError):
        duration(rinser, plan().step("mix"), {})


def test_an_instrument_in_another_unit_of_the_wrong_kind_is_dropped() -> None:
    offer = mixer()
    offer["actions"]["dispense"]["parameters"]["red"] = {"kind": "quantity", "unit": "mg"}
    odd = candidate(instrument(offer, name="odd", kind="colour-mixer"), 7)
    reason = only(candidates=[odd, READER])
    assert (reason.code, reason.instrument, reason.field) == ("wrong_dimension", odd.instrument, "/arguments/red")


def chain() -> tuple[dict[str, Any], Mapping[str, Capability]]:
    """A protocol whose second step dispenses what the first one reports, with no word of `after`."""
    document = two_mixes()
    document["steps"][1]["arguments"]["red"] = {"from": "steps.mix.outputs.volume"}
    return document, load_shipped()


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


def test_references_are_resolved_when_the_step_is_ready() -> None:
    got = plan(chain()[0])
    sample = SampleId.mint(5, ENTROPY)
    volume = Quantity.of("70", "uL", "0.5")
    values = resolve_arguments(got.step("again"), got.parameters, {"mix": {"volume": volume}}, {"well": sample})
    assert values["red"] == volume
    assert values["into"] == Sample(sample)
    assert narrow(MIXER, got.step("again"), values) == ()
    converted = resolve_arguments(
        got.step("again"), got.parameters, {"mix": {"volume": volume}}, {"well": sample}, MIXER
    )
    assert converted["yellow"].to_json() == {"value": "40", "unit": "uL"}  # type: ignore[union-attr]
    assert duration(MIXER, got.step("again"), converted) == (4000 + 150 * 110, 60_000)
    (reason,) = narrow(MIXER, got.step("again"), values | {"red": Quantity.of("90", "uL")})
    assert (reason.code, reason.field, reason.limit) == ("out_of_range", "/arguments/red", "0 to 80 uL")


@pytest.mark.parametrize(
    ("outputs", "samples", "word"),
    [({}, {"well": SampleId.mint(5, ENTROPY)}, "missing_output"), ({"mix": {"volume": Int(1)}}, {}, "unknown_sample")],
)
def test_a_reference_with_nothing_behind_it(outputs: Any, samples: Any, word: str) -> None:
    got = plan(chain()[0])
    with pytest.raises(InvalidInput) as caught:
        resolve_arguments(got.step("again"), got.parameters, outputs, samples)
    assert caught.value.word == word


def test_parameters_left_as_references_are_resolved_too() -> None:
    step = plan().step("mix")
    from dataclasses import replace

    from labcommons.protocols.documents import ParameterRef

    loose = replace(step, arguments={"red": ParameterRef(name="red")})
    assert resolve_arguments(loose, {"red": Int(1)}, {}, {}) == {"red": Int(1)}


def test_every_kind_is_converted_to_the_manifests_unit() -> None:
    offer = mixer()
    offer["actions"]["dispense"]["parameters"] |= {
        "heat": {"kind": "profile", "unit": "K"},
        "ramp": {"kind": "array", "unit": "V"},
        "feed": {"kind": "sample", "unit": "uL"},
        "mode": {"kind": "enum", "values": ["a"]},
    }
    unit = candidate(instrument(offer, name="mixer", kind="colour-mixer"), 9)
    feed = SampleId.mint(5, ENTROPY)
    cel = Quantity.of("25", "Cel")
    values = convert(
        unit,
        plan().step("mix"),
        {
            "heat": Profile.steps([(5, cel)]),
            "ramp": Array("mV", (cel.value,)),
            "feed": Sample(feed, Quantity.of("1", "mL")),
            "mode": Enum("a"),
            "red": Quantity.of("0.03", "mL"),
            "blue": Text("odd"),
            "other": Int(3),
        },
    )
    assert values == {
        "heat": Profile.steps([(5, Quantity.of("298.15", "K"))]),
        "ramp": Array("V", (Quantity.of("0.025", "V").value,)),
        "feed": Sample(feed, Quantity.of("1000", "uL")),
        "mode": Enum("a"),
        "red": Quantity.of("30", "uL"),
        "blue": Text("odd"),
        "other": Int(3),
    }
    assert convert(READER, plan().step("mix"), {"red": Int(1)}) == {"red": Int(1)}


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
