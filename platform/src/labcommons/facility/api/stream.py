"""Server-sent events from the database: resumable by `Last-Event-ID`, each id higher than the one before.

A stream holds no connection to the database while it waits, reads a bounded batch at a time, and only as fast as its
reader takes it. It ends when the caller's token does: the client comes back with a new one and the last id it has seen,
and what the caller may see is judged anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from labcommons.core import times
from labcommons.core.errors import InvalidInput
from labcommons.facility.api.auth import Call
from labcommons.facility.ports import EventRow

TOPIC = "events"
MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True)
class Window:
    """Events of the database past `after`, as far as they were read; `last` is the id up to which it was looked."""

    events: Sequence[EventRow]
    last: int


#: Reads the events that the caller may see past an id. Blocking.
Reader = Callable[[int], Window]


def parse_last_id(given: str | None, newest: int) -> int | None:
    """`Last-Event-ID` as a number; one from the future counts as the newest. Raises `InvalidInput`."""
    if given is None:
        return None
    if not given.isdecimal() or len(given) > 18:
        raise InvalidInput(
            "Last-Event-ID is not the id of an event.",
            code="bad_event_id",
            field="Last-Event-ID",
            remedy="send the id of the last event that you have read, or leave the header out",
        )
    return min(int(given), newest)


def event_text(row: EventRow) -> str:
    """One event in the wire form of server-sent events."""
    data = {
        "id": row.subject,
        "state": row.state,
        "at": times.to_text(row.at),
        "experiment": row.experiment,
        "project": row.project,
    }
    return f"id: {row.id}\nevent: {row.event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def answer(call: Call, start: int, read: Reader) -> StreamingResponse:
    """The stream of events past `start`."""
    return StreamingResponse(_events(call, start, read), media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


async def _events(call: Call, start: int, read: Reader) -> AsyncIterator[str]:
    wiring = call.wiring
    at = start
    # The first bytes tell the reader, and every proxy between, that the stream stands.
    yield ": open\n\n"
    while not wiring.stopping.is_set() and wiring.clock.now() < call.claims.expires_at:
        seen = wiring.bus.seen(TOPIC)
        window = await run_in_threadpool(read, at)
        for row in window.events:
            yield event_text(row)
        if window.last > at:
            at = window.last
            continue
        left = (call.claims.expires_at - wiring.clock.now()).total_seconds()
        heartbeat = wiring.settings.events.heartbeat_ms / 1000
        if not await woken(call, seen, min(heartbeat, max(left, 0.0))):
            yield ": still here\n\n"


async def woken(call: Call, seen: int, within: float) -> bool:
    """Wait for the next event, the server's end or `within` seconds; True where something happened."""
    wiring = call.wiring
    await first_of(wiring.bus.wait(TOPIC, seen, within), wiring.stopping.wait())
    return wiring.bus.seen(TOPIC) > seen or wiring.stopping.is_set()


async def first_of(*waiting: Coroutine[Any, Any, object]) -> None:
    """Wait for the first of `waiting` and end the others, so that no task outlives its call."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
