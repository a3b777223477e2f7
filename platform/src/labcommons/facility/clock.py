"""The system's clocks behind the Clock port."""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["SystemClock"]


class SystemClock:
    """Wall clock in UTC, cut to milliseconds, and the monotonic clock."""

    def now(self) -> datetime:
        """The present time in UTC, cut to milliseconds as everything that is stored or sent."""
        at = datetime.now(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()
