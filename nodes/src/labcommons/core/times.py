"""Moments: RFC 3339 in UTC with milliseconds on the wire, aware ``datetime`` inside. Nothing here reads a clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from labcommons.core.errors import InvalidInput

__all__ = ["from_ms", "from_text", "to_ms", "to_text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def to_text(moment: datetime) -> str:
    """``2026-10-01T09:00:00.000Z``; microseconds are cut. Raises ``ValueError`` for a moment without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone names no moment")
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


def from_text(text: object, field: str = "") -> datetime:
    """The moment in UTC. Raises ``InvalidInput`` (``bad_time``); a text without zone is refused."""
    if isinstance(text, str) and len(text) <= 40 and _FORM.fullmatch(text):
        # The standard library reads microseconds at most; finer digits say nothing here.
        plain = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
        try:
            return datetime.fromisoformat(plain).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidInput(
        f"{str(text)[:40]!r} is not a time",
        code="bad_time",
        field=field,
        remedy="write RFC 3339 with its zone, such as 2026-10-01T09:00:00.000Z",
    )


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, UTC, cut. Raises ``ValueError`` for a moment without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone names no moment")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(at_ms: int) -> datetime:
    """The moment ``at_ms`` milliseconds after 1970, in UTC; exact. Raises ``OverflowError`` past the year 9999."""
    return _EPOCH + timedelta(milliseconds=at_ms)
