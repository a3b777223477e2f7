"""What people write becomes what crosses: ``"40 deg"`` and ``9`` are read by the protocol's kinds."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from labcommons.core.errors import BareNumber, InvalidInput, LabCommonsError
from labcommons.core.quantities import Quantity, parse_quantity
from labcommons.core.values import value_from_json, value_to_json

__all__ = ["to_value", "to_values"]


def to_values(
    given: Mapping[str, Any], parameters: Mapping[str, Mapping[str, Any]], field: str = "/arguments"
) -> dict[str, Any]:
    """``given`` in the API's form; ``parameters`` as the protocol's document has them.

    Raises ``InvalidInput`` whose ``field`` points at the argument. A parameter that the protocol does not have is
    left to the facility, which knows the best words for it.
    """
    return {name: to_value(raw, parameters.get(name, {}), f"{field}/{name}") for name, raw in given.items()}


def to_value(raw: Any, parameter: Mapping[str, Any], field: str = "") -> Any:
    """One argument in the API's form. Raises ``InvalidInput`` or a subclass."""
    if isinstance(raw, Mapping):
        return value_to_json(value_from_json(dict(raw), field))
    if isinstance(raw, Quantity):
        return raw.to_json()
    kind = parameter.get("kind")
    if kind == "int":
        return {"int": _whole(raw, field)}
    if kind == "quantity":
        return _quantity(raw, str(parameter.get("unit", "1")), field)
    if kind == "enum" and isinstance(raw, str):
        return {"enum": raw}
    if kind == "sample" and isinstance(raw, str):
        return {"sample": raw, "amount": None}
    if isinstance(raw, str):
        return raw
    raise BareNumber(
        f"{raw!r} does not say what it measures", field=field, remedy='write a number with its unit, as in "2.1 mm"'
    )


def _whole(raw: Any, field: str) -> int:
    try:
        if isinstance(raw, bool) or int(raw) != Decimal(str(raw)):
            raise ValueError
        return int(raw)
    except (ValueError, TypeError, ArithmeticError):
        raise InvalidInput(
            f"{raw!r} is not a whole number", code="wrong_kind", field=field, remedy="write a whole number, as in 9"
        ) from None


def _quantity(raw: Any, unit: str, field: str) -> Any:
    if not isinstance(raw, str):
        raise BareNumber(f"{raw!r} has no unit", field=field, remedy=f'write it with its unit, as in "{raw} {unit}"')
    try:
        return parse_quantity(raw).to_json()
    except LabCommonsError as error:
        # The text is one string: there is no member of it to point at.
        error.field = field
        raise error from None
