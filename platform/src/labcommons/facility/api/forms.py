"""Forms that many answers share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from fastapi.responses import JSONResponse
from pydantic import PlainSerializer, WithJsonSchema

from labcommons.core import times

#: A moment: RFC 3339 in UTC with milliseconds.
Moment = Annotated[
    datetime,
    PlainSerializer(times.to_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-10-01T09:00:00.000Z"]}),
]

#: The address of bytes by content, in a path.
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="sha256 of the bytes, hex")]


def answered(status: int, answer: dict[str, Any]) -> JSONResponse:
    """An answer that is already in its final form: given now, or kept from the first time."""
    return JSONResponse(answer, status_code=status)
