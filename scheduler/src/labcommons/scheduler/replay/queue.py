"""When will it be done: the real policy, run on the queue as it stands, against a simulated clock.

Nobody else submits, nothing fails: the honest part of a forecast. The 50 % figure lets every run take its expected
duration, the 90 % figure its maximum. What waits for something that no clock brings (a lab that is down, a person) has
no forecast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import heappop, heappush

from labcommons.scheduler.dispatch import Bench, Grant, WaitingStep, assign, placed
from labcommons.scheduler.steps import StepState

__all__ = ["Eta", "forecast"]


@dataclass(frozen=True)
class Eta:
    """When a step is expected to start and to be done."""

    starts_p50_at: datetime
    p50_at: datetime
    starts_p90_at: datetime
    p90_at: datetime


def forecast(
    steps: Sequence[WaitingStep],
    benches: Sequence[Bench],
    now: datetime,
    running: Mapping[str, tuple[datetime, datetime]] | None = None,
) -> dict[str, Eta]:
    """For every step that a clock can bring to its end: when.

    ``running``: ACTIVE step -> when it is expected to be done, and at the latest; its bench's ``busy_until`` covers it.
    """
    running = running or {}
    usual = _Run(steps, benches, now, {s: ends[0] for s, ends in running.items()}, slow=False).times()
    slow = _Run(steps, benches, now, {s: ends[1] for s, ends in running.items()}, slow=True).times()
    return {s: Eta(*usual[s], *slow[s]) for s in usual if s in slow}


class _Run:
    """One simulation. Each bench does one thing at a time and is free again when that is done."""

    def __init__(
        self,
        steps: Sequence[WaitingStep],
        benches: Sequence[Bench],
        now: datetime,
        running: Mapping[str, datetime],
        *,
        slow: bool,
    ) -> None:
        self._benches = {b.instrument: replace(b, tokens=(1,)) for b in benches}
        self._slow = slow
        plain = [s for s in steps if s.held and not s.cancel_wished and s.unknown is None]
        self._queue = placed(s for s in plain if s.state is StepState.READY)
        self._shared = {role for role, n in Counter((s.experiment, s.role) for s in plain if s.role).items() if n > 1}
        self._later = [s for s in plain if s.state is StepState.WAITING]
        self._times: dict[str, tuple[datetime, datetime]] = {}
        self._free: set[str] = set()
        self._events: list[tuple[datetime, str, str]] = []
        for b in benches:
            heappush(self._events, (max(now, b.busy_until or now), b.instrument, ""))
        for step, end in running.items():
            heappush(self._events, (max(now, end), "", step))

    def times(self) -> dict[str, tuple[datetime, datetime]]:
        """step -> (start, end)."""
        while self._events and (self._queue or self._later):
            at = self._events[0][0]
            while self._events and self._events[0][0] == at:
                _, instrument, done = heappop(self._events)
                self._free.update({instrument} - {""})
                if done:
                    self._is_done(done)
            free = {i: self._benches[i] for i in self._free}
            for grant in assign(self._queue, free):
                self._start(grant, at)
        return self._times

    def _start(self, grant: Grant, at: datetime) -> None:
        c = grant.candidate
        lab_ms = c.maximum_ms if self._slow else c.expected_ms
        wall = Decimal(lab_ms) / Decimal(self._benches[c.instrument].time_scale)
        end = at + timedelta(milliseconds=int(wall))
        self._times[grant.step] = (at, end)
        self._free.discard(c.instrument)
        heappush(self._events, (end, c.instrument, grant.step))
        mine = next(s for s in self._queue if s.step == grant.step)
        self._queue.remove(mine)
        role = (mine.experiment, mine.role)
        if role in self._shared:
            self._queue = [replace(s, bound=c.instrument) if (s.experiment, s.role) == role else s for s in self._queue]
            self._later = [replace(s, bound=c.instrument) if (s.experiment, s.role) == role else s for s in self._later]

    def _is_done(self, done: str) -> None:
        waiting = [replace(s, after=tuple(b for b in s.after if b != done)) for s in self._later]
        ready = [replace(s, state=StepState.READY) for s in waiting if not s.after]
        self._later = [s for s in waiting if s.after]
        if ready:
            self._queue = placed([*self._queue, *ready])
