"""The workers as they run in a facility: woken by commits, stopped cleanly, and nothing is lost in between."""

from __future__ import annotations

import asyncio
import logging

import pytest

from labcommons.facility.bus.memory import MemoryBus
from labcommons.facility.services.lab import node_link
from labcommons.facility.services.lab.silence import Lease
from labcommons.facility.services.transact import transact
from labcommons.facility.workers.group import Workers
from labcommons.facility.workers.loop import Worker
from labcommons.facility.workers.outbox import Relay
from labcommons.federation.wire import Answer, NextCall
from support.bench import Books, Member, NodeDouble

LEASE = Lease.of_ms(60_000, 600_000)


async def held(books: Books, node: NodeDouble, within: float = 10) -> Answer | None:
    """``next`` as the API holds it."""
    call = node.next_call()
    topic = f"node:{node.node}"

    def ask(call: NextCall = call) -> Answer | None:
        return transact(books.work, lambda uow: node_link.next_answer(uow, node.node, call))

    async with asyncio.timeout(within):
        while True:
            seen = books.bus.seen(topic)
            answer = await asyncio.to_thread(ask)
            if answer is not None:
                return node.take(answer)
            await books.bus.wait(topic, seen, None)


async def test_a_submission_wakes_the_held_call_of_its_node(books: Books, pia: Member, north: NodeDouble) -> None:
    async with Workers(books.bus, books.work, LEASE, check=True):
        waiting = asyncio.create_task(held(books, north))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(pia.submit, 3)
        answer = await waiting
        assert answer is not None
        [grant] = answer.grants
        await asyncio.to_thread(north.perform, grant)
        # The next token wakes the dispatcher, which wakes the call.
        waiting = asyncio.create_task(held(books, north))
        north.ready()
        await asyncio.to_thread(north.report)
        answer = await waiting
        assert answer is not None
    assert books.attempt(grant.attempt).state == "SUCCEEDED"


async def test_what_was_committed_before_the_workers_started_is_dispatched(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    pia.submit()
    async with Workers(books.bus, books.work, LEASE):
        answer = await held(books, north)
    assert answer is not None
    assert len(answer.grants) == 1


async def test_a_cancel_wakes_the_held_call_with_its_stop(books: Books, pia: Member, north: NodeDouble) -> None:
    [experiment] = pia.submit().experiments
    books.dispatch()
    [grant] = north.grants()
    north.begin(grant)
    north.report()
    async with Workers(books.bus, books.work, LEASE):
        waiting = asyncio.create_task(held(books, north))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(pia.cancel, experiment)
        answer = await waiting
    assert answer is not None
    assert [stop.attempt for stop in answer.stops] == [grant.attempt]


def test_the_relay_publishes_in_the_order_of_commits_and_nothing_twice(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    bus = _Recorder()
    relay = Relay(bus, books.work)
    relay.begin()
    assert bus.said == ["events", "dispatch", "silence"]
    bus.said.clear()
    assert relay.once() is None
    assert bus.said == []
    pia.submit()
    books.dispatch()
    assert relay.once() is None
    assert bus.said == [f"node:{north.node}", "events"]
    bus.said.clear()
    relay.once()
    assert bus.said == []


class _Recorder(MemoryBus):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def publish(self, topic: str) -> None:
        self.said.append(topic)
        super().publish(topic)


class _Failing(Worker):
    topic = "failing"
    runs = 0

    def once(self) -> float | None:
        self.runs += 1
        if self.runs == 1:
            raise RuntimeError("a defect")
        return None


async def test_a_worker_goes_on_after_an_error_and_says_it(caplog: pytest.LogCaptureFixture) -> None:
    bus = MemoryBus()
    worker = _Failing(bus)
    with caplog.at_level(logging.ERROR):
        await worker.start()
        async with asyncio.timeout(5):
            while worker.runs < 2:
                bus.publish("failing")
                await asyncio.sleep(0.01)
        await worker.stop()
    assert "goes on after an error" in caplog.text


async def test_the_setting_that_looks_at_the_books_says_what_is_wrong(
    books: Books, pia: Member, north: NodeDouble, caplog: pytest.LogCaptureFixture
) -> None:
    pia.submit(2)
    with books.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE experiments SET state = 'succeeded'")
    with caplog.at_level(logging.ERROR):
        async with Workers(books.bus, books.work, LEASE, check=True):
            await held(books, north)
            await asyncio.sleep(0.05)
    assert "the books contradict themselves" in caplog.text
    with books.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE experiments SET state = 'waiting' WHERE position = 1")
        connection.exec_driver_sql("UPDATE experiments SET state = 'running' WHERE position = 0")
