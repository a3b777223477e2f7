"""Annotated types that carry the commons' values in pydantic models: JSON in, core objects inside, JSON out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, core_schema

from labcommons.core import times, units
from labcommons.core.decimals import decimal_text, parse_decimal
from labcommons.core.errors import LabCommonsError
from labcommons.core.quantities import Quantity
from labcommons.core.values import (
    Array,
    Enum,
    Int,
    Profile,
    Sample,
    Text,
    Value,
    value_from_json,
    value_to_json,
)
from labcommons.protocols.problems import as_pydantic

__all__ = ["DecimalField", "Form", "Name", "QuantityField", "Several", "TimeField", "Title", "UnitField", "ValueField"]

T = TypeVar("T")

_QUANTITY_SCHEMA = {
    "type": "object",
    "properties": {"value": {"type": "string"}, "unit": {"type": "string"}, "u": {"type": ["string", "null"]}},
    "required": ["value", "unit"],
    "additionalProperties": False,
}


def _one(word: str, inner: dict[str, Any], **more: Any) -> dict[str, Any]:
    properties = {word: inner, **more}
    return {"type": "object", "properties": properties, "required": [word], "additionalProperties": False}


_VALUE_SCHEMA = {
    "anyOf": [
        _QUANTITY_SCHEMA,
        {"type": "string"},
        _one("int", {"type": "integer"}),
        _one("enum", {"type": "string"}),
        _one("sample", {"type": "string"}, amount={"anyOf": [_QUANTITY_SCHEMA, {"type": "null"}]}),
        _one("array", {"type": "object"}),
        _one("profile", {"type": "object"}),
    ]
}


class Carried:
    """A pydantic annotation made of a reader (from JSON), a writer, the classes of the object and a JSON schema."""

    def __init__(
        self,
        read: Callable[[object], Any],
        write: Callable[[Any], Any],
        classes: tuple[type, ...],
        schema: dict[str, Any],
    ) -> None:
        self.read, self.write, self.classes, self.schema = read, write, classes, schema

    def _validate(self, obj: object) -> Any:
        if isinstance(obj, self.classes):
            return obj
        try:
            return self.read(obj)
        except LabCommonsError as error:
            raise as_pydantic(error) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


QuantityField = Annotated[Quantity, Carried(Quantity.from_json, Quantity.to_json, (Quantity,), _QUANTITY_SCHEMA)]
"""A ``Quantity``; in JSON ``{"value", "unit", "u"}``."""

ValueField = Annotated[
    Value,
    Carried(value_from_json, value_to_json, (Quantity, Text, Int, Enum, Sample, Array, Profile), _VALUE_SCHEMA),
]
"""Any ``Value``, in the forms of the line protocol."""

DecimalField = Annotated[Decimal, Carried(parse_decimal, decimal_text, (Decimal,), {"type": "string"})]
"""An exact decimal; in JSON text."""

UnitField = Annotated[str, Carried(units.check, str, (), {"type": "string"})]
"""A UCUM unit that is known."""

TimeField = Annotated[
    datetime, Carried(times.from_text, times.to_text, (datetime,), {"type": "string", "format": "date-time"})
]
"""A moment in UTC; in JSON RFC 3339 with milliseconds."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A name that expressions can speak: a letter, then letters, digits and underscores."""

Several = Annotated[tuple[T, ...], Strict(False)]
"""A JSON list, kept as a tuple: strictness would refuse the list, and holds for what is in it."""

Title = Annotated[str, Field(max_length=2_000)]
"""Words for people."""


class Form(BaseModel):
    """Base of all documents: frozen, strict, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
