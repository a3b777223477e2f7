"""How long an action takes on an instrument: a number of milliseconds, or a CEL expression of its arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.profiles import Profile
from labcommons.core.quantities import Quantity
from labcommons.core.values import Int, Value
from labcommons.protocols.expressions import bad, compile_expression
from labcommons.protocols.specs import ParameterSpec

__all__ = ["evaluate_duration", "numbers_of"]

MAX_MS = 10 * 366 * 86_400_000
"""Ten years: past it a duration is a mistake."""

_CODE = "bad_duration"


def numbers_of(arguments: Mapping[str, Value], parameters: Mapping[str, ParameterSpec]) -> dict[str, float]:
    """What a duration expression can read: quantities in the manifest's unit, ints, and of a profile its length in ms.

    A parameter whose argument is not known yet counts with its ``max``, so that a hold covers what may come; one that
    has no ``max`` is left out, and an expression that reads it cannot be evaluated.
    """
    out: dict[str, float] = {}
    for name, value in arguments.items():
        spec = parameters.get(name)
        match value:
            case Quantity():
                out[name] = float(value.exact_in(spec.unit if spec is not None and spec.unit else value.unit))
            case Int():
                out[name] = float(value.value)
            case Profile():
                out[name] = float(value.duration_ms)
            case _:
                pass
    for name, spec in parameters.items():
        if name not in arguments and spec.kind in ("quantity", "int") and spec.max is not None:
            out[name] = float(spec.max)
    return out


def evaluate_duration(text: str, numbers: Mapping[str, float]) -> int:
    """Milliseconds of lab time, rounded. ``text``: digits, or CEL over ``numbers`` (``4000.0 + 150.0 * red``).

    Raises ``InvalidInput`` (``bad_duration``) unless the result is a number from 0 to ten years.
    """
    return _evaluate(text, tuple(sorted(numbers.items())))


# Kept, because compiling asks twice for each candidate, and a study asks for the same condition in many labs.
@lru_cache(maxsize=4096)
def _evaluate(text: str, given: tuple[tuple[str, float], ...]) -> int:
    numbers = dict(given)
    if text.isascii() and text.isdigit():
        result: object = int(text[:20])
    else:
        expression = compile_expression(text, _CODE)
        unknown = sorted(name for name in expression.references if name not in numbers)
        if unknown:
            raise bad(_CODE, text, f"reads {unknown[0]!r}, which has no value here")
        try:
            result = expression.evaluate({name: numbers[name] for name in expression.references}, {})
        except LabCommonsError as error:
            raise InvalidInput(
                error.detail, code=_CODE, remedy="write whole numbers with a point, as in 4000.0 + 150.0 * red"
            ) from None
    # The interpreter's BoolType is an int, and no duration.
    if type(result).__name__ == "BoolType" or not isinstance(result, (int, float)):
        raise bad(_CODE, text, "does not give a number")
    if not math.isfinite(result) or not 0 <= result <= MAX_MS:
        raise bad(_CODE, text, "gives a duration that is not between 0 and ten years")
    return round(result)
