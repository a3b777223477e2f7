"""What people write becomes what crosses: ``"40 deg"`` and ``9`` are read by the protocol's kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcommons.core.values import value_from_json, value_to_json

__all__ = ["to_values"]


def to_values(
    given: Mapping[str, Any], parameters: Mapping[str, Mapping[str, Any]], field: str = "/arguments"
) -> dict[str, Any]:
    """``given`` in the API's form; ``parameters`` as the protocol's document has them.

    Raises ``InvalidInput`` whose ``field`` points at the argument. A parameter that the protocol does not have is
    read as plainly as can be and left to the facility, which knows the best words for it.
    """
    # Loaded when first needed: pydantic is a third of the time that importing the client takes.
    from labcommons.protocols.specs import ParameterSpec

    values = {}
    for name, raw in given.items():
        at = f"{field}/{name}"
        if name in parameters:
            value = ParameterSpec.model_validate(parameters[name]).from_words(raw, at)
        else:
            value = value_from_json(raw, at)
        values[name] = value_to_json(value)
    return values
