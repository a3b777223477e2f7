"""The node's doors to the time of day and to fresh identifiers; everything else takes both as arguments."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import TypeVar

from labcommons.core.ids import Identifier

__all__ = ["mint", "utc_now", "wall_seconds"]

Id = TypeVar("Id", bound=Identifier)


def utc_now() -> datetime:
    """The wall clock, UTC: for people, never for a decision about an attempt."""
    return datetime.now(UTC)


def wall_seconds() -> float:
    """The wall clock in seconds since 1970: for the ``exp`` of tokens."""
    return time.time()


def mint(kind: type[Id]) -> Id:
    """A fresh identifier of ``kind``."""
    return kind.mint(time.time_ns() // 1_000_000, secrets.token_bytes(10))
