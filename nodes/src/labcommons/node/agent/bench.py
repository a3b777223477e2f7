"""One instrument: opens it, recovers what an earlier life left, then performs grants one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from labcommons.federation.wire import EntryKind
from labcommons.node.agent.handling import Handling
from labcommons.node.agent.runs import Run
from labcommons.node.agent.services import Services
from labcommons.node.decisions import Close, Tokens
from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Status
from labcommons.node.journal import IllegalEntry, JournalUnavailable
from labcommons.node.runtime.port import Instrument

__all__ = ["Bench"]

RECEIVED, INTENT = EntryKind.RECEIVED, EntryKind.INTENT


class Bench(Handling):
    """One instrument with its queue, its ready tokens and its fence."""

    def __init__(self, name: str, open_instrument: Callable[[], Awaitable[Instrument]], services: Services) -> None:
        super().__init__(name, open_instrument, services)
        self.fence: tuple[int, int] = (-1, -1)
        self.unwritten: dict[str, tuple[int, int]] = {}
        self.tokens = Tokens()
        self.queue: deque[Run] = deque()
        self.current: Run | None = None
        self.draining = False
        self._rings = asyncio.Event()

    def ready_tokens(self) -> list[int]:
        """The tokens to offer now: none while the instrument cannot take a grant."""
        able = self.serving and not self.draining and self.health.state in ("idle", "busy")
        able = able and self._loop.time() >= self._quiet_until
        if not able or self.services.local() or self.services.books.broken:
            return []
        waiting = sum(1 for run in self.runs.values() if run.last is RECEIVED)
        self.tokens = self.tokens.refill(waiting)
        return sorted(self.tokens.out)

    def raise_fence(self, attempt: str, fence: tuple[int, int]) -> None:
        """``attempt`` brought ``fence``, and its first entry is on its way to the disk."""
        self.unwritten[attempt] = fence
        self.fence = fence

    def settle_fence(self, attempt: str, written: tuple[int, int]) -> None:
        """Its entry is written, or refused with its commit. ``written``: the highest fence that the journal holds."""
        self.unwritten.pop(attempt, None)
        self.fence = max([written, *self.unwritten.values()])

    def take(self, run: Run) -> None:
        """Queue a run whose RECEIVED entry was submitted."""
        self.runs[run.attempt] = run
        self.queue.append(run)
        self._rings.set()

    def bar_waiting(self, close: Close) -> None:
        """What this session took and has not started shall not start. What an earlier life left is asked first."""
        for run in list(self.runs.values()):
            if run.closed or run.recovered:
                continue
            if run.last is RECEIVED:
                self.close_run(run, close)
            elif run.last is INTENT and not run.may_have_sent:
                run.bar(close)

    def drain(self) -> None:
        """The agent ends: no new start, and nothing is left behind that could have been closed."""
        self.draining = True
        self.bar_waiting(Close(EntryKind.TOMBSTONE, "restart", "the agent was ended before it meant to start"))
        self._rings.set()

    async def work(self) -> None:
        """Open, recover, serve; again from the start whenever the instrument is lost. Until cancelled."""
        pause, since = 0.1, self._loop.time()
        try:
            while True:
                try:
                    await self._open()
                    await self._recover()
                    pause = 0.1
                    self.serving = True
                    self.services.kick()
                    await self._serve()
                except (InstrumentLost, InstrumentRefused, JournalUnavailable, IllegalEntry) as error:
                    if self.serving:
                        since = self._loop.time()
                    self._down(error)
                    if self._loop.time() - since > self.services.limits.patience:
                        self._leave_in_doubt(error)
                    await self.services.check_runtime()
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 5.0)
        finally:
            for errand in list(self._errands):
                errand.cancel()
            await asyncio.gather(*self._errands, return_exceptions=True)

    def _leave_in_doubt(self, error: Exception) -> None:
        """The instrument is away past the patience: people are told what may have run there. It is asked later."""
        for run in list(self.runs.values()):
            if run.in_doubt and run.last in (INTENT, EntryKind.STARTED):
                text = f"no answer for {self.services.limits.patience:g} s: {error}"
                self.close_run(run, Close(EntryKind.UNKNOWN, "link_lost", text))

    async def _serve(self) -> None:
        while True:
            while not self.queue:
                self._rings.clear()
                try:
                    async with asyncio.timeout(self.services.limits.look):
                        await self._rings.wait()
                except TimeoutError:
                    await self._look()
            run = self.queue[0]
            if run.closed or self.draining:
                self.queue.popleft()
                self._forget(run)
                continue
            self.current = run
            try:
                await self._perform(run)
            except JournalUnavailable as error:
                # No audit, no work: nothing was started, and the run keeps its place.
                self.services.lines.error("no journal, no work", why=error)
                await asyncio.sleep(1.0)
                continue
            finally:
                self.current = None
            self.queue.popleft()
            self._forget(run)

    async def _perform(self, run: Run) -> None:
        if not self._about.remembers_attempts or not self._idle:
            await self._until_idle(run)
        if run.closed or self._bar(run):
            return
        if run.last is RECEIVED:
            try:
                # From here on the grant has left RECEIVED: a new ready token goes up with the report of this entry.
                run.intent_seq = (await asyncio.shield(self.write(run, INTENT))).seq
            except IllegalEntry:
                return
        if not self._about.can_void:
            await self._acknowledged(run, run.intent_seq)
        if self._bar(run):
            return
        status = await self._start(run)
        if status is not None:
            await self._follow(run, status)

    async def _acknowledged(self, run: Run, seq: int) -> None:
        """Rule 7: without `void` the first byte waits until the facility has the INTENT."""
        waits = [
            asyncio.ensure_future(self.services.acknowledged(seq)),
            asyncio.ensure_future(run.bar_rings.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _recover(self) -> None:
        """Settle what is open: of an earlier life, or of a link that was lost. Nothing is started here."""
        running: list[tuple[Run, Status]] = []
        for run in list(self.runs.values()):
            if run in self.queue and not run.in_doubt:
                continue
            if run.closed:
                self._errand(self._release(run.attempt))
                self._forget(run)
                continue
            status = await self._ask(run)
            if status is not None:
                self.services.lines.info("re-attached", attempt=run.attempt, phase=status.phase)
                running.append((run, status))
            else:
                self._leave(run)
        for run, status in running:
            # Grants may wait meanwhile, as behind any run.
            self.serving, self.current = True, run
            try:
                await self._follow(run, status)
            finally:
                self.current = None
            self._leave(run)

    def _leave(self, run: Run) -> None:
        if run in self.queue:
            self.queue.remove(run)
        self._forget(run)
