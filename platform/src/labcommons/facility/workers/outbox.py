"""The relay: tells everybody what was committed, in the order of the commits. Nothing is published but by it."""

from __future__ import annotations

from labcommons.facility.ports import Bus, Work
from labcommons.facility.workers.loop import Worker

__all__ = ["Relay"]

_BATCH = 500


class Relay(Worker):
    """Reads events past the last one that it published, wakes their topics and the readers of ``events``.

    It keeps its place in memory: after a restart all who wait read the database anyhow.
    """

    topic = "outbox"

    def __init__(self, bus: Bus, work: Work) -> None:
        super().__init__(bus)
        self._work = work
        self._last = 0

    def begin(self) -> None:
        """Start behind what is there, and wake everybody once: what happened while we were away is in the rows."""
        with self._work.read() as uow:
            newest = uow.run.events.find(order="id", descending=True, limit=1)
        self._last = newest[0].id if newest else 0
        for topic in ("events", "dispatch", "silence"):
            self._bus.publish(topic)

    def once(self) -> float | None:
        """Publish what is new."""
        with self._work.read() as uow:
            rows = uow.run.events.find(order="id", after=self._last, limit=_BATCH)
        if not rows:
            return None
        for topic in dict.fromkeys(topic for row in rows for topic in row.topics):
            self._bus.publish(topic)
        self._bus.publish("events")
        self._last = rows[-1].id
        return 0 if len(rows) == _BATCH else None
