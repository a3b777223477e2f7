"""The client's only door to the time of day and to the time that passes."""

from __future__ import annotations

import time

__all__ = ["monotonic", "now"]


def now() -> float:
    """Seconds since 1970, UTC."""
    return time.time()


def monotonic() -> float:
    """Seconds from an arbitrary start, never backwards."""
    return time.monotonic()
