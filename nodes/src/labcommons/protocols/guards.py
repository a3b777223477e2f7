"""Guards: CEL over the outputs of earlier steps. False means that the step is SKIPPED."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labcommons.core.errors import InvalidInput
from labcommons.core.quantities import Quantity, bare_number
from labcommons.core.values import Enum, Int, Text, Value
from labcommons.protocols.expressions import Expression, bad, compile_expression

__all__ = ["check_guard", "compile_guard", "evaluate_guard"]

_CODE = "bad_guard"


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A quantity inside an expression: exact comparisons by dimension, and nothing else.

    Unlike ``Quantity``, ``==`` across dimensions is an error too: in a guard it is always a mistake.
    """

    quantity: Quantity

    def _other(self, other: object) -> Quantity:
        if isinstance(other, _Measured):
            return other.quantity
        raise bare_number(other, "")

    def __lt__(self, other: object) -> bool:
        return self.quantity < self._other(other)

    def __le__(self, other: object) -> bool:
        return self.quantity <= self._other(other)

    def __gt__(self, other: object) -> bool:
        return self.quantity > self._other(other)

    def __ge__(self, other: object) -> bool:
        return self.quantity >= self._other(other)

    def __eq__(self, other: object) -> bool:
        right = self._other(other)
        return self.quantity.exact_in(right.unit) == Quantity(right.value, right.unit).exact_in(right.unit)

    __hash__ = None  # type: ignore[assignment]  # nothing in an expression is a key


def _quantity(value: object, unit: object) -> _Measured:
    if not isinstance(value, str) or not isinstance(unit, str):
        raise InvalidInput(
            "quantity takes two texts", code=_CODE, remedy="write quantity('20', 'uL'), the number in quotes"
        )
    return _Measured(Quantity.from_json({"value": str(value), "unit": str(unit)}))


def compile_guard(text: str) -> Expression:
    """The checked guard. Raises ``InvalidInput`` (``bad_guard``)."""
    return compile_expression(text, _CODE)


def evaluate_guard(
    text: str, outputs: Mapping[str, Mapping[str, Value]], parameters: Mapping[str, Value] | None = None
) -> bool:
    """Whether the guard holds. ``outputs``: step to output to value; ``parameters``: the experiment's arguments.

    Quantities, ints, enums and texts can be read. Raises ``InvalidInput`` (``bad_guard``), ``WrongDimension``,
    ``BareNumber`` (a quantity compared with a number), ``UnknownUnit``.
    """
    context: dict[str, Any] = {
        "steps": {step: {"outputs": _readable(values)} for step, values in outputs.items()},
        "parameters": _readable(parameters or {}),
    }
    result = compile_guard(text).evaluate(context, {"quantity": _quantity})
    # The interpreter's own BoolType is an int.
    if type(result).__name__ not in ("BoolType", "bool"):
        raise bad(_CODE, text, f"gives {type(result).__name__.removesuffix('Type').lower()}, not true or false")
    return bool(result)


def _readable(values: Mapping[str, Value]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        match value:
            case Quantity():
                out[name] = _Measured(value)
            case Int():
                out[name] = value.value
            case Enum():
                out[name] = value.word
            case Text():
                out[name] = value.text
            case _:
                pass  # samples, arrays and profiles have no comparison that a guard could use
    return out


def check_guard(
    text: str, outputs: Mapping[str, Mapping[str, Value]], parameters: Mapping[str, Value] | None = None
) -> None:
    """Tries the guard on example values of the right kinds and units; whether it holds does not matter.

    Raises as ``evaluate_guard``: a wrong dimension, a bare number, a result that is not a truth value are found early.
    """
    evaluate_guard(text, outputs, parameters)
