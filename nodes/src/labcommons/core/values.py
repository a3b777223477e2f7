"""The one encoding of values that cross: the ``Value`` of the line protocol, used everywhere.

====================  ==================================================================
form                  JSON
====================  ==================================================================
``Quantity``          ``{"value": "12.50", "unit": "mm", "u": "0.02"}``
``Text``              ``"any text"``
``Int``               ``{"int": 3}``
``Enum``              ``{"enum": "quick"}``
``Sample``            ``{"sample": "smp_...", "amount": Quantity or null}``
``Array``             ``{"array": {"unit": "V", "values": ["0.1", "0.2"]}}``
``Profile``           ``{"profile": {"unit", "points": [{"t_ms", "value"}], "interpolation"}}``
====================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, assert_never

from labcommons.core import units
from labcommons.core.decimals import decimal_text, parse_decimal
from labcommons.core.errors import InvalidInput, TooLarge
from labcommons.core.ids import SampleId
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity, bare_number, refuse_unknown

__all__ = [
    "Array",
    "Enum",
    "Int",
    "Kind",
    "Profile",
    "Quantity",
    "Sample",
    "Text",
    "Value",
    "kind_of",
    "value_from_json",
    "value_to_json",
]

MAX_TEXT = 20_000
MAX_ELEMENTS = 100_000
MAX_INT = 2**53 - 1
"""Past it a JSON reader elsewhere would round."""

Kind = Literal["quantity", "text", "int", "enum", "sample", "array", "profile"]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, at most 20,000 characters."""

    text: str


@dataclass(frozen=True, slots=True)
class Int:
    """A count, within 53 bits."""

    value: int


@dataclass(frozen=True, slots=True)
class Enum:
    """One word of a list that the parameter declares."""

    word: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample, and how much of it where that matters."""

    sample: SampleId
    amount: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """Exact decimals in one unit, at most 100,000."""

    unit: str
    values: tuple[Decimal, ...]


Value = Quantity | Text | Int | Enum | Sample | Array | Profile


def value_from_json(obj: object, field: str = "") -> Value:
    """The value that ``obj`` says; ``field`` is the pointer to it.

    Raises ``BareNumber``, ``UnknownUnit``, ``TooLarge`` or ``InvalidInput`` with pointer and remedy.
    """
    if isinstance(obj, str):
        return _text(obj, field)
    if isinstance(obj, (int, float)) and not isinstance(obj, bool):
        raise bare_number(obj, field)
    if not isinstance(obj, Mapping):
        raise _bad("a value is text or an object", field)
    if "value" in obj or "unit" in obj:
        return Quantity.from_json(obj, field)
    forms = [word for word in ("int", "enum", "sample", "array", "profile") if word in obj]
    if len(forms) != 1:
        raise _bad("this is none of the forms of a value", field)
    form = forms[0]
    refuse_unknown(obj, {"sample", "amount"} if form == "sample" else {form}, field)
    here, inner = f"{field}/{form}", obj[form]
    match form:
        case "int":
            if isinstance(inner, bool) or not isinstance(inner, int) or abs(inner) > MAX_INT:
                raise _bad("an int is a whole number within 53 bits", here)
            return Int(inner)
        case "enum":
            if not isinstance(inner, str) or not 0 < len(inner) <= 200:
                raise _bad("an enum is one word", here)
            return Enum(inner)
        case "sample":
            amount = obj.get("amount")
            quantity = None if amount is None else Quantity.from_json(amount, f"{field}/amount")
            return Sample(SampleId.parse(inner, here), quantity)
        case _:
            pass
    if not isinstance(inner, dict):
        raise _bad(f"{form} is an object", here)
    return Profile.from_json(inner, here) if form == "profile" else _array(inner, here)


def value_to_json(value: Value) -> Any:
    """The JSON form of ``value``; ``value_from_json`` gives an equal one back."""
    match value:
        case Quantity():
            return value.to_json()
        case Text():
            return value.text
        case Int():
            return {"int": value.value}
        case Enum():
            return {"enum": value.word}
        case Sample():
            return {"sample": str(value.sample), "amount": value.amount.to_json() if value.amount else None}
        case Array():
            return {"array": {"unit": value.unit, "values": [decimal_text(v) for v in value.values]}}
        case Profile():
            return {"profile": value.to_json()}
        case _:
            assert_never(value)


def kind_of(value: Value) -> Kind:
    """The word by which parameters declare this form."""
    match value:
        case Quantity():
            return "quantity"
        case Text():
            return "text"
        case Int():
            return "int"
        case Enum():
            return "enum"
        case Sample():
            return "sample"
        case Array():
            return "array"
        case Profile():
            return "profile"
        case _:
            assert_never(value)


def _text(text: str, field: str) -> Text:
    if len(text) > MAX_TEXT:
        raise TooLarge(
            f"the text has {len(text)} characters", field=field, remedy=f"give at most {MAX_TEXT} characters"
        )
    return Text(text)


def _array(obj: dict[str, Any], field: str) -> Array:
    refuse_unknown(obj, {"unit", "values"}, field)
    unit = units.check(obj.get("unit"), f"{field}/unit")
    values = obj.get("values")
    if not isinstance(values, list):
        raise _bad("values is a list of decimals as text", f"{field}/values")
    if len(values) > MAX_ELEMENTS:
        raise TooLarge(
            f"the array has {len(values)} elements",
            field=f"{field}/values",
            remedy=f"give at most {MAX_ELEMENTS}; more belongs in a file",
        )
    return Array(unit, tuple(parse_decimal(v, f"{field}/values/{i}") for i, v in enumerate(values)))


def _bad(detail: str, field: str) -> InvalidInput:
    return InvalidInput(
        detail,
        code="bad_value",
        field=field,
        remedy='write a quantity {"value": "12.50", "unit": "mm"}, text, {"int": 3}, {"enum": "quick"},'
        ' {"sample": "smp_..."}, {"array": {"unit", "values"}} or {"profile": {"unit", "points"}}',
    )
