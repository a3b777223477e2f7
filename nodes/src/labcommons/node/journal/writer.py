"""The journal from the event loop: drafts are queued, and all that wait when the disk is free share one commit."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from labcommons.federation.wire import Entry
from labcommons.node.journal.store import Draft, Journal, JournalError, Position

__all__ = ["JournalUnavailable", "JournalWriter"]

#: Drafts to a commit at most: bounds how long the first of them waits.
_BATCH = 256


class JournalUnavailable(JournalError):
    """The commit failed (disk full, file gone): nothing was written, and without a journal there is no work."""


@dataclass
class _Order:
    draft: Draft
    done: asyncio.Future[Entry]


class JournalWriter:
    """One thread that owns the writing. ``on_append`` is called in the event loop after each commit.

    Drafts are written in the order of ``submit``; a draft sees those before it, also within one commit. So RECEIVED
    and INTENT, or a RESULT and the INTENT after it, can be submitted together and cost one sync.
    """

    def __init__(self, journal: Journal, on_append: Callable[[], None] = lambda: None) -> None:
        self.journal = journal
        self.on_append = on_append
        self.last: Position = journal.last()
        self.broken: str | None = None
        self._acknowledged: Position | None = None
        self._waiting: set[asyncio.Future[Entry]] = set()
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def submit(self, draft: Draft) -> asyncio.Future[Entry]:
        """Queue a draft. The future gives its durable entry, or raises ``IllegalEntry``, ``DraftRefused`` or
        ``JournalUnavailable``; a refusal that nobody awaits is no error."""
        future: asyncio.Future[Entry] = self._loop.create_future()
        # Asked for once here, so that a future which is dropped does not warn when it is collected.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        self._orders.put(_Order(draft, future))
        return future

    async def append(self, draft: Draft) -> Entry:
        """As ``submit``, awaited; a cancelled caller does not take its draft back."""
        return await asyncio.shield(self.submit(draft))

    async def flushed(self) -> None:
        """Wait until all that was submitted before is written or refused."""
        while self._waiting:
            await asyncio.wait(list(self._waiting))

    def acknowledged(self, position: Position) -> None:
        """Keep the facility's cursor with the next commit: it costs no sync of its own."""
        self._acknowledged = position

    async def close(self) -> None:
        """Write what is queued, then end the thread and close the file."""
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._acknowledged is not None and self.broken is None:
            self.journal.remember_acknowledged(self._acknowledged)
        self.journal.close()

    def _work(self) -> None:
        ending = False
        while not ending:
            orders: list[_Order] = []
            order = self._orders.get()
            while order is not None:
                orders.append(order)
                if len(orders) >= _BATCH:
                    break
                try:
                    order = self._orders.get_nowait()
                except queue.Empty:
                    break
            ending = order is None
            if orders:
                self._commit(orders)

    def _commit(self, orders: list[_Order]) -> None:
        acknowledged = self._acknowledged
        done: list[Entry | JournalError]
        try:
            done = list(self.journal.append([order.draft for order in orders], acknowledged))
            self.broken = None
        except Exception as error:
            # Not of sqlite3 alone: a thread that ended here would leave every later draft waiting, and nobody told.
            self.broken = f"{type(error).__name__}: {error}"
            done = [JournalUnavailable(f"the journal could not be written: {self.broken}") for _ in orders]
        try:
            self._loop.call_soon_threadsafe(self._deliver, orders, done)
        except RuntimeError:
            pass  # the loop has ended; what is written is written

    def _deliver(self, orders: list[_Order], done: list[Entry | JournalError]) -> None:
        for order, outcome in zip(orders, done, strict=True):
            if isinstance(outcome, Entry):
                self.last = Position(outcome.seq, outcome.hash)
            if order.done.done():
                continue
            if isinstance(outcome, Entry):
                order.done.set_result(outcome)
            else:
                order.done.set_exception(outcome)
        self.on_append()
