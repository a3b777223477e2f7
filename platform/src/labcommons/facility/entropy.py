"""The mint of identifiers: the clock's milliseconds and fresh entropy."""

from __future__ import annotations

import os
import threading
from typing import TypeVar

from labcommons.core.ids import Identifier
from labcommons.facility.ports import Clock

__all__ = ["RandomIds"]

K = TypeVar("K", bound=Identifier)
_ENTROPY_BYTES = 10


class RandomIds:
    """Identifiers of which later ones sort after earlier ones of this process, also within one millisecond."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ms = -1
        self._low = 0

    def mint(self, kind: type[K]) -> K:
        """A new identifier of ``kind``. Thread-safe."""
        with self._lock:
            ms = round(self._clock.now().timestamp() * 1000)
            if ms > self._ms:
                self._ms = ms
                # The top bit stays clear, so that counting up within a millisecond cannot overflow.
                self._low = int.from_bytes(os.urandom(_ENTROPY_BYTES), "big") >> 1
            else:
                # The clock stood still or was set back: count on from the last one.
                self._low += 1
            return kind.mint(self._ms, self._low.to_bytes(_ENTROPY_BYTES, "big"))
