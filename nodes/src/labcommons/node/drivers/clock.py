"""The drivers' door to monotonic time: waits and time-outs within one process, never a time of day."""

from __future__ import annotations

import time

__all__ = ["monotonic"]


def monotonic() -> float:
    """Seconds from an arbitrary start, never going back."""
    return time.monotonic()
