"""The worker of silence: sleeps until the next deadline or a wake-up, and lets what is due happen."""

from __future__ import annotations

from labcommons.facility.ports import Bus, Work
from labcommons.facility.services.lab import silence
from labcommons.facility.services.lab.silence import Lease
from labcommons.facility.services.transact import transact
from labcommons.facility.workers.loop import Worker

__all__ = ["Silence"]

#: Added to a sleep, so that the deadline has passed when we wake.
_SLACK_S = 0.002


class Silence(Worker):
    """Judges leases by the database's clock."""

    topic = "silence"

    def __init__(self, bus: Bus, work: Work, lease: Lease) -> None:
        super().__init__(bus)
        self._work = work
        self._lease = lease

    def begin(self) -> None:
        """A restart of the platform re-arms every lease."""
        transact(self._work, silence.rearm)

    def once(self) -> float | None:
        """Let happen what is due; the seconds to the next deadline."""
        with self._work.read() as uow:
            deadline, now = silence.next_deadline(uow, self._lease), uow.now
        if deadline is not None and deadline <= now:
            transact(self._work, lambda uow: silence.judge(uow, self._lease))
            with self._work.read() as uow:
                deadline, now = silence.next_deadline(uow, self._lease), uow.now
        if deadline is None:
            return None
        return max(0.0, (deadline - now).total_seconds()) + _SLACK_S
