"""Arguments for an action that nobody gave any for: the middle of each range."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from labcommons.core.decimals import decimal_text
from labcommons.core.errors import InvalidInput
from labcommons.core.values import value_from_json, value_to_json
from labcommons.node.drivers.contract import Action, Json
from labcommons.node.drivers.values import limits
from labcommons.protocols.problems import validate
from labcommons.protocols.specs import ParameterSpec

__all__ = ["middle", "spoken"]


def middle(action: Action, sample: str) -> Json:
    """A value in the middle of each parameter's range. `sample`: the id for parameters of that kind."""
    return {name: _middle(spec, sample) for name, spec in action.parameters.items()}


def _middle(spec: Mapping[str, Any], sample: str) -> Any:
    low, high = limits(spec)
    if low is not None and high is not None:
        number = (low + high) / 2
    else:
        number = low if low is not None else high if high is not None else Decimal(1)
    text, unit = decimal_text(number), spec.get("unit", "1")
    match spec.get("kind"):
        case "int":
            whole = int(number)
            return {"int": whole + 1 if low is not None and whole < low else whole}
        case "quantity":
            return {"value": text, "unit": unit}
        case "enum":
            return {"enum": next(iter(spec.get("values") or ["?"]))}
        case "sample":
            return {"sample": sample}
        case "array":
            return {"array": {"unit": unit, "values": [text, text]}}
        case "profile":
            points = [{"t_ms": 0, "value": text}, {"t_ms": 1000, "value": text}]
            return {"profile": {"unit": unit, "points": points, "interpolation": "linear"}}
        case _:
            return "check"


def spoken(action: Action, words: Sequence[str]) -> Json:
    """`name=value` texts as arguments: `theta=40 deg`, `n=9`, or a Value in JSON. Raises `InvalidInput`."""
    found: Json = {}
    for word in words:
        name, equals, text = word.partition("=")
        spec = action.parameters.get(name)
        if not equals or spec is None:
            known = ", ".join(action.parameters) or "none"
            raise InvalidInput(
                f"{word!r} names no parameter of {action.name}",
                field=f"/{name}",
                remedy=f"write NAME=VALUE; there are: {known}",
            )
        if text.startswith("{"):
            try:
                found[name] = value_to_json(value_from_json(json.loads(text), f"/{name}"))
            except ValueError as error:
                raise InvalidInput(f"{text!r} is no JSON", field=f"/{name}", remedy='write "40 deg"') from error
            continue
        known_words = {k: v for k, v in spec.items() if k in ("kind", "unit", "min", "max", "values")}
        form = validate(ParameterSpec, known_words, f"/{name}")
        found[name] = value_to_json(form.from_words(text, f"/{name}"))
    return found
