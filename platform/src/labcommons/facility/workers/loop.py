"""What all workers share: an asyncio task that does blocking work in threads, starts once and stops cleanly."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod

from labcommons.facility.ports import Bus

__all__ = ["Worker"]

_log = logging.getLogger(__name__)
#: After a defect or a database that does not answer: long enough not to fill the log, short enough to go on soon.
_PAUSE_S = 1.0


class Worker(ABC):
    """A loop that is woken by a topic. ``once`` is the work; it runs in a thread and never in two at a time."""

    #: The topic that wakes it.
    topic: str

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._task: asyncio.Task[None] | None = None
        self._stopping = threading.Event()

    def begin(self) -> None:  # noqa: B027  (most have nothing to prepare)
        """Prepare, before the first ``once``; in a thread."""

    @abstractmethod
    def once(self) -> float | None:
        """Do what is due; the seconds until more is due even if nobody wakes us (0: at once, ``None``: never)."""

    async def start(self) -> None:
        """Prepare and start the loop."""
        await asyncio.to_thread(self.begin)
        self._task = asyncio.create_task(self._run(), name=type(self).__name__)

    async def stop(self) -> None:
        """End the loop when its present work is done, and wait for that."""
        self._stopping.set()
        self._bus.publish(self.topic)
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            # Read before the database is, so that a commit in between is not slept through.
            seen = self._bus.seen(self.topic)
            try:
                within = await asyncio.to_thread(self.once)
            except Exception:
                _log.exception("%s goes on after an error", type(self).__name__)
                within = _PAUSE_S
            if not self._stopping.is_set() and within != 0:
                await self._bus.wait(self.topic, seen, within)
