"""Wake-ups within one process."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

__all__ = ["MemoryBus"]


class MemoryBus:
    """A number a topic, that only rises, and those who wait for it to rise.

    ``publish`` may be called from any thread. A waiter gives the number that it saw before it read the database; if
    the topic was published in between, ``wait`` returns at once: no wake-up is lost and none is stored.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = defaultdict(int)
        self._waiters: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def publish(self, topic: str) -> None:
        """Wake all who wait for ``topic``."""
        with self._lock:
            self._numbers[topic] += 1
            waiters = list(self._waiters.get(topic, ()))
        for loop, event in waiters:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                # Its loop was closed between our look and the call: nobody waits there any more.
                continue

    def seen(self, topic: str) -> int:
        """How often ``topic`` was published so far."""
        with self._lock:
            return self._numbers.get(topic, 0)

    async def wait(self, topic: str, seen: int, within: float | None) -> int:
        """Return the topic's number once it is above ``seen``, or after ``within`` seconds (``None``: never)."""
        mine = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            number = self._numbers.get(topic, 0)
            if number > seen:
                return number
            self._waiters.setdefault(topic, set()).add(mine)
        try:
            async with asyncio.timeout(within):
                await mine[1].wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                waiting = self._waiters[topic]
                waiting.discard(mine)
                if not waiting:
                    del self._waiters[topic]
        return self.seen(topic)
