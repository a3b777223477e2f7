"""Moments for tests of pure decisions."""

from datetime import UTC, datetime, timedelta

__all__ = ["T0", "at"]

T0 = datetime(2026, 10, 1, 9, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after the tests' first moment."""
    return T0 + timedelta(seconds=seconds)
