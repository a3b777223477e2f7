"""Arguments and outputs against what `describe` names: forms, kinds, units, ranges.

`fit` is used on both sides of the line: the host converts units before anything goes out, a simulated instrument
refuses other units as the line protocol wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from labcommons.core.errors import InvalidInput
from labcommons.core.profiles import Point, Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Array, Enum, Int, Sample, Value, kind_of, value_from_json, value_to_json
from labcommons.node.drivers.contract import Action, Arguments, Description, InstrumentRefused, Json

__all__ = ["KINDS", "fit", "fit_action", "in_unit", "limits", "same_arguments"]

KINDS = ("quantity", "text", "int", "enum", "sample", "array", "profile")


def fit_action(description: Description, action: str, arguments: Arguments, *, convert: bool) -> tuple[Action, Json]:
    """The action of that name and its arguments as it takes them. Raises `InstrumentRefused` as `fit` does."""
    found = description.action(action)
    if found is None:
        known = ", ".join(a.name for a in description.actions) or "none"
        raise InstrumentRefused("bad_request", f"no action is called {action!r}; described are: {known}")
    return found, fit(found, arguments, convert=convert)


def fit(action: Action, arguments: Arguments, *, convert: bool) -> Json:
    """The arguments in the forms and units that the action describes.

    `convert`: bring other units of the same dimension into the described one; else refuse them. Raises
    `InstrumentRefused`: `bad_request` for a missing or unlisted parameter, a wrong kind, form, unit or word;
    `out_of_range` outside `min` and `max`.
    """
    if not isinstance(arguments, Mapping):
        raise InstrumentRefused("bad_request", "arguments must be an object")
    for name in arguments.keys() - action.parameters.keys():
        known = ", ".join(action.parameters) or "none"
        raise InstrumentRefused("bad_request", f"{action.name} has no parameter {name!r}; it takes: {known}")
    found: Json = {}
    for name, spec in action.parameters.items():
        if name not in arguments:
            raise InstrumentRefused("bad_request", f"the parameter {name!r} of {action.name} is missing")
        try:
            value = in_unit(value_from_json(arguments[name]), spec, convert)
        except InvalidInput as error:
            raise InstrumentRefused("bad_request", f"{name}: {error.detail}. {error.remedy}".strip()) from error
        _check_range(name, value, spec)
        found[name] = value_to_json(value)
    return found


def in_unit(value: Value, spec: Mapping[str, Any], convert: bool) -> Value:
    """The value as `spec` (`{kind, unit, values}`) wants it. Raises `InvalidInput` where it is something else."""
    kind, unit = spec.get("kind"), spec.get("unit")
    if kind_of(value) != kind:
        raise InvalidInput(f"it is of kind {kind_of(value)}, described is {kind}")
    if isinstance(value, Enum):
        if value.word not in (words := list(spec.get("values") or [])):
            raise InvalidInput(f"{value.word!r} is not one of: {', '.join(map(str, words))}")
        return value
    if isinstance(value, Sample):
        if value.amount is None or unit is None:
            return value
        return Sample(value.sample, _quantity(value.amount, str(unit), convert))
    if isinstance(value, Quantity):
        return _quantity(value, str(unit), convert)
    if isinstance(value, Array | Profile) and value.unit != unit:
        return _converted(value, str(unit), convert)
    return value


def _quantity(value: Quantity, unit: str, convert: bool) -> Quantity:
    if value.unit == unit:
        return value
    if not convert:
        raise InvalidInput(f"it is in {value.unit}, described is {unit}")
    return value.to(unit)


def _converted(value: Array | Profile, unit: str, convert: bool) -> Array | Profile:
    def one(number: Decimal) -> Decimal:
        return _quantity(Quantity(number, value.unit), unit, convert).value

    one(Decimal(0))  # an empty array has a unit, too
    if isinstance(value, Array):
        return Array(unit, tuple(one(v) for v in value.values))
    return Profile(unit, tuple(Point(p.t_ms, one(p.value)) for p in value.points), value.interpolation)


def limits(spec: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    """`min` and `max` of a parameter, in its unit. Raises `ValueError` where one is no decimal as text."""
    found: list[Decimal | None] = []
    for word in ("min", "max"):
        text = spec.get(word)
        try:
            found.append(None if text is None else Decimal(text) if isinstance(text, str) else Decimal("NaN"))
        except InvalidOperation:
            found.append(Decimal("NaN"))
        last = found[-1]
        if last is not None and not last.is_finite():
            raise ValueError(f"{word} must be a decimal as text, not {text!r}")
    return found[0], found[1]


def _numbers(value: Value) -> tuple[Decimal, ...]:
    match value:
        case Quantity():
            return (value.value,)
        case Int():
            return (Decimal(value.value),)
        case Array():
            return value.values
        case Profile():
            return tuple(p.value for p in value.points)
        case Sample():
            return () if value.amount is None else (value.amount.value,)
        case _:
            return ()


def _check_range(name: str, value: Value, spec: Mapping[str, Any]) -> None:
    low, high = limits(spec)
    unit = spec.get("unit") or ""
    for number in _numbers(value):
        if (low is not None and number < low) or (high is not None and number > high):
            within = f"{'' if low is None else low} to {'' if high is None else high} {unit}".strip()
            raise InstrumentRefused("out_of_range", f"{name} = {number} {unit}".strip() + f" is not within {within}")


def same_arguments(one: Any, other: Any) -> bool:
    """Whether two sets of arguments say the same, numbers compared as numbers: 12.50 is 12.5."""
    return bool(_normal(one) == _normal(other))


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _number(v) if k in ("value", "u") else _normal(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_number(v) for v in value]
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return Decimal(value)
        except InvalidOperation:
            return value
    return _normal(value)
