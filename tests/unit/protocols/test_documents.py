"""Documents in the published forms parse whole; everything else is refused with its pointer and a remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from labcommons.core.errors import InvalidInput, LabCommonsError, UnknownUnit
from labcommons.core.ids import SampleId
from labcommons.core.quantities import Quantity
from labcommons.core.values import Array, Enum, Int, Profile, Sample, Text, Value
from labcommons.protocols.capabilities import load_shipped, parse_capability
from labcommons.protocols.checks import check_manifest
from labcommons.protocols.documents import (
    OutputRef,
    ParameterRef,
    Protocol,
    SampleRef,
    argument_from_json,
    argument_to_json,
    parse_protocol,
)
from labcommons.protocols.fields import DecimalField, QuantityField, TimeField, UnitField, ValueField
from labcommons.protocols.library import load_library
from labcommons.protocols.manifests import Manifest, parse_manifest, parse_time_scale
from labcommons.protocols.problems import explain, pointer
from labcommons.protocols.specs import ParameterSpec
from support.documents import ENTROPY, change, colour_document, riverside_document


def test_the_published_protocol_parses_whole() -> None:
    protocol = parse_protocol(colour_document())
    assert protocol.id == "colour.mix-and-measure"
    assert protocol.parameters["averages"].default == Int(4)
    mix, measure = protocol.steps
    assert (mix.timeout_ms, measure.timeout_ms) == (600_000, None)
    assert mix.arguments["into"] == SampleRef(name="well")
    assert measure.arguments["exposure"] == Quantity.of("100", "ms")
    assert protocol.step("measure") is measure
    assert protocol.step("other") is None
    assert protocol.document == colour_document()


def test_the_hash_is_that_of_the_document_as_given() -> None:
    document = colour_document()
    protocol = parse_protocol(document)
    assert protocol.hash == "sha256:1ed324322ec02ded0c1f9232fda639b63e9c2ba671bbb12f839d7ee59f97ee95"
    assert parse_protocol(dict(reversed(document.items()))).hash == protocol.hash
    assert parse_protocol(change(document, "/preemptible", True)).hash != protocol.hash
    # A default that is written out is another text, and so another version.
    assert parse_protocol(change(document, "/steps/0/after", [])).hash != protocol.hash
    document["title"] = "changed after parsing"
    assert protocol.document["title"] != document["title"]


def test_a_protocol_without_its_text_gives_one() -> None:
    protocol = parse_protocol(colour_document())
    alone = Protocol.model_validate(protocol.model_dump(mode="json", exclude_none=True))
    assert alone.document["steps"][0]["arguments"]["red"] == {"from": "parameters.red"}
    assert parse_protocol(alone.document).hash == alone.hash


AVERAGES = "/parameters/averages"
STEP: dict[str, Any] = {"id": "mix", "role": "mixer", "action": "dispense"}


@pytest.mark.parametrize(
    ("place", "value", "word", "field"),
    [
        ("/extra", 1, "unknown_field", "/extra"),
        ("/steps/0/extra", 1, "unknown_field", "/steps/0/extra"),
        ("/parameters/red/units", "uL", "unknown_field", "/parameters/red/units"),
        ("/roles/mixer/lab", "north", "unknown_field", "/roles/mixer/lab"),
        ("/title", ..., "missing_field", "/title"),
        ("/protocol", 2, "bad_word", "/protocol"),
        ("/id", "Colour Mix", "bad_name", "/id"),
        ("/parameters/Red", {"kind": "int"}, "bad_name", "/parameters/Red"),
        ("/parameters/a-b", {"kind": "int"}, "bad_name", "/parameters/a-b"),
        ("/steps/0/id", "Mix", "bad_name", "/steps/0/id"),
        ("/steps/1/id", "mix", "duplicate_step", "/steps/1/id"),
        ("/steps", [], "invalid_input", "/steps"),
        ("/steps", {}, "bad_type", "/steps"),
        ("/roles", {}, "invalid_input", "/roles"),
        ("/roles/mixer/capability", "liquid.mix", "bad_name", "/roles/mixer/capability"),
        ("/repeatable", "no", "bad_type", "/repeatable"),
        ("/on_partition", "stop", "bad_word", "/on_partition"),
        ("/parameters/red/kind", "number", "bad_word", "/parameters/red/kind"),
        ("/parameters/red/unit", "uLL", "unknown_unit", "/parameters/red/unit"),
        ("/parameters/red/unit", ..., "bad_parameter", "/parameters/red/unit"),
        ("/parameters/red/min", 0, "bare_number", "/parameters/red/min"),
        ("/parameters/red/min", "200", "bad_parameter", "/parameters/red/min"),
        ("/parameters/red/default", {"value": "5", "unit": "mm"}, "wrong_dimension", "/parameters/red/default"),
        ("/parameters/red/default", {"value": "1", "unit": "L"}, "out_of_range", "/parameters/red/default"),
        ("/parameters/red/default", 5, "bare_number", "/parameters/red/default"),
        ("/parameters/averages/unit", "1", "bad_parameter", "/parameters/averages/unit"),
        ("/parameters/averages/default", "4", "wrong_kind", "/parameters/averages/default"),
        ("/parameters/averages/values", ["a"], "bad_parameter", "/parameters/averages/values"),
        (
            "/parameters/averages/uncertainty",
            {"value": "1", "unit": "1"},
            "bad_parameter",
            "/parameters/averages/uncertainty",
        ),
        ("/parameters/note", {"kind": "text", "max": "3"}, "bad_parameter", "/parameters/note/max"),
        ("/parameters/mode", {"kind": "enum"}, "bad_parameter", "/parameters/mode/values"),
        ("/steps/0/arguments/red", 30, "bare_number", "/steps/0/arguments/red"),
        ("/steps/0/arguments/red", {"from": "parameter.red"}, "bad_reference", "/steps/0/arguments/red/from"),
        ("/steps/0/arguments/red", {"from": 3}, "bad_reference", "/steps/0/arguments/red/from"),
        ("/steps/0/timeout", {"value": "10", "unit": "mm"}, "wrong_dimension", "/steps/0/timeout"),
        ("/steps/0/timeout", {"value": "0", "unit": "s"}, "out_of_range", "/steps/0/timeout"),
        ("/steps/0/timeout", "10 min", "bad_value", "/steps/0/timeout"),
        ("/steps/1/guard", "", "invalid_input", "/steps/1/guard"),
        ("/steps/1/guard", "x" * 501, "invalid_input", "/steps/1/guard"),
        ("/steps/1/foreach", {"over": "wells", "maximum": 5000}, "invalid_input", "/steps/1/foreach/maximum"),
        ("/steps/1/foreach", {"over": "wells"}, "missing_field", "/steps/1/foreach/maximum"),
        ("/acceptance/0/max_u", "0.5", "bad_value", "/acceptance/0/max_u"),
        ("/intent", 1.5, "float_in_document", "/intent"),
        ("/intent", "x" * 3000, "invalid_input", "/intent"),
        ("/steps", [STEP | {"id": f"s{n}"} for n in range(201)], "invalid_input", "/steps"),
        ("/samples/well/title", "x" * 300_000, "too_large", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_pointer(place: str, value: Any, word: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_protocol(change(colour_document(), place, value), "/document")
    assert (caught.value.word, caught.value.field) == (word, f"/document{field}")
    assert caught.value.remedy
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("obj", [None, 5, "text", [], [1]])
def test_a_document_is_an_object(obj: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_protocol(obj)
    assert caught.value.word == "bad_type"


def test_references_come_back_from_their_json() -> None:
    for text, want in [
        ("parameters.n", ParameterRef(name="n")),
        ("steps.mix.outputs.volume", OutputRef(step="mix", output="volume")),
        ("samples.well", SampleRef(name="well")),
    ]:
        argument = argument_from_json({"from": text})
        assert argument == want
        assert argument_to_json(argument) == {"from": text}
    assert argument_to_json(argument_from_json({"int": 3})) == {"int": 3}


def test_the_shipped_documents() -> None:
    assert set(load_shipped()) == {"colour.measure@1", "compression.test@1", "liquid.mix@1"}
    protocol = load_library()["compression-toughness"]
    limits = {name: (spec.kind, spec.unit, str(spec.min), str(spec.max)) for name, spec in protocol.parameters.items()}
    assert limits == {
        "n": ("int", None, "6", "12"),
        "theta": ("quantity", "deg", "0", "200"),
        "r": ("quantity", "mm", "1.5", "2.5"),
        "t": ("quantity", "mm", "0.7", "1.4"),
    }
    action = load_shipped()["compression.test@1"].actions["crush"]
    assert action.outputs["toughness"].unit == "J"


@pytest.mark.parametrize(
    ("document", "word", "field"),
    [
        ({"capability": 1, "id": "a", "version": 1, "title": "A", "actions": {}}, "invalid_input", "/actions"),
        (
            {"capability": 1, "id": "a", "version": 1, "title": "A"}
            | {"actions": {"go": {"takes": {"x": {}}, "parameters": {"x": {"kind": "int"}}}}},
            "duplicate_name",
            "/actions/go/parameters/x",
        ),
        (
            {"capability": 1, "id": "a", "version": 1, "title": "A"}
            | {"actions": {"go": {"outputs": {"x": {"kind": "int", "axis": {"name": "t", "unit": "s"}}}}}},
            "bad_parameter",
            "/actions/go/outputs/x/axis",
        ),
        ({"capability": 1, "id": "a", "version": "1", "title": "A", "actions": {}}, "bad_type", "/version"),
    ],
)
def test_a_bad_capability(document: dict[str, Any], word: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_capability(document)
    assert (caught.value.word, caught.value.field) == (word, field)


def test_the_published_manifest_parses_whole() -> None:
    manifest = parse_manifest(riverside_document())
    assert manifest.exact_time_scale == 60
    mixer = manifest.instrument("mixer")
    assert mixer is not None
    assert manifest.instrument("other") is None
    action = mixer.action("liquid.mix@1", "dispense")
    assert action is not None
    assert (action.duration.maximum_ms, mixer.driver_action("liquid.mix@1", "dispense")) == ("60000", "dispense")
    assert mixer.action("liquid.mix@1", "other") is None
    assert mixer.action("other@1", "dispense") is None
    assert mixer.driver_action("other@1", "dispense") == "dispense"
    assert Manifest.model_validate(manifest.model_dump(mode="json")) == manifest
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert check_manifest(manifest, load_shipped()) == []


OFFER = "/instruments/0/offers/0"
DISPENSE = f"{OFFER}/actions/dispense"
BRIEF = {"duration": {"expected_ms": 1, "maximum_ms": 1}}


@pytest.mark.parametrize(
    ("place", "value", "word", "field"),
    [
        ("/instruments/0/address", "127.0.0.1", "unknown_field", "/instruments/0/address"),
        ("/instruments/0/remembers_attempts", False, "bad_manifest", "/instruments/0/can_void"),
        ("/instruments/0/on_disconnect", "explode", "bad_word", "/instruments/0/on_disconnect"),
        ("/instruments/0/simulated", ..., "missing_field", "/instruments/0/simulated"),
        ("/instruments/0/capacity", 0, "invalid_input", "/instruments/0/capacity"),
        ("/instruments/0/calibration", {"id": "c", "at": "today"}, "bad_time", "/instruments/0/calibration/at"),
        ("/lab/time_zone", "Lisbon", "bad_zone", "/lab/time_zone"),
        ("/time_scale", "0", "bad_manifest", "/time_scale"),
        ("/time_scale", 60, "bare_number", "/time_scale"),
        (
            f"{DISPENSE}/duration/expected_ms",
            1.5,
            "bad_duration",
            f"{DISPENSE}/duration/expected_ms",
        ),
        (
            f"{DISPENSE}/duration/expected_ms",
            "",
            "bad_duration",
            f"{DISPENSE}/duration/expected_ms",
        ),
    ],
)
def test_a_bad_manifest(place: str, value: Any, word: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(change(riverside_document(), place, value))
    assert (caught.value.word, caught.value.field) == (word, field)


def test_names_in_a_manifest_are_used_once() -> None:
    document = riverside_document()
    document["instruments"].append(document["instruments"][0])
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(document)
    assert caught.value.field == "/instruments/1/name"
    document = riverside_document()
    document["instruments"][0]["offers"].append(document["instruments"][0]["offers"][0])
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(document)
    assert caught.value.field == "/instruments/0/offers/1"


@pytest.mark.parametrize(
    ("place", "value", "code", "field"),
    [
        ("/capability", "liquid.mix@2", "unknown_capability", f"{OFFER}/capability"),
        (
            "/actions/shake",
            {"duration": {"expected_ms": 1, "maximum_ms": 1}},
            "unknown_action",
            f"{OFFER}/actions/shake",
        ),
        (
            "/actions/dispense/parameters/pink",
            {"kind": "int"},
            "unknown_parameter",
            f"{DISPENSE}/parameters/pink",
        ),
        (
            "/actions/dispense/parameters/red",
            {"kind": "quantity", "unit": "mg"},
            "wrong_dimension",
            f"{DISPENSE}/parameters/red",
        ),
        (
            "/actions/dispense/outputs/volume",
            {"kind": "text"},
            "wrong_kind",
            f"{DISPENSE}/outputs/volume",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_its_capabilities(place: str, value: Any, code: str, field: str) -> None:
    manifest = parse_manifest(change(riverside_document(), OFFER + place, value))
    (reason,) = check_manifest(manifest, load_shipped())
    assert (reason.code, reason.field, reason.instrument) == (code, field, "mixer")
    assert reason.remedy


def test_a_time_scale_as_settings_write_it() -> None:
    assert parse_time_scale("60") == 60
    with pytest.raises(InvalidInput):
        parse_time_scale("1e9", "/time_scale")


class _Message(BaseModel):
    value: ValueField
    quantity: QuantityField | None = None
    number: DecimalField | None = None
    unit: UnitField | None = None
    at: TimeField | None = None


def test_models_carry_values() -> None:
    text = '{"value":{"int":3},"quantity":{"value":"1.50","unit":"mm"},"number":"2.0","unit":"mm",'
    text += '"at":"2026-10-01T09:00:00.000Z"}'
    message = _Message.model_validate_json(text)
    assert message.value == Int(3)
    assert message.model_dump_json() == text
    assert _Message(value=Text("x")).value == Text("x")
    assert "anyOf" in _Message.model_json_schema()["properties"]["value"]


def test_pydantics_findings_in_our_words() -> None:
    with pytest.raises(ValidationError) as caught:
        _Message.model_validate({"value": {"profile": {"unit": "{C}", "points": []}}, "unit": "{{", "number": "x"})
    problem = explain(caught.value, "/body")
    assert (problem.field, problem.extra) == ("/body/value/profile/points", {"others": 2})
    with pytest.raises(ValidationError) as caught:
        _Message.model_validate({"value": {"value": "1", "unit": "zz"}})
    assert isinstance(explain(caught.value), UnknownUnit)
    assert pointer(["a/b", 0, "c~d", "[key]"]) == "/a~1b/0/c~0d"


QUANTITY = ParameterSpec.model_validate({"kind": "quantity", "unit": "deg", "min": "0", "max": "200"})
PURE = ParameterSpec.model_validate({"kind": "quantity", "unit": "1"})
INT = ParameterSpec.model_validate({"kind": "int"})
ENUM = ParameterSpec.model_validate({"kind": "enum", "values": ["slow", "quick"]})
TEXT = ParameterSpec.model_validate({"kind": "text"})


@pytest.mark.parametrize(
    ("spec", "given", "want"),
    [
        (QUANTITY, "40 deg", Quantity.of("40", "deg")),
        (QUANTITY, {"value": "40", "unit": "deg"}, Quantity.of("40", "deg")),
        (QUANTITY, Quantity.of("40", "deg"), Quantity.of("40", "deg")),
        (PURE, "0.5", Quantity.of("0.5", "1")),
        (PURE, 0.5, Quantity.of("0.5", "1")),
        (PURE, "50 %", Quantity.of("50", "%")),
        (INT, 9, Int(9)),
        (INT, "9", Int(9)),
        (ENUM, "quick", Enum("quick")),
        (TEXT, "40 deg", Text("40 deg")),
    ],
)
def test_what_people_mean(spec: ParameterSpec, given: object, want: Value) -> None:
    assert spec.from_words(given) == want


@pytest.mark.parametrize(
    ("spec", "given", "word"),
    [
        (QUANTITY, 40, "bare_number"),
        (QUANTITY, 40.5, "bare_number"),
        (QUANTITY, "40", "bare_number"),
        (QUANTITY, "40 degs", "unknown_unit"),
        (QUANTITY, None, "bad_value"),
        (QUANTITY, True, "bad_value"),
        (INT, "9.5", "wrong_kind"),
        (INT, "9" * 30, "wrong_kind"),
        (TEXT, 9, "bare_number"),
    ],
)
def test_what_people_cannot_mean(spec: ParameterSpec, given: object, word: str) -> None:
    with pytest.raises(LabCommonsError) as caught:
        spec.from_words(given, "/theta")
    assert (caught.value.word, caught.value.field.startswith("/theta")) == (word, True)


SAMPLE_ID = "smp_" + "0" * 26


UL = {"kind": "quantity", "unit": "uL", "max": "80"}
VOLTS = {"kind": "array", "unit": "V", "min": "0", "max": "1"}
HEAT = {"kind": "profile", "unit": "Cel", "max": "450"}
AMOUNT = {"kind": "sample", "unit": "mL", "min": "1"}


def heat(value: str) -> dict[str, Any]:
    return {"profile": {"unit": "K", "points": [{"t_ms": 0, "value": value}]}}


def amount(value: str) -> dict[str, Any]:
    return {"sample": SAMPLE_ID, "amount": {"value": value, "unit": "uL"}}


@pytest.mark.parametrize(
    ("spec", "good", "bad", "limit"),
    [
        (UL, {"value": "0.08", "unit": "mL"}, {"value": "0.0801", "unit": "mL"}, "at most 80 uL"),
        ({"kind": "int", "min": "2"}, {"int": 2}, {"int": 1}, "at least 2"),
        ({"kind": "enum", "values": ["slow", "quick"]}, {"enum": "slow"}, {"enum": "fast"}, "slow, quick"),
        (
            VOLTS,
            {"array": {"unit": "mV", "values": ["0", "1000"]}},
            {"array": {"unit": "mV", "values": ["0", "1001"]}},
            "0 to 1 V",
        ),
        (HEAT, heat("723.15"), heat("723.16"), "at most 450 Cel"),
        (AMOUNT, amount("1000"), amount("999"), "at least 1 mL"),
    ],
)
def test_limits_of_each_kind(spec: dict[str, Any], good: Any, bad: Any, limit: str) -> None:
    parameter = ParameterSpec.model_validate(spec)
    parameter.check(parameter.from_words(good))
    with pytest.raises(InvalidInput) as caught:
        parameter.check(parameter.from_words(bad), "/x")
    assert (caught.value.word, caught.value.field, caught.value.extra["limit"]) == ("out_of_range", "/x", limit)
    # What a remedy shows as an example passes the check itself.
    parameter.check(parameter.from_words(json.loads(parameter.example().replace("smp_...", SAMPLE_ID))))


def test_values_without_limits_pass() -> None:
    TEXT.check(Text("x"))
    assert TEXT.range_text() == "any value"
    sample = ParameterSpec.model_validate({"kind": "sample"})
    sample.check(Sample(SampleId.mint(1, ENTROPY)))
    array = ParameterSpec.model_validate({"kind": "array", "unit": "1", "max": "2"})
    array.check(Array("1", ()))
    assert array.range_text() == "at most 2"
    profile = ParameterSpec.model_validate({"kind": "profile", "unit": "Cel"})
    profile.check(Profile.steps([(1, Quantity.of("5", "K"))]))
