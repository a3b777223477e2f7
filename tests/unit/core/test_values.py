"""The forms of a value, and profiles."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core.errors import InvalidInput, OutOfRange, WrongDimension
from labcommons.core.ids import SampleId
from labcommons.core.profiles import MAX_POINTS, Point, Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Array, Enum, Int, Sample, Text, Value, kind_of, value_from_json, value_to_json

SAMPLE = SampleId.mint(1, b"0123456789")
numbers = st.integers(-(10**12), 10**12).map(lambda n: Decimal(n).scaleb(-3))
quantities = st.builds(Quantity, numbers, st.sampled_from(["mm", "1", "Cel"]), st.none() | numbers.map(abs))


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    times = sorted(draw(st.sets(st.integers(0, 10**9), min_size=1, max_size=6)))
    points = tuple(Point(t, draw(numbers)) for t in times)
    return Profile("Cel", points, draw(st.sampled_from(["linear", "step"])))


values: st.SearchStrategy[Value] = st.one_of(
    quantities,
    st.text(max_size=20).map(Text),
    st.integers(-(2**53) + 1, 2**53 - 1).map(Int),
    st.sampled_from(["slow", "quick"]).map(Enum),
    st.builds(Sample, st.just(SAMPLE), st.none() | quantities),
    st.builds(Array, st.just("V"), st.lists(numbers, max_size=5).map(tuple)),
    profiles(),
)


@given(values)
def test_every_value_comes_back_from_its_json(value: Value) -> None:
    assert value_from_json(value_to_json(value)) == value


@pytest.mark.parametrize(
    ("obj", "kind"),
    [
        ({"value": "12.50", "unit": "mm", "u": "0.02"}, "quantity"),
        ("any", "text"),
        ({"int": 3}, "int"),
        ({"enum": "quick"}, "enum"),
        ({"sample": SAMPLE, "amount": None}, "sample"),
        ({"sample": SAMPLE, "amount": {"value": "1", "unit": "mL"}}, "sample"),
        ({"array": {"unit": "V", "values": ["0.10", "0.2"]}}, "array"),
        ({"profile": {"unit": "Cel", "points": [{"t_ms": 0, "value": "25"}], "interpolation": "step"}}, "profile"),
    ],
)
def test_the_published_forms(obj: Any, kind: str) -> None:
    value = value_from_json(obj)
    assert kind_of(value) == kind
    assert value_to_json(value) == obj


@pytest.mark.parametrize(
    ("obj", "word", "field"),
    [
        (9, "bare_number", "/a"),
        (1.5, "bare_number", "/a"),
        (True, "bad_value", "/a"),
        (None, "bad_value", "/a"),
        ([1], "bad_value", "/a"),
        ({}, "bad_value", "/a"),
        ({"int": 1, "enum": "x"}, "bad_value", "/a"),
        ({"other": 1}, "bad_value", "/a"),
        ({"int": 1.0}, "bad_value", "/a/int"),
        ({"int": "1"}, "bad_value", "/a/int"),
        ({"int": True}, "bad_value", "/a/int"),
        ({"int": 2**53}, "bad_value", "/a/int"),
        ({"int": 1, "unit": "mm"}, "unknown_field", "/a/int"),
        ({"int": 1, "x": 1}, "unknown_field", "/a/x"),
        ({"enum": ""}, "bad_value", "/a/enum"),
        ({"sample": "smp_x"}, "bad_identifier", "/a/sample"),
        ({"sample": SAMPLE, "amount": 3}, "bare_number", "/a/amount"),
        ({"array": [1]}, "bad_value", "/a/array"),
        ({"array": {"unit": "V", "values": "1"}}, "bad_value", "/a/array/values"),
        ({"array": {"unit": "V", "values": ["1", 2]}}, "bare_number", "/a/array/values/1"),
        ({"array": {"unit": "V", "values": ["NaN"]}}, "bad_number", "/a/array/values/0"),
        ({"array": {"unit": "VV", "values": []}}, "unknown_unit", "/a/array/unit"),
        ({"array": {"unit": "V", "values": ["1"] * 100_001}}, "too_large", "/a/array/values"),
        ({"array": {"unit": "V", "values": [], "u": []}}, "unknown_field", "/a/array/u"),
        ("x" * 20_001, "too_large", "/a"),
        ({"profile": 3}, "bad_value", "/a/profile"),
        ({"profile": {"unit": "Cel", "points": []}}, "bad_profile", "/a/profile/points"),
        ({"profile": {"unit": "Cel", "points": {}}}, "bad_profile", "/a/profile/points"),
        ({"profile": {"unit": "Cel", "points": [3]}}, "bad_profile", "/a/profile/points/0"),
        (
            {"profile": {"unit": "Cel", "points": [{"t_ms": "0", "value": "1"}]}},
            "bad_profile",
            "/a/profile/points/0/t_ms",
        ),
        (
            {"profile": {"unit": "Cel", "points": [{"t_ms": -1, "value": "1"}]}},
            "bad_profile",
            "/a/profile/points/0/t_ms",
        ),
        ({"profile": {"unit": "Cel", "points": [{"t_ms": 0}]}}, "bad_number", "/a/profile/points/0/value"),
        (
            {"profile": {"unit": "Cel", "points": [{"t_ms": 0, "value": "1"}], "interpolation": "cubic"}},
            "bad_profile",
            "/a/profile/interpolation",
        ),
        (
            {"profile": {"unit": "Cel", "points": [{"t_ms": 5, "value": "1"}, {"t_ms": 5, "value": "2"}]}},
            "profile_backwards",
            "/a/profile/points/1/t_ms",
        ),
    ],
)
def test_what_is_none_of_the_forms(obj: Any, word: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        value_from_json(obj, "/a")
    assert (caught.value.word, caught.value.field) == (word, field)
    assert caught.value.remedy


def c(value: str) -> Quantity:
    return Quantity.of(value, "Cel")


def test_a_ramp() -> None:
    ramp = Profile.ramp(c("25"), Quantity.of("723.15", "K"), 600_000)
    assert ramp.duration_ms == 600_000
    assert (ramp.at(0), ramp.at(300_000), ramp.at(600_000)) == (c("25"), c("237.5"), c("450"))
    assert ramp.at(200_000).value == Decimal("166." + "6" * 30 + "7")
    with pytest.raises(WrongDimension):
        Profile.ramp(c("25"), Quantity.of("1", "mm"), 1)


def test_steps() -> None:
    steps = Profile.steps([(1000, c("25")), (500, c("80"))])
    assert steps.duration_ms == 1500
    assert [steps.at(t).value for t in (0, 999, 1000, 1500)] == [25, 25, 80, 80]
    with pytest.raises(InvalidInput):
        Profile.steps([])


def test_outside_a_profile_there_is_no_value() -> None:
    late = Profile("Cel", (Point(10, Decimal(1)), Point(20, Decimal(2))))
    assert late.at(0).value == 1
    for t_ms in (-1, 21):
        with pytest.raises(OutOfRange):
            late.at(t_ms)


@given(profiles(), st.integers(0, 100))
def test_a_profile_stays_between_its_points(profile: Profile, share: int) -> None:
    value = profile.at(profile.duration_ms * share // 100).value
    all_values = [point.value for point in profile.points]
    assert min(all_values) <= value <= max(all_values)
    assert profile.at(profile.duration_ms).value == all_values[-1]


def test_a_profile_in_another_unit() -> None:
    ramp = Profile.ramp(c("25"), c("450"), 1000)
    assert ramp.to("K").at(500) == ramp.at(500)
    assert ramp.to("Cel") is ramp


def test_a_profile_is_bounded() -> None:
    with pytest.raises(InvalidInput):
        Profile("Cel", tuple(Point(n, Decimal(0)) for n in range(MAX_POINTS + 1)))
