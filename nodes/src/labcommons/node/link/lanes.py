"""The two lanes: ``report`` carries the journal up as it grows, ``next`` waits for grants and stops.

Each answer moves the cursor. A lost, repeated, late or corrupt answer changes nothing: it is logged, and what it would
have acknowledged is sent again. There is no polling interval: an appended entry wakes the report lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from labcommons.federation.versions import SPEAKS, WIRE
from labcommons.federation.wire import MAX_WAIT_MS, Answer, Entry, Health, Live, NextCall, ReportCall
from labcommons.node.journal import JournalReader, JournalWriter, Position
from labcommons.node.lines import Lines
from labcommons.node.link.calls import Backoff, Caller, LinkError

__all__ = ["Link", "Present"]

_ENTRIES = 500
_BYTES = 2 * 1024 * 1024
_REPORT_TIMEOUT_S = 30.0
#: Past the server's hold, for the way there and back.
_MARGIN_S = 15.0
#: After an answer that brought work, the next call waits this long at most for the report that answers it: else the
#: facility would repeat the same grant at once.
_SETTLE_S = 2.0


@dataclass
class Present:
    """What both heads carry beside numbers: the node as it is at this moment."""

    epoch: int
    tokens: dict[str, list[int]] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)
    live: list[Live] = field(default_factory=list)


class Link:
    """One session's link. ``present`` gives the head; ``take`` is given each answer that holds and tells whether it
    brought work; ``manifest`` gives the file of a manifest's bytes by hash."""

    def __init__(
        self,
        caller: Caller,
        books: JournalWriter,
        reader: JournalReader,
        session: str,
        present: Callable[[], Present],
        take: Callable[[Answer], Awaitable[bool]],
        manifest: Callable[[str], Path],
        lines: Lines,
        *,
        wait_ms: int = MAX_WAIT_MS,
    ) -> None:
        self._caller, self._books, self._reader = caller, books, reader
        self._session, self._present, self._take = session, present, take
        self._manifest, self._lines, self._wait_ms = manifest, lines, wait_ms
        self._calls = 0
        self._cursor = reader.acknowledged()
        self._acknowledged = self._cursor.seq
        self._wake = asyncio.Event()
        self._wake.set()
        self._moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self.reached = False
        self.trouble: str | None = None

    def kick(self) -> None:
        """Something is to be told: an entry, a token, a health."""
        self._wake.set()

    def silent_s(self) -> float:
        """Seconds since the facility was last heard, by the monotonic clock."""
        return self._loop.time() - self._heard_at

    async def acknowledged(self, seq: int) -> None:
        """Wait until the facility has committed entry ``seq``."""
        while self._acknowledged < seq:
            await self._moved.wait()

    async def run(self) -> None:
        """Both lanes, until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._report_lane())
            lanes.create_task(self._next_lane())

    # --- lanes ----------------------------------------------------------------------------------------------------

    async def _report_lane(self) -> None:
        backoff = Backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            entries = self._batch()
            try:
                await self._report(entries)
                backoff.succeeded()
                if self._cursor.seq < self._books.last.seq:
                    self._wake.set()
            except LinkError as error:
                self._failed("report", error)
                await asyncio.sleep(backoff.failed())
                self._wake.set()

    async def _report(self, entries: list[Entry]) -> None:
        before = self._cursor
        answer = await self._exchange("report", lambda: self._report_call(entries), _REPORT_TIMEOUT_S)
        await self._take(answer)
        if entries and self._cursor.seq <= before.seq:
            # Without this pause a facility that reads nothing would be asked in a loop.
            raise LinkError("unread", f"the facility answered and acknowledged nothing past {self._cursor.seq}")

    async def _next_lane(self) -> None:
        backoff, idle = Backoff(), Backoff(0.02, 1.0)
        while True:
            began = self._loop.time()
            try:
                answer = await self._exchange("next", self._next_call, self._wait_ms / 1000 + _MARGIN_S)
                fresh = await self._take(answer)
                backoff.succeeded()
            except LinkError as error:
                self._failed("next", error)
                await asyncio.sleep(backoff.failed())
                continue
            if fresh:
                idle.succeeded()
                await self._settle()
            elif self._loop.time() - began < min(1.0, self._wait_ms / 2000):
                # It repeats what we know: its answer is under way or takes its time (a safe point).
                await asyncio.sleep(idle.failed())

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(_SETTLE_S):
                await self._books.flushed()
                await self.acknowledged(self._books.last.seq)
        except TimeoutError:
            pass

    def _failed(self, lane: str, error: LinkError) -> None:
        self.reached, self.trouble = False, str(error)
        write = self._lines.error if error.code == "identity" else self._lines.warning
        write("call failed", lane=lane, code=error.code, why=error.detail)

    # --- calls ----------------------------------------------------------------------------------------------------

    def _batch(self) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        for entry in self._reader.entries(self._cursor.seq, _ENTRIES):
            size += len(entry.model_dump_json())
            if entries and size > _BYTES:
                break
            entries.append(entry)
        return entries

    def _report_call(self, entries: list[Entry]) -> ReportCall:
        return ReportCall.model_validate({**self._head(), "entries": entries})

    def _next_call(self) -> NextCall:
        return NextCall.model_validate({**self._head(), "wait_ms": self._wait_ms})

    def _head(self) -> dict[str, object]:
        # Numbered where it is built: a head with a lower number is an older one.
        self._calls += 1
        now = self._present()
        return {
            "wire": WIRE,
            "speaks": list(SPEAKS),
            "session": self._session,
            "call": self._calls,
            "journal": self._books.journal.id,
            "epoch": now.epoch,
            "tokens": now.tokens,
            "manifests": now.manifests,
            "health": now.health,
            "live": now.live,
        }

    async def _exchange(self, lane: str, build: Callable[[], ReportCall | NextCall], timeout_s: float) -> Answer:
        """Send, read, check, and move the cursor. Raises ``LinkError``; a corrupt answer is one."""
        for last in (False, True):
            call = build()
            try:
                data = await self._caller.post(f"/v1/node/{lane}", call.model_dump_json().encode(), timeout_s)
            except LinkError as error:
                if error.code == "manifest_missing" and not last:
                    await self._send_manifests(set(call.manifests.values()))
                    continue
                raise
            return self._heard(data)
        raise AssertionError("the second turn returns or raises")

    async def _send_manifests(self, hashes: set[str]) -> None:
        for sha256 in sorted(hashes):
            try:
                await self._caller.put(f"/v1/node/objects/{sha256}", self._manifest(sha256))
            except OSError as error:
                raise LinkError("manifest_unreadable", str(error)) from error
            self._lines.info("manifest uploaded", sha256=sha256)

    def _heard(self, data: bytes) -> Answer:
        try:
            answer = Answer.model_validate_json(data)
        except ValidationError as error:
            raise LinkError("corrupt", f"an answer that is none: {error.errors()[0]['msg']}: {data[:200]!r}") from error
        if answer.wire not in SPEAKS:
            raise LinkError("corrupt", f"an answer in wire version {answer.wire}, this node speaks {list(SPEAKS)}")
        if answer.epoch < self._present().epoch:
            raise LinkError("corrupt", f"an answer of epoch {answer.epoch}, past already")
        position = Position()
        if answer.cursor.journal == self._books.journal.id:
            found = self._reader.at(answer.cursor.seq) if answer.cursor.seq >= 0 else None
            if found is None or found.hash != answer.cursor.hash:
                raise LinkError("corrupt", f"its cursor {answer.cursor.seq} is no place in this journal's chain")
            position = found
        self._move(position)
        self._heard_at = self._loop.time()
        if not self.reached:
            self._lines.info("facility reached", epoch=answer.epoch, cursor=position.seq)
        self.reached, self.trouble = True, None
        return answer

    def _move(self, position: Position) -> None:
        if position == self._cursor:
            return
        self._cursor = position
        self._books.acknowledged(position)
        if position.seq > self._acknowledged:
            self._acknowledged = position.seq
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()
        elif position.seq < self._books.last.seq:
            # It lost what it had (a restore), or this is an older answer: either way it is told again.
            self._wake.set()
