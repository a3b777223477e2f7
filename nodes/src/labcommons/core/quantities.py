"""A measured or wanted amount: an exact decimal, its UCUM unit and, where known, its standard uncertainty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from labcommons.core import units
from labcommons.core.decimals import decimal_text, fits, fraction_to_decimal, parse_decimal
from labcommons.core.errors import BareNumber, InvalidInput, UnknownUnit, WrongDimension

__all__ = ["Quantity", "parse_quantity"]

_SPOKEN = re.compile(
    r"(?P<value>[+-]?[0-9]{1,60}(?:\.[0-9]{1,60})?(?:[eE][+-]?[0-9]{1,3})?)"
    r"(?:\((?P<last>[0-9]{1,20})\)|\s*(?:\+/-|±)\s*(?P<u>[0-9]{1,60}(?:\.[0-9]{1,60})?(?:[eE][+-]?[0-9]{1,3})?))?"
    r"\s*(?P<unit>\S.*)?"
)


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """``value`` (exact, kept as written) in ``unit`` (UCUM; ``1`` for a pure number), ``u`` its standard uncertainty.

    ``u`` is in the same unit (of a temperature in Cel: a difference), not negative, ``None`` where it is not known.
    Comparisons are by dimension and exact; ``==`` also compares ``u`` and is false across dimensions, the others raise
    ``WrongDimension``. A unit is looked up when something needs it; ``from_json`` checks it at once.
    """

    value: Decimal
    unit: str
    u: Decimal | None = None

    def __post_init__(self) -> None:
        # An int is exact, so it may be given; a float has already lost what it was.
        for name in ("value", "u"):
            given: object = getattr(self, name)
            if isinstance(given, int) and not isinstance(given, bool):
                object.__setattr__(self, name, Decimal(given))
            elif not isinstance(given, Decimal) and not (name == "u" and given is None):
                kind = type(given).__name__
                raise InvalidInput(f"{name} is a Decimal, not {kind}", code="bad_number", field=f"/{name}")
        if not fits(self.value):
            raise InvalidInput("a value is finite, with at most 60 digits", code="bad_number", field="/value")
        if self.u is not None and (not fits(self.u) or self.u < 0):
            raise InvalidInput(
                "a standard uncertainty is finite and not negative",
                code="bad_number",
                field="/u",
                remedy='give u as a decimal of at least "0", or leave it out where it is not known',
            )
        if not self.unit:
            raise BareNumber("a quantity has a unit", field="/unit", remedy='give its UCUM unit; "1" for a pure number')

    @classmethod
    def of(cls, value: str | int, unit: str, u: str | None = None) -> Quantity:
        """The quantity from texts, its unit checked. Raises as ``from_json`` does."""
        return cls.from_json({"value": str(value), "unit": unit} | ({} if u is None else {"u": u}))

    @classmethod
    def from_json(cls, obj: object, field: str = "") -> Quantity:
        """The quantity that ``{"value": "12.50", "unit": "mm", "u": "0.02"}`` says; ``u`` may be absent or null.

        Raises ``BareNumber`` (no unit), ``UnknownUnit``, or ``InvalidInput``; ``field`` is the pointer to ``obj``.
        """
        if isinstance(obj, (int, float)) and not isinstance(obj, bool):
            raise bare_number(obj, field)
        if not isinstance(obj, Mapping):
            raise InvalidInput(
                "a quantity is an object with value and unit",
                code="bad_value",
                field=field,
                remedy='write {"value": "12.50", "unit": "mm"}',
            )
        refuse_unknown(obj, {"value", "unit", "u"}, field)
        if "value" not in obj:
            raise InvalidInput(
                "the quantity has no value", code="bad_value", field=field, remedy='add "value", a decimal as text'
            )
        if obj.get("unit") in (None, ""):
            raise bare_number(obj["value"], field)
        value = parse_decimal(obj["value"], f"{field}/value")
        unit = units.check(obj["unit"], f"{field}/unit")
        u = None if obj.get("u") is None else parse_decimal(obj["u"], f"{field}/u")
        try:
            return cls(value, unit, u)
        except InvalidInput as error:
            raise error.at(field) from None

    def to_json(self) -> dict[str, str]:
        """``{"value", "unit"}`` and ``u`` where it is known; the digits as they were written."""
        out = {"value": decimal_text(self.value), "unit": self.unit}
        if self.u is not None:
            out["u"] = decimal_text(self.u)
        return out

    def to(self, unit: str) -> Quantity:
        """The same quantity in ``unit``: exact where decimals can hold it, else 34 digits.

        ``u`` scales; the offset of a temperature scale shifts the value alone. Raises ``UnknownUnit``,
        ``WrongDimension``, or ``InvalidInput`` where the result would leave the limits of a decimal.
        """
        if unit == self.unit:
            return self
        how = units.conversion(self.unit, unit)
        value = fraction_to_decimal(Fraction(self.value) * how.factor + how.offset, self.value)
        u = None if self.u is None else fraction_to_decimal(Fraction(self.u) * abs(how.factor), self.u)
        return Quantity(value, unit, u)

    def same_dimension(self, other: Quantity) -> bool:
        """Whether the two can be compared. Raises ``UnknownUnit``."""
        return units.commensurable(self.unit, other.unit)

    def exact_in(self, unit: str) -> Fraction:
        """The value in ``unit`` as an exact fraction, for comparisons. Raises ``UnknownUnit``, ``WrongDimension``."""
        how = units.conversion(self.unit, unit)
        return Fraction(self.value) * how.factor + how.offset

    def _compare(self, other: object, holds: Callable[[Fraction, Fraction], bool]) -> bool:
        if isinstance(other, (int, float, Decimal)):
            raise bare_number(other, "")
        if not isinstance(other, Quantity):
            raise TypeError(f"a quantity cannot be compared with {type(other).__name__}")
        return holds(self.exact_in(other.unit), Fraction(other.value))

    def __lt__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a >= b)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantity):
            return NotImplemented
        if self.unit == other.unit:
            return self.value == other.value and self.u == other.u
        try:
            how = units.conversion(self.unit, other.unit)
        except (UnknownUnit, WrongDimension):
            return False
        mine = None if self.u is None else Fraction(self.u) * abs(how.factor)
        theirs = None if other.u is None else Fraction(other.u)
        return Fraction(self.value) * how.factor + how.offset == Fraction(other.value) and mine == theirs

    def __hash__(self) -> int:
        # Equal quantities may differ in unit, so that no field of one can enter; quantities are rarely keys.
        return hash(Quantity)

    def __str__(self) -> str:
        u = "" if self.u is None else f" ± {decimal_text(self.u)}"
        return f"{decimal_text(self.value)}{u} {self.unit}"


def parse_quantity(text: str, field: str = "") -> Quantity:
    """What a person writes: ``40 deg``, ``2.1mm``, ``9.2(3) mm`` (u is 0.3), ``9.2 ± 0.3 mm``, ``9.2 +/- 0.3 mm``.

    Raises ``BareNumber`` where no unit follows, ``UnknownUnit``, ``InvalidInput`` for anything else.
    """
    found = _SPOKEN.fullmatch(text.strip()) if len(text) <= 300 else None
    if found is None:
        raise InvalidInput(
            f"{text[:40]!r} is not a number with a unit",
            code="bad_value",
            field=field,
            remedy='write a number, a space and a UCUM unit, such as "40 deg"',
        )
    number = found["value"].removeprefix("+")
    if not found["unit"]:
        raise bare_number(number, field)
    u = found["u"]
    if found["last"]:
        exponent = parse_decimal(number, field).as_tuple().exponent
        u = decimal_text(Decimal((0, tuple(int(digit) for digit in found["last"]), int(exponent))))
    return Quantity.from_json({"value": number, "unit": found["unit"], "u": u}, field)


def bare_number(number: Any, field: str) -> BareNumber:
    """The error for a number that came without its unit."""
    shown = str(number)[:40]
    return BareNumber(
        f"{shown} has no unit",
        field=field,
        remedy=f'write {{"value": "{shown}", "unit": "..."}} for a quantity (unit "1" for a pure number)'
        f', or {{"int": {shown}}} for a count',
    )


def refuse_unknown(obj: Mapping[Any, Any], known: set[str], field: str) -> None:
    """Raises ``InvalidInput`` (``unknown_field``) at the first key of ``obj`` that is not in ``known``."""
    for key in obj:
        if key not in known:
            shown = str(key)[:60]
            raise InvalidInput(
                f"{shown!r} is not a field of this form",
                code="unknown_field",
                field=f"{field}/{shown.replace('~', '~0').replace('/', '~1')}",
                remedy=f"leave it out; known are {', '.join(sorted(known))}",
            )
