"""What capabilities, protocols and manifests say of one parameter or output: its kind, unit and limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from labcommons.core import units
from labcommons.core.decimals import decimal_text
from labcommons.core.errors import BareNumber, InvalidInput, LabCommonsError, OutOfRange
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity, parse_quantity
from labcommons.core.values import Array, Enum, Int, Kind, Sample, Text, Value, kind_of, value_from_json
from labcommons.protocols.fields import DecimalField, Form, QuantityField, Several, Title, UnitField, ValueField
from labcommons.protocols.problems import as_pydantic

__all__ = ["CAPABILITY_PATTERN", "Axis", "CapabilityRef", "OutputSpec", "ParameterSpec", "Takes"]

CAPABILITY_PATTERN = r"^[a-z][a-z0-9._-]{0,98}@[1-9][0-9]{0,5}$"
CapabilityRef = Annotated[str, Field(pattern=CAPABILITY_PATTERN)]
"""A capability and its version, such as ``compression.test@1``."""

_WITH_UNIT = ("quantity", "array", "profile")
_WITH_RANGE = (*_WITH_UNIT, "int", "sample")


def _refused(detail: str, field: str, remedy: str, code: str = "bad_parameter") -> Exception:
    return as_pydantic(InvalidInput(detail, code=code, field=field, remedy=remedy))


class Axis(Form):
    """What the index of an array counts."""

    name: Title
    unit: UnitField


class OutputSpec(Form):
    """One output of an action. ``unit`` belongs to quantity, array and profile."""

    kind: Kind
    unit: UnitField | None = None
    title: Title = ""
    values: Several[str] = ()
    axis: Axis | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _check_unit(self.kind, self.unit)
        if self.axis is not None and self.kind != "array":
            raise _refused("only an array has an axis", "/axis", "leave axis out")
        return self


class Takes(Form):
    """What an action does to a sample that it is given."""

    kind: Literal["sample"] = "sample"
    becomes: Literal["available", "consumed"] = "available"
    title: Title = ""


class ParameterSpec(Form):
    """One parameter. ``min`` and ``max`` are in ``unit``: of the amount, the elements, the profile's values."""

    kind: Kind
    unit: UnitField | None = None
    min: DecimalField | None = None
    max: DecimalField | None = None
    values: Several[str] = ()
    default: ValueField | None = None
    uncertainty: QuantityField | None = None
    title: Title = ""
    axis: Axis | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        ranged = self.min is not None or self.max is not None
        # A sample's unit is that of its amount, and needed only where the amount has limits.
        _check_unit(self.kind, self.unit, optional=self.kind == "sample" and not ranged)
        if ranged and self.kind not in _WITH_RANGE:
            raise _refused(
                f"{self.kind} has no min and max", "/min" if self.min is not None else "/max", "leave it out"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise _refused("min is above max", "/min", f'give at most "{decimal_text(self.max)}"')
        if (self.kind == "enum") != bool(self.values):
            raise _refused("an enum, and only an enum, lists its values", "/values", 'write values: ["slow", "quick"]')
        if self.uncertainty is not None and self.kind != "quantity":
            raise _refused("only a quantity has an uncertainty", "/uncertainty", "leave it out")
        if self.default is not None:
            try:
                self.check(self.default, "/default")
            except LabCommonsError as error:
                raise as_pydantic(error) from None
        return self

    def check(self, value: Value, field: str = "") -> None:
        """Raises the error of the first rule that ``value`` breaks: wrong_kind, wrong_dimension, out_of_range."""
        self.check_kind(kind_of(value), _unit_of(value), field)
        limit = self.exceeded(value)
        if limit is not None:
            raise OutOfRange(
                f"{_said(value)} is out of range: {self.range_text()}",
                field=field,
                remedy=f"give {'one of ' if self.kind == 'enum' else ''}{self.range_text()}",
                limit=limit,
            )

    def check_kind(self, kind: Kind, unit: str | None, field: str = "") -> None:
        """The same for a value of which only kind and unit are known yet. Raises wrong_kind or wrong_dimension."""
        if kind != self.kind:
            raise InvalidInput(
                f"this is a value of the kind {kind}; {self.kind} is asked for",
                code="wrong_kind",
                field=field,
                remedy=f"write {self.example()}",
            )
        if self.unit is not None and unit is not None:
            units.conversion(unit, self.unit, field)

    def exceeded(self, value: Value) -> str | None:
        """The limit that ``value`` (of the right kind and dimension) passes, as text for people; ``None`` if none."""
        if isinstance(value, Enum):
            return None if value.word in self.values else self.range_text()
        for number, unit in _numbers(value):
            if not self._within(number, unit):
                return self.range_text()
        return None

    def _within(self, number: Decimal | int, unit: str | None) -> bool:
        target = self.unit if unit is not None and self.unit is not None else None
        exact = Quantity(Decimal(number), unit or "1").exact_in(target or unit or "1")
        low = self.min is None or exact >= self.min
        return low and (self.max is None or exact <= self.max)

    def range_text(self) -> str:
        """The limits in words: ``0 to 80 uL``, ``at least 1``, ``slow, quick``."""
        if self.kind == "enum":
            return ", ".join(self.values)
        unit = f" {self.unit}" if self.unit not in (None, "1") else ""
        low = None if self.min is None else decimal_text(self.min)
        high = None if self.max is None else decimal_text(self.max)
        if low is not None and high is not None:
            return f"{low} to {high}{unit}"
        if low is not None:
            return f"at least {low}{unit}"
        return f"at most {high}{unit}" if high is not None else "any value"

    def allowed(self) -> str:
        """What is asked for, in words: the limits, or the kind and unit where there are none."""
        limits = self.range_text()
        if limits != "any value":
            return limits
        return self.kind if self.unit is None else f"{self.kind} in {self.unit}"

    def example(self) -> str:
        """A value of this kind, as JSON, for remedies."""
        number = decimal_text(self.min if self.min is not None else self.max if self.max is not None else Decimal(1))
        return {
            "quantity": f'{{"value": "{number}", "unit": "{self.unit}"}}',
            "text": '"some text"',
            "int": f'{{"int": {number}}}',
            "enum": f'{{"enum": "{self.values[0] if self.values else ""}"}}',
            "sample": '{"sample": "smp_..."}',
            "array": f'{{"array": {{"unit": "{self.unit}", "values": ["{number}"]}}}}',
            "profile": f'{{"profile": {{"unit": "{self.unit}", "points": [{{"t_ms": 0, "value": "{number}"}}]}}}}',
        }[self.kind]

    def from_words(self, given: object, field: str = "") -> Value:
        """What a person or a script means by ``given`` for this parameter, as a ``Value``.

        A value or its JSON form passes; ``"40 deg"`` becomes a quantity, ``9`` and ``"9"`` an int, ``"quick"`` an enum,
        and a bare number a quantity only where the unit is ``1``. Raises ``BareNumber``, ``UnknownUnit``,
        ``InvalidInput``.
        """
        if isinstance(given, (Quantity, Int, Enum, Text, Profile, Array, Sample)):
            return given
        if isinstance(given, bool) or not isinstance(given, (str, int, float, Decimal)):
            return value_from_json(given, field)
        text = str(given).strip()
        if self.kind == "int":
            return value_from_json({"int": _whole(text, field)}, field)
        if self.kind == "enum":
            return Enum(text)
        if self.kind != "quantity":
            return value_from_json(given, field)
        if self.unit != "1":
            return self._with_unit(text, field)
        return parse_quantity(text if " " in text else f"{text} 1", field)

    def _with_unit(self, text: str, field: str) -> Quantity:
        try:
            return parse_quantity(text, field)
        except BareNumber as error:
            # The words of a person are at hand, so the remedy can be theirs.
            remedy = f'write it with its unit, as in "{text} {self.unit}"'
            raise BareNumber(error.detail, field=field, remedy=remedy) from None


def _whole(text: str, field: str) -> int:
    try:
        if len(text) > 20:
            raise ValueError
        return int(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:40]!r} is not a whole number", code="wrong_kind", field=field, remedy="give a whole number"
        ) from None


def _check_unit(kind: Kind, unit: str | None, *, optional: bool = False) -> None:
    if kind in _WITH_UNIT and unit is None and not optional:
        raise _refused(f"{kind} needs its unit", "/unit", 'add unit, a UCUM code; "1" for a pure number')
    if kind not in (*_WITH_UNIT, "sample") and unit is not None:
        raise _refused(f"{kind} has no unit", "/unit", "leave unit out")


def _unit_of(value: Value) -> str | None:
    if isinstance(value, (Quantity, Array, Profile)):
        return value.unit
    amount = getattr(value, "amount", None)
    return amount.unit if isinstance(amount, Quantity) else None


def _numbers(value: Value) -> list[tuple[Decimal | int, str | None]]:
    """Every number of ``value`` that a range speaks of, with its unit."""
    if isinstance(value, Quantity):
        return [(value.value, value.unit)]
    if isinstance(value, Int):
        return [(value.value, None)]
    if isinstance(value, Array):
        return [(number, value.unit) for number in value.values]
    if isinstance(value, Profile):
        return [(point.value, value.unit) for point in value.points]
    amount: Any = getattr(value, "amount", None)
    return [(amount.value, amount.unit)] if isinstance(amount, Quantity) else []


def _said(value: Value) -> str:
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, Int):
        return str(value.value)
    if isinstance(value, Enum):
        return repr(value.word[:40])
    return f"the {kind_of(value)}"
