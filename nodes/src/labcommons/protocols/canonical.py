"""The one text of a document: RFC 8785 canonical JSON, and its hash, which is the document's version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from labcommons.core.errors import InvalidInput, TooLarge

__all__ = ["canonical", "digest", "protocol_hash"]

MAX_DEPTH = 60
MAX_INT = 2**53 - 1


def canonical(obj: Any) -> bytes:
    """The canonical JSON of ``obj`` (RFC 8785) in UTF-8: the same bytes for the same meaning, on any machine.

    Taken: None, bool, int within 53 bits, str, list or tuple, mapping with text keys. A float is an error
    (``float_in_document``): numbers of measurements are text here. Raises ``InvalidInput`` with a pointer.
    """
    import rfc8785

    plain = _plain(obj, "", 0)
    try:
        return rfc8785.dumps(plain)
    except (rfc8785.CanonicalizationError, UnicodeError) as error:  # a lone surrogate has no UTF-8
        raise InvalidInput(
            f"this has no canonical JSON: {error}", code="bad_document", remedy="send well-formed Unicode text"
        ) from None


def digest(obj: Any) -> str:
    """sha256 of ``canonical(obj)`` in hex. Raises as ``canonical``."""
    return hashlib.sha256(canonical(obj)).hexdigest()


def protocol_hash(obj: Any) -> str:
    """The hash of a protocol document as people and grants write it: ``sha256:`` and 64 hex digits."""
    return f"sha256:{digest(obj)}"


def _plain(obj: Any, field: str, depth: int) -> Any:
    # Our own walk, because the library would take floats, and because its errors name no place.
    if depth > MAX_DEPTH:
        raise TooLarge("the document is nested too deeply", field=field, remedy=f"nest at most {MAX_DEPTH} levels")
    if obj is None or isinstance(obj, (bool, str)):
        # A str subclass (an identifier) is its text.
        return str(obj) if isinstance(obj, str) else obj
    if isinstance(obj, int):
        if abs(obj) > MAX_INT:
            raise InvalidInput(
                "the number is too large for JSON readers", code="bad_number", field=field, remedy="write it as text"
            )
        return int(obj)
    if isinstance(obj, Mapping):
        out = {}
        for key, value in obj.items():
            if not isinstance(key, str):
                raise InvalidInput(
                    f"the key {str(key)[:40]!r} is not text", code="bad_document", field=field, remedy="quote the key"
                )
            out[str(key)] = _plain(value, f"{field}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
        return out
    if isinstance(obj, (list, tuple)):
        return [_plain(value, f"{field}/{index}", depth + 1) for index, value in enumerate(obj)]
    if isinstance(obj, float):
        raise InvalidInput(
            f"{obj!r} is a number that rounds",
            code="float_in_document",
            field=field,
            remedy=f'write it as text: "{obj!r}"',
        )
    raise InvalidInput(
        f"{type(obj).__name__} is no JSON",
        code="bad_document",
        field=field,
        remedy="write it as text (in YAML: in quotes)",
    )
