"""Compiling: which instruments can, how long it takes, and what they are given when the step is ready."""

from __future__ import annotations

from typing import Any

import pytest

from labcommons.core.errors import InvalidInput
from labcommons.core.ids import LabId, SampleId
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Array, Enum, Int, Sample, Text
from labcommons.protocols.arguments import convert
from labcommons.protocols.capabilities import load_shipped, parse_capability
from labcommons.protocols.compile import (
    duration,
    narrow,
    resolve_arguments,
)
from support.compiling import ARGUMENTS, MIXER, READER, chain, only, plan, reasons, two_mixes
from support.documents import ENTROPY, NORTH, SOUTH, candidate, change, colour_document, instrument, mixer, reader

BAD_LAB = LabId.mint(9, ENTROPY)


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
