"""Quantities: what is taken, what is refused and how, conversion and comparison."""

from __future__ import annotations

import pickle
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core.decimals import MAX_DIGITS, decimal_text, fits, fraction_to_decimal, parse_decimal
from labcommons.core.errors import BareNumber, InvalidInput, LabCommonsError, UnknownUnit, WrongDimension
from labcommons.core.quantities import Quantity, parse_quantity

decimals = st.decimals(
    min_value=Decimal("-1e12"), max_value=Decimal("1e12"), allow_nan=False, allow_infinity=False, places=None
).filter(lambda d: fits(d) and len(d.as_tuple().digits) <= 25)
length_units = st.sampled_from(["nm", "um", "mm", "cm", "m", "km", "[in_i]", "[ft_i]"])
decimal_lengths = st.sampled_from(["nm", "um", "mm", "cm", "m", "km"])


def q(value: str, unit: str, u: str | None = None) -> Quantity:
    return Quantity.of(value, unit, u)


@pytest.mark.parametrize("text", ["12.50", "0", "-0.001", "100", "007", "0.10", "-12.500", "123456789.123456789"])
def test_digits_stay_as_they_were_written(text: str) -> None:
    written = "7" if text == "007" else text
    assert q(text, "mm", "0.020").to_json() == {"value": written, "unit": "mm", "u": "0.020"}


@given(decimals, st.one_of(st.none(), decimals.map(abs)), length_units)
def test_json_round_trip_is_exact(value: Decimal, u: Decimal | None, unit: str) -> None:
    quantity = Quantity(value, unit, u)
    back = Quantity.from_json(quantity.to_json())
    assert (back.value, back.unit, back.u) == (value, unit, u)
    assert back.to_json() == quantity.to_json()
    assert pickle.loads(pickle.dumps(quantity)) == quantity  # noqa: S301  # our own bytes


@given(decimals, decimal_lengths, decimal_lengths)
def test_conversion_between_powers_of_ten_is_exact_there_and_back(value: Decimal, one: str, other: str) -> None:
    there = Quantity(value, one, abs(value)).to(other)
    back = there.to(one)
    assert (back.value, back.u) == (value, abs(value))
    assert there == Quantity(value, one, abs(value))


@given(
    decimals,
    st.sampled_from([("mm", "[in_i]"), ("deg", "rad"), ("h", "s"), ("Cel", "K"), ("[degF]", "Cel"), ("J", "eV")]),
)
def test_any_conversion_there_and_back_loses_less_than_1e_30(value: Decimal, pair: tuple[str, str]) -> None:
    one, other = pair
    back = Quantity(value, one).to(other).to(one).value
    # Relative to the larger of the value and the scale's own offset: near 0 degC a kelvin has the digits.
    assert abs(Fraction(back) - Fraction(value)) <= Fraction(max(abs(value), Decimal(1000))) / 10**30


@pytest.mark.parametrize(
    ("given_", "unit", "want"),
    [
        (q("12.50", "mm", "0.02"), "m", ("0.01250", "0.00002")),
        (q("12.50", "m"), "mm", ("12500", None)),
        (q("0.04", "mL"), "uL", ("40", None)),
        (q("25.0", "Cel", "0.5"), "K", ("298.15", "0.5")),
        (q("298.15", "K", "0.5"), "Cel", ("25.000", "0.5")),
        (q("212", "[degF]", "1.8"), "Cel", ("100", "1.0")),
        (q("-40", "Cel"), "[degF]", ("-40", None)),
        (q("10", "min"), "ms", ("600000", None)),
        (q("1", "[in_i]"), "mm", ("25.4", None)),
        (q("30", "'"), "deg", ("0.50", None)),
        (q("5", "%"), "1", ("0.05", None)),
        (q("1", "S/cm"), "mS/mm", ("100", None)),
        (q("1", "kN.mm"), "J", ("1", None)),
        (q("0.00", "mm"), "m", ("0", None)),
    ],
)
def test_conversion(given_: Quantity, unit: str, want: tuple[str, str | None]) -> None:
    got = given_.to(unit)
    assert (decimal_text(got.value), None if got.u is None else decimal_text(got.u), got.unit) == (*want, unit)


def test_a_factor_without_an_end_gives_34_digits() -> None:
    assert decimal_text(q("10", "min").to("h").value) == "0." + "1" + "6" * 32 + "7"


def test_conversion_ignores_the_callers_decimal_context() -> None:
    with localcontext() as context:
        context.prec = 3
        assert decimal_text(q("12.3456789", "mm").to("m").value) == "0.0123456789"
        assert fraction_to_decimal(Fraction(1, 3)) == Decimal("0." + "3" * 34)


def test_a_large_result_keeps_its_exponent() -> None:
    assert decimal_text(q("1", "km").to("10*-30.m").value) == "1E+33"


def test_the_two_errors_of_a_conversion_differ() -> None:
    with pytest.raises(WrongDimension) as wrong:
        q("1", "mm").to("s")
    assert (wrong.value.word, "length" in wrong.value.detail) == ("wrong_dimension", True)
    with pytest.raises(UnknownUnit):
        q("1", "mm").to("furlongs")


@pytest.mark.parametrize(
    ("obj", "kind", "word", "field"),
    [
        (9, BareNumber, "bare_number", "/x"),
        (9.5, BareNumber, "bare_number", "/x"),
        ({"value": "9"}, BareNumber, "bare_number", "/x"),
        ({"value": "9", "unit": None}, BareNumber, "bare_number", "/x"),
        ({"value": 9, "unit": "mm"}, BareNumber, "bare_number", "/x/value"),
        ({"value": "9", "unit": "mn"}, UnknownUnit, "unknown_unit", "/x/unit"),
        ({"value": "9", "unit": 3}, InvalidInput, "bad_unit", "/x/unit"),
        ({"unit": "mm"}, InvalidInput, "bad_value", "/x"),
        ({"value": "9", "unit": "mm", "sd": "1"}, InvalidInput, "unknown_field", "/x/sd"),
        ({"value": "9", "unit": "mm", "a/b~": "1"}, InvalidInput, "unknown_field", "/x/a~1b~0"),
        ({"value": "9", "unit": "mm", "u": "-1"}, InvalidInput, "bad_number", "/x/u"),
        ({"value": "9", "unit": "mm", "u": "NaN"}, InvalidInput, "bad_number", "/x/u"),
        (True, InvalidInput, "bad_value", "/x"),
        ([], InvalidInput, "bad_value", "/x"),
        (None, InvalidInput, "bad_value", "/x"),
    ],
)
def test_each_bad_quantity_has_its_own_error(obj: Any, kind: type[LabCommonsError], word: str, field: str) -> None:
    with pytest.raises(kind) as caught:
        Quantity.from_json(obj, "/x")
    assert (type(caught.value), caught.value.word, caught.value.field) == (kind, word, field)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "sNaN",
        "1e999999999",
        "1" * 61,
        "1e100",
        "1e-100",
        "0e999",
        "",
        " 1",
        "1 ",
        "+1",
        "1.",
        ".5",
        "0x10",
        "1_000",
        "١٢",
        "1,5",
        "9" * 10000000,
        "1e9999",
        None,
        True,
        b"1",
    ],
)
def test_numbers_that_are_refused(text: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_decimal(text, "/v")
    assert (caught.value.word, caught.value.field) == ("bad_number", "/v")
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("text", ["1e99", "1e-99", "9" * MAX_DIGITS, "0e10", "0." + "0" * 50 + "1"])
def test_numbers_at_the_limits_are_taken(text: str) -> None:
    number = parse_decimal(text)
    assert parse_decimal(decimal_text(number)) == number


def test_a_quantity_built_in_code_is_held_to_the_same() -> None:
    with pytest.raises(InvalidInput):
        Quantity(Decimal("NaN"), "mm")
    with pytest.raises(InvalidInput):
        Quantity(1.5, "mm")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        Quantity(Decimal(1), "mm", Decimal(-1))
    with pytest.raises(BareNumber):
        Quantity(Decimal(1), "")
    assert Quantity(3, "mm", 1).to_json() == {"value": "3", "unit": "mm", "u": "1"}  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        q("1e90", "km").to("[pi].nm").to("fm")


def test_comparison_is_by_dimension_and_exact() -> None:
    assert q("1", "cm") == q("10", "mm") == q("10.0", "mm")
    assert hash(q("1", "cm")) == hash(q("10", "mm"))
    assert q("1", "cm") < q("10.0000000000000000000000001", "mm")
    assert q("0", "Cel") > q("273", "K")
    assert q("1", "[in_i]") <= q("25.4", "mm")
    assert q("1", "[in_i]") >= q("25.4", "mm")
    assert q("1", "mm") != q("1", "s")
    assert q("1", "mm") != "1 mm"
    assert q("1", "mm", "0.1") != q("1", "mm")
    assert q("1", "cm", "0.1") == q("10", "mm", "1")
    assert q("1", "mm").same_dimension(q("1", "km"))
    assert not q("1", "mm").same_dimension(q("1", "1"))


@pytest.mark.parametrize("other", [q("1", "s"), q("1", "1"), q("1", "rad")])
def test_comparing_across_dimensions_is_an_error(other: Quantity) -> None:
    with pytest.raises(WrongDimension):
        assert q("1", "mm") < other


def test_comparing_with_a_bare_number_is_an_error() -> None:
    with pytest.raises(BareNumber):
        assert q("1", "mm") > 1
    with pytest.raises(TypeError):
        assert q("1", "mm") >= "1 mm"


@given(decimals, decimals, length_units, length_units)
def test_order_agrees_with_exact_arithmetic(a: Decimal, b: Decimal, one: str, other: str) -> None:
    left, right = Quantity(a, one), Quantity(b, other)
    difference = left.exact_in("m") - right.exact_in("m")
    assert (left < right, left <= right, left > right, left >= right, left == right) == (
        difference < 0,
        difference <= 0,
        difference > 0,
        difference >= 0,
        difference == 0,
    )


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("40 deg", {"value": "40", "unit": "deg"}),
        ("2.1mm", {"value": "2.1", "unit": "mm"}),
        ("+2.10 mm", {"value": "2.10", "unit": "mm"}),
        ("9.2(3) mm", {"value": "9.2", "unit": "mm", "u": "0.3"}),
        ("9.20(12) mm", {"value": "9.20", "unit": "mm", "u": "0.12"}),
        ("920(12) mm", {"value": "920", "unit": "mm", "u": "12"}),
        ("9.2 ± 0.3 mm", {"value": "9.2", "unit": "mm", "u": "0.3"}),
        ("9.2 +/- 0.3 mm", {"value": "9.2", "unit": "mm", "u": "0.3"}),
        ("1e-3 m", {"value": "0.001", "unit": "m"}),
        ("5 1", {"value": "5", "unit": "1"}),
        (" 3 S/cm ", {"value": "3", "unit": "S/cm"}),
    ],
)
def test_what_people_write(text: str, want: dict[str, str]) -> None:
    assert parse_quantity(text).to_json() == want


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("9", "bare_number"),
        ("9 parsecks", "unknown_unit"),
        ("mm", "bad_value"),
        ("", "bad_value"),
        ("NaN mm", "bad_value"),
        ("1e999 mm", "bad_number"),
        ("9" * 5000 + " mm", "bad_value"),
    ],
)
def test_what_people_write_wrongly(text: str, word: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_quantity(text, "/a")
    assert (caught.value.word, caught.value.field.startswith("/a")) == (word, True)


def test_a_quantity_reads_well() -> None:
    assert str(q("12.50", "mm", "0.02")) == "12.50 ± 0.02 mm"
    assert str(q("12.50", "mm")) == "12.50 mm"
