"""The leak guard: an asyncio task or a thread that outlives its test fails that test, by name.

A forgotten task swallows its exception, keeps a socket open, and breaks some other test an hour later.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Generator, Iterator

import pytest

GRACE_S = 2.0
"""How long a task that was cancelled, or a thread that was told to end, may take to do so."""


def _wait_for_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    deadline = time.monotonic() + GRACE_S
    while True:
        leaked = [t for t in threading.enumerate() if t not in before and not t.daemon]
        if not leaked or time.monotonic() > deadline:
            return leaked
        leaked[0].join(0.02)


def _wait_for_tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[object]]:
    deadline = time.monotonic() + GRACE_S
    pause = 0.0
    while True:
        leaked = list(asyncio.all_tasks(loop))
        # Only tasks that were told to end are worth waiting for.
        if not any(t.cancelling() for t in leaked) and pause:
            return leaked
        if not leaked or time.monotonic() > deadline:
            return leaked
        loop.run_until_complete(asyncio.sleep(pause))
        pause = 0.01


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fail a test that leaves a thread running which would keep the process alive.

    Set up before the event loop, so judged after the loop has closed its executor.
    """
    before = set(threading.enumerate())
    yield
    leaked = _wait_for_threads(before)
    if leaked:
        pytest.fail("leaked threads: " + ", ".join(sorted(t.name for t in leaked)), pytrace=False)


def _judge_loop(loop: asyncio.AbstractEventLoop) -> None:
    leaked = _wait_for_tasks(loop)
    names = sorted(f"{task.get_name()} ({task.get_coro()})" for task in leaked)
    for task in leaked:
        task.cancel()
    if names:
        pytest.fail("leaked asyncio tasks: " + ", ".join(names), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Judge each event loop of pytest-asyncio after all that used it is torn down and before it closes.

    Its closing cancels what is left without a word. A finalizer added after set-up runs first.
    """
    result = yield
    if isinstance(result, asyncio.Runner):
        fixturedef.addfinalizer(functools.partial(_judge_loop, result.get_loop()))
    return result
