"""The event streams: resumable, rising, and only what the caller may see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from integration.api.bench import HandNode
from integration.api.house import URL, House, soon
from integration.api.test_link import CURVE, submitted
from integration.api.test_problems import problem


@dataclass
class Reader:
    """What an open stream has said so far: (id, event, data)."""

    events: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    comments: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _grew: asyncio.Event = field(default_factory=asyncio.Event)
    _text: str = ""

    def feed(self, piece: bytes) -> None:
        """Take what came."""
        self._text += piece.decode()
        while "\n\n" in self._text:
            block, self._text = self._text.split("\n\n", 1)
            if block.startswith(":"):
                self.comments += 1
            else:
                lines = dict(line.split(": ", 1) for line in block.splitlines())
                self.events.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
            self._grew.set()

    async def until(self, count: int, comments: int = 0) -> list[str]:
        """Wait for so many events (and comments); their words."""
        async with asyncio.timeout(10):
            while len(self.events) < count or self.comments < comments:
                self._grew.clear()
                await self._grew.wait()
        return [word for _, word, _ in self.events]


def scope_of(path: str, headers: dict[str, str]) -> dict[str, Any]:
    """What a server tells the application of a GET."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8399),
        "state": {},
    }


@asynccontextmanager
async def reading(
    house: House, path: str, who: str, last: int | str | None = None, **claims: Any
) -> AsyncIterator[Reader]:
    """An open stream, spoken to as a server would: httpx's in-process transport only gives whole answers."""
    headers = {"host": URL.removeprefix("http://"), "authorization": f"Bearer {house.token(who, **claims)}"}
    if last is not None:
        headers["last-event-id"] = str(last)
    reader, left, asked = Reader(), asyncio.Event(), False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            assert (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]
        else:
            reader.feed(message.get("body", b""))

    async def serve() -> None:
        await house.app(scope_of(path, headers), receive, send)
        reader.ended.set()

    task = asyncio.create_task(serve())
    try:
        await reader.until(0, comments=1)
        yield reader
    finally:
        left.set()
        await asyncio.wait_for(task, 10)


@pytest.fixture
async def busy(house: House) -> AsyncIterator[tuple[House, HandNode]]:
    """A house with its workers running and the lab north present."""
    node = HandNode(house, "north")
    await node.arrive()
    async with house.app.router.lifespan_context(house.app):
        yield house, node


async def test_an_experiments_story_and_its_resumption(busy: tuple[House, HandNode]) -> None:
    house, node = busy
    experiment = await submitted(house)
    grant = (await node.next(wait_ms=10_000)).grants[0]
    await node.perform(grant, CURVE)
    path = f"/v1/experiments/{experiment}/events"
    async with reading(house, path, "rae") as reader:
        words = await reader.until(6)
    assert words[0] == "experiment.waiting"
    assert "record.created" in words
    ids = [number for number, _, _ in reader.events]
    assert ids == sorted(set(ids))
    for _, word, data in reader.events:
        assert set(data) == {"id", "state", "at", "experiment", "project"}
        assert data["experiment"] == experiment
        assert word.partition(".")[2]
    async with reading(house, path, "rae", last=ids[2]) as again:
        await again.until(len(ids) - 3)
    assert again.events == reader.events[3:]


async def test_the_stream_of_all_begins_now_and_is_live(busy: tuple[House, HandNode]) -> None:
    house, _ = busy
    async with reading(house, "/v1/events", "rae") as mine, reading(house, "/v1/events", "omar") as foreign:
        experiment = await submitted(house)
        words = await mine.until(2)
        assert words[0] == "experiment.waiting"
        assert mine.events[0][2]["id"] == experiment
        assert all(data["project"] is None for _, _, data in foreign.events), "another project's work is not seen"


async def test_a_last_id_from_the_future_is_now(busy: tuple[House, HandNode]) -> None:
    house, _ = busy
    async with reading(house, "/v1/events", "rae", last=10**15) as reader:
        await submitted(house)
        assert (await reader.until(1))[0] == "experiment.waiting"


async def test_a_last_id_that_is_none(house: House) -> None:
    answer = await house.call("GET", "/v1/events", "rae", headers={"Last-Event-ID": "yesterday"})
    problem(answer, 422, "bad_event_id")


async def test_a_stream_ends_with_its_token(busy: tuple[House, HandNode]) -> None:
    house, _ = busy
    async with reading(house, "/v1/events", "rae", exp=soon(house.facility, 1)) as reader:
        await asyncio.wait_for(reader.ended.wait(), 10)


async def test_a_stream_ends_with_the_server(house: House) -> None:
    async with reading(house, "/v1/events", "rae") as reader:
        house.app.state.wiring.stopping.set()
        # As the command does on SIGTERM; what waits is woken by it.
        await asyncio.wait_for(reader.ended.wait(), 10)
