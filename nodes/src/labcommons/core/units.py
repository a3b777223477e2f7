"""Units of measurement by their UCUM codes: is it known, what does it measure, how is it converted.

The only module that touches pint and the UCUM parser, and it loads them when a question needs them: codes in everyday
use are known without. Factors are exact fractions, so that a conversion loses nothing that decimals can hold.

An angle is a kind of its own here, although UCUM calls it dimensionless: 40 degrees handed to something that counts in
pure numbers is a mistake. The same goes for bits and counts. Logarithmic units (dB, Np) convert to nothing but
themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from labcommons.core.errors import InvalidInput, UnknownUnit, WrongDimension

__all__ = ["Conversion", "check", "commensurable", "conversion", "describe"]

MAX_LENGTH = 64
"""Most characters of a unit code."""

# Known without loading anything; a test holds each against the parser.
# fmt: off
_EVERYDAY = frozenset(
    {
        "1", "%", "mm", "cm", "m", "um", "nm", "km", "deg", "rad", "ms", "s", "min", "h", "d", "us", "ns", "K",
        "Cel", "g", "kg", "mg", "ug", "L", "mL", "uL", "l", "N", "kN", "J", "kJ", "mJ", "W", "mW", "kW", "Pa",
        "kPa", "MPa", "GPa", "bar", "V", "mV", "uV", "A", "mA", "uA", "Ohm", "S", "mS", "S/cm", "Hz", "kHz",
        "MHz", "mol", "mmol", "mol/L", "mmol/L", "g/L", "mg/mL", "K/min", "K/s", "mm/min", "mm/s", "m/s",
        "kg/m3", "g/cm3", "eV", "T", "mT",
    }
)
# fmt: on
_DIGIT_RUN = re.compile(r"[0-9]{4,}")
_HUGE = Fraction(10) ** 90
_ARC = {"'": "arcminute", "''": "arcsecond"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """``target = source * factor + offset``; both exact. A standard uncertainty scales by ``abs(factor)`` alone."""

    factor: Fraction
    offset: Fraction


@dataclass(frozen=True, slots=True)
class _Unit:
    factor: Fraction
    offset: Fraction
    kind: tuple[tuple[str, Fraction], ...]
    logarithmic: bool


def check(unit: object, field: str = "") -> str:
    """``unit`` if it is a UCUM code that we know. Raises ``UnknownUnit``, ``InvalidInput`` when it is no text."""
    if not isinstance(unit, str):
        raise InvalidInput(
            "a unit is text",
            code="bad_unit",
            field=field,
            remedy='give a UCUM code such as "mm"; "1" for a pure number',
        )
    if unit not in _EVERYDAY:
        try:
            _unit(unit)
        except UnknownUnit as error:
            raise error.at(field) if field else error from None
    return unit


@lru_cache(maxsize=1024)
def commensurable(one: str, other: str) -> bool:
    """Whether quantities in the two units can be compared. Raises ``UnknownUnit``."""
    if one == other:
        return True
    a, b = _unit(one), _unit(other)
    return a.kind == b.kind and not a.logarithmic and not b.logarithmic


def conversion(source: str, target: str, field: str = "") -> Conversion:
    """How a value in ``source`` becomes one in ``target``. Raises ``UnknownUnit`` or ``WrongDimension``."""
    if source == target:
        return Conversion(Fraction(1), Fraction(0))
    if not commensurable(source, target):
        raise WrongDimension(
            f"{source!r} measures {describe(source)}; {target!r} measures {describe(target)}",
            field=field,
            remedy=f"give the value in {target!r} or in a unit of the same kind",
        )
    return _conversion(source, target)


@lru_cache(maxsize=1024)
def _conversion(source: str, target: str) -> Conversion:
    a, b = _unit(source), _unit(target)
    return Conversion(a.factor / b.factor, (a.offset - b.offset) / b.factor)


def describe(unit: str) -> str:
    """What the unit measures, in words for people ("length", "mass length^2 time^-2"). Raises ``UnknownUnit``."""
    found = _unit(unit)
    if found.logarithmic:
        return f"a level in {unit}"
    words = [_WORDS.get(name, name) + ("" if power == 1 else f"^{power}") for name, power in found.kind]
    return " ".join(words) or "a pure number"


_WORDS = {
    "meter": "length",
    "gram": "mass",
    "second": "time",
    "kelvin": "temperature",
    "ampere": "current",
    "mole": "amount",
    "candela": "luminous intensity",
    "radian": "angle",
    "bit": "information",
}


def _unknown(unit: str) -> UnknownUnit:
    shown = unit if len(unit) <= 40 else unit[:37] + "..."
    return UnknownUnit(
        f"{shown!r} is not a UCUM unit",
        remedy='give a UCUM code, such as "mm", "deg", "Cel", "uL", "S/cm"; "1" for a pure number',
    )


@lru_cache(maxsize=1024)
def _unit(code: str) -> _Unit:
    # Bounded before the parser sees it: exponents of a thousand digits would be computed faithfully.
    if not 0 < len(code) <= MAX_LENGTH or not code.isascii() or _DIGIT_RUN.search(code):
        raise _unknown(code)
    registry, parser, transformer = _machinery()
    from lark.exceptions import LarkError
    from pint import PintError

    try:
        tree = parser.parse(code)
        parsed = transformer.transform(tree)
        if not hasattr(parsed, "units"):  # nothing but an annotation, such as {count}: unity
            parsed = registry.Quantity(Fraction(1))
        return _reduce(registry, parsed)
    except (LarkError, PintError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        raise _unknown(code) from None


def _reduce(registry: Any, parsed: Any) -> _Unit:
    parts = dict(parsed.units._units)
    if sum(abs(power) for power in parts.values()) > 100:
        raise ValueError("exponents past all use")
    converters = [registry._units[name].converter for name in parts if name in registry._units]
    logarithmic = any(converter.is_logarithmic for converter in converters)
    offset = Fraction(0)
    for converter in converters:
        if not converter.is_multiplicative and not logarithmic:
            # Only alone: the parser has refused products with such a unit ("Cel/min"; K/min is meant).
            offset = Fraction(converter.offset)
    factor, root = registry.get_root_units(parsed.units)
    total = Fraction(factor) * Fraction(parsed.magnitude)
    if not 1 / _HUGE <= total <= _HUGE:
        raise ValueError("a factor past all use")
    kind = tuple(sorted((str(name), Fraction(power)) for name, power in root._units.items() if power))
    return _Unit(total, offset, kind, logarithmic)


@lru_cache(maxsize=1)
def _machinery() -> tuple[Any, Any, Any]:
    """Registry with exact fractions, the UCUM parser, and the transformer that joins them (0.7 s, once a process)."""
    import importlib.resources

    import pint
    from ucumvert import UcumToPintTransformer, get_ucum_parser

    registry: Any = pint.UnitRegistry(non_int_type=Fraction)
    definitions = importlib.resources.files("ucumvert") / "pint_ucum_defs.txt"
    registry.load_definitions(definitions.read_text(encoding="utf-8").splitlines())

    class Exact(UcumToPintTransformer):  # type: ignore[misc]
        """Magnitudes as fractions: the integers of the stock transformer divide into floats."""

        def simple_unit(self, args: list[Any]) -> Any:
            # The stock mapping reads the arc minute and second as times.
            arc = _ARC.get(str(args[0])) if len(args) == 1 else None
            found = registry(arc) if arc else super().simple_unit(args)
            return registry.Quantity(Fraction(found.magnitude), found.units)

    return registry, get_ucum_parser(), Exact(ureg=registry)
