"""Units: every code in everyday use is known to the parser, hostile ones cost nothing, kinds are kept apart."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest

from labcommons.core import units
from labcommons.core.errors import InvalidInput, UnknownUnit, WrongDimension


@pytest.mark.parametrize("code", sorted(units._EVERYDAY))
def test_what_is_known_without_the_parser_is_known_to_it(code: str) -> None:
    assert units._unit(code).factor > 0


@pytest.mark.parametrize(
    "code",
    [
        "",
        " ",
        "xx",
        "mm ",
        "m m",
        "Torr",
        "oC",
        "m" * 65,
        "10*9999",
        "m9999",
        "m" + ".m" * 30 + "99",
        "µm",
        "Cel/min",
        "[pH]",
        "m99.m99",
        "km99",
        "a.u.",
        "{",
        "1/0",
        "((m",
        "0",
        "m/",
    ],
)
def test_unknown_units(code: str) -> None:
    with pytest.raises(UnknownUnit) as caught:
        units.check(code, "/unit")
    assert (caught.value.word, caught.value.field) == ("unknown_unit", "/unit")
    assert "UCUM" in caught.value.remedy


@pytest.mark.parametrize("code", [None, 3, True, ["mm"]])
def test_a_unit_is_text(code: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        units.check(code, "/unit")
    assert caught.value.word == "bad_unit"


def test_without_a_field_the_error_names_none() -> None:
    with pytest.raises(UnknownUnit) as caught:
        units.check("xx")
    assert caught.value.field == ""


@pytest.mark.parametrize(
    ("one", "other", "factor"),
    [
        ("kJ/m3", "J/L", Fraction(1)),
        ("m3/(h.kg)", "L/(s.g)", Fraction(1, 3600)),
        ("10*3/uL", "/nL", Fraction(1)),
        ("{count}", "1", Fraction(1)),
        ("100/{cells}", "1", Fraction(100)),
        ("3/7.m", "m", Fraction(3, 7)),
        ("''", "deg", Fraction(1, 3600)),
    ],
)
def test_factors_are_exact(one: str, other: str, factor: Fraction) -> None:
    assert units.conversion(one, other) == units.Conversion(factor, Fraction(0))


@pytest.mark.parametrize(
    ("one", "other"), [("deg", "1"), ("Hz", "Bq"), ("bit", "1"), ("mm", "m2"), ("dB", "1"), ("dB", "B")]
)
def test_kinds_are_kept_apart(one: str, other: str) -> None:
    assert not units.commensurable(one, other)
    with pytest.raises(WrongDimension):
        units.conversion(one, other, "/x")


def test_a_level_converts_to_itself() -> None:
    assert units.conversion("dB", "dB").factor == 1
    assert units.commensurable("dB", "dB")
    assert units.describe("dB") == "a level in dB"


def test_words_for_people() -> None:
    assert units.describe("m2") == "length^2"
    assert units.describe("%") == "a pure number"


def test_importing_core_and_protocols_loads_neither_pint_nor_the_expression_language() -> None:
    script = (
        "import sys, labcommons.core.values, labcommons.core.windows, labcommons.protocols.compile, "
        "labcommons.protocols.library as library\n"
        "from labcommons.core.quantities import Quantity\n"
        "Quantity.of('1.0', 'mm').to_json(); library.load_library()\n"
        "assert not {'pint', 'celpy', 'ucumvert', 'lark'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
