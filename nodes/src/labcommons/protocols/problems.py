"""pydantic's findings in the commons' words: one ``InvalidInput`` with a pointer and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from labcommons.core.errors import (
    BareNumber,
    InvalidInput,
    LabCommonsError,
    OutOfRange,
    TooLarge,
    UnknownUnit,
    WrongDimension,
)

__all__ = ["as_pydantic", "explain", "pointer", "validate"]

ModelT = TypeVar("ModelT", bound=BaseModel)

_CLASSES = {kind.code: kind for kind in (BareNumber, OutOfRange, TooLarge, UnknownUnit, WrongDimension)}
_WORDS = {
    "extra_forbidden": ("unknown_field", "leave this field out"),
    "missing": ("missing_field", "add this field"),
    "string_type": ("bad_type", "write it as text, in quotes"),
    "int_type": ("bad_type", "write a whole number without quotes"),
    "int_from_float": ("bad_type", "write a whole number"),
    "bool_type": ("bad_type", "write true or false"),
    "dict_type": ("bad_type", "write an object"),
    "model_type": ("bad_type", "write an object"),
    "list_type": ("bad_type", "write a list"),
    "tuple_type": ("bad_type", "write a list"),
    "enum": ("bad_word", "write one of the words that are listed"),
    "literal_error": ("bad_word", "write one of the words that are listed"),
    "string_pattern_mismatch": ("bad_name", "write it in the form that the pattern shows"),
    "json_invalid": ("bad_json", "send well-formed JSON"),
}
#: What pydantic's findings about sizes and ranges name in their context.
_BOUNDS = {
    "min_length": "at least",
    "max_length": "at most",
    "ge": "at least",
    "gt": "more than",
    "le": "at most",
    "lt": "less than",
}


def pointer(parts: Iterable[object]) -> str:
    """The JSON pointer (RFC 6901) of a path of keys and indices."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts if part != "[key]")


def as_pydantic(error: LabCommonsError) -> PydanticCustomError:
    """An error of ours in the form that pydantic collects; ``explain`` gives it back whole."""
    # Everything in the context, and a bare placeholder as template: a brace in the detail must not be read as one.
    return PydanticCustomError(
        "labcommons",
        "{detail}",
        {"detail": error.detail, "word": error.word, "field": error.field, "remedy": error.remedy},
    )


def explain(error: ValidationError, prefix: str = "") -> InvalidInput:
    """The first finding as ``InvalidInput`` or a subclass, pointer below ``prefix``; ``others`` counts the rest."""
    findings = error.errors(include_url=False, include_input=False)
    found = findings[0]
    return from_finding(found, prefix, len(findings) - 1)


def from_finding(found: Mapping[str, Any], prefix: str = "", others: int = 0) -> InvalidInput:
    """One of pydantic's findings (an item of ``errors()``) as ``InvalidInput``."""
    context: Mapping[str, Any] = found.get("ctx") or {}
    field = prefix + pointer(found["loc"])
    extra = {"others": others} if others else {}
    if found["type"] == "labcommons":
        word = str(context["word"])
        kind = _CLASSES.get(word, InvalidInput)
        return kind(context["detail"], code=word, field=field + context["field"], remedy=context["remedy"], **extra)
    word, remedy = _WORDS.get(found["type"], ("invalid_input", "see the published form of this document"))
    if found["type"] in ("enum", "literal_error"):
        remedy = f"write one of {context['expected']}"
    elif found["type"] == "string_pattern_mismatch":
        remedy = f"write it in the form {context['pattern']}"
    elif bounds := [f"{words} {context[key]}" for key, words in _BOUNDS.items() if context.get(key) is not None]:
        counted = " entries" if found["type"] in ("too_short", "too_long") else ""
        counted = " characters" if found["type"] in ("string_too_short", "string_too_long") else counted
        remedy = f"give {' and '.join(bounds)}{counted}"
    detail = str(found["msg"])
    if found["type"] in ("extra_forbidden", "missing"):
        last = str(found["loc"][-1])[:60]
        detail = f"{last!r} is {'missing' if word == 'missing_field' else 'not a field of this form'}"
    return InvalidInput(detail, code=word, field=field, remedy=remedy, **extra)


def validate(model: type[ModelT], obj: object, prefix: str = "") -> ModelT:
    """``obj`` as ``model``. Raises ``InvalidInput`` instead of pydantic's error; pointers below ``prefix``."""
    try:
        return model.model_validate(obj)
    except ValidationError as error:
        raise explain(error, prefix) from None
