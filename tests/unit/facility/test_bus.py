"""The bus in memory: no wake-up is lost, whichever thread it comes from."""

from __future__ import annotations

import asyncio
import threading

from labcommons.facility.bus.memory import MemoryBus


async def test_a_publication_before_the_wait_is_not_lost() -> None:
    bus = MemoryBus()
    seen = bus.seen("topic")
    bus.publish("topic")
    assert await bus.wait("topic", seen, None) == 1


async def test_a_publication_from_another_thread_wakes_all_who_wait() -> None:
    bus = MemoryBus()
    waiting = [asyncio.create_task(bus.wait("topic", 0, 5)) for _ in range(3)]
    await asyncio.sleep(0)
    thread = threading.Thread(target=bus.publish, args=("topic",))
    thread.start()
    assert await asyncio.gather(*waiting) == [1, 1, 1]
    thread.join()


async def test_a_wait_ends_when_its_time_is_over_and_others_topics_do_not_wake_it() -> None:
    bus = MemoryBus()
    waiting = asyncio.create_task(bus.wait("topic", 0, 0.05))
    await asyncio.sleep(0)
    bus.publish("other")
    assert await waiting == 0
    assert bus.seen("other") == 1


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    bus = MemoryBus()
    waiting = asyncio.create_task(bus.wait("topic", 0, None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    bus.publish("topic")
    assert bus.seen("topic") == 1


def test_a_closed_loop_does_not_stop_the_publisher() -> None:
    bus = MemoryBus()
    loop = asyncio.new_event_loop()
    task = loop.create_task(bus.wait("topic", 0, None))
    loop.run_until_complete(asyncio.sleep(0))
    waiters = {topic: set(them) for topic, them in bus._waiters.items()}
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    # As if the loop had been closed between the look at the waiters and the call.
    bus._waiters = waiters
    bus.publish("topic")
    assert bus.seen("topic") == 1


async def test_a_thousand_publications_from_many_threads_are_all_counted() -> None:
    bus = MemoryBus()

    def publish() -> None:
        for _ in range(250):
            bus.publish("topic")

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    async with asyncio.timeout(10):
        while seen < 1000:
            seen = await bus.wait("topic", seen, None)
    for thread in threads:
        thread.join()
    assert bus.seen("topic") == 1000
