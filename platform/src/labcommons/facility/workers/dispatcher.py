"""The dispatcher: woken by events, it decides on a snapshot and commits the grants by comparison."""

from __future__ import annotations

import logging
from collections.abc import Callable

from labcommons.core.errors import StaleVersion
from labcommons.facility.ports import Bus, Work
from labcommons.facility.services.run.dispatch import granting, queue
from labcommons.facility.workers.loop import Worker

__all__ = ["Dispatcher"]

_log = logging.getLogger(__name__)
_TRIES = 10


class Dispatcher(Worker):
    """One at a time decides. ``after_commit`` is called after grants were committed (the invariants' setting)."""

    topic = "dispatch"

    def __init__(self, bus: Bus, work: Work, *, after_commit: Callable[[], None] | None = None) -> None:
        super().__init__(bus)
        self._work = work
        self._after_commit = after_commit

    def once(self) -> float | None:
        """Grant what can be granted now."""
        for _ in range(_TRIES):
            try:
                self.dispatch()
            except StaleVersion as stale:
                _log.info("decided on rows that have changed since: %s", stale.detail)
                continue
            return None
        # Others write faster than we decide; the commit keeps us honest, and we come back.
        return 0.05

    def dispatch(self) -> int:
        """Decide and commit once; how many grants. Raises ``StaleVersion`` when somebody was first."""
        with self._work.read() as uow:
            if not queue.grantable(uow):
                return 0
            snapshot = queue.snapshot(uow)
        decision = granting.decide(snapshot)
        if not decision.grants:
            return 0
        with self._work.write() as uow:
            made = granting.commit(uow, snapshot, decision)
            uow.commit()
        if self._after_commit is not None:
            self._after_commit()
        return len(made)
