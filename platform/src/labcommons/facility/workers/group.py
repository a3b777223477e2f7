"""All workers of a facility, started and stopped together."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from labcommons.facility.ports import Bus, Work
from labcommons.facility.services.lab.silence import Lease
from labcommons.facility.services.run import invariants
from labcommons.facility.workers.dispatcher import Dispatcher
from labcommons.facility.workers.loop import Worker
from labcommons.facility.workers.outbox import Relay
from labcommons.facility.workers.silence import Silence

__all__ = ["Workers"]

_log = logging.getLogger(__name__)


class Workers:
    """``async with Workers(...)``: relay, dispatcher, silence. ``check``: look at the books after every dispatch."""

    def __init__(self, bus: Bus, work: Work, lease: Lease, *, check: bool = False) -> None:
        self._work = work
        after = self._check if check else None
        self._workers: tuple[Worker, ...] = (
            Relay(bus, work),
            Dispatcher(bus, work, after_commit=after),
            Silence(bus, work, lease),
        )

    def _check(self) -> None:
        with self._work.read() as uow:
            for sentence in invariants.broken(uow):
                _log.error("the books contradict themselves: %s", sentence)

    async def __aenter__(self) -> Self:
        for worker in self._workers:
            await worker.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in reversed(self._workers):
            await worker.stop()
