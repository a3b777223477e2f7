"""The guard is itself tested: planted leaks must be errors of the tests that leak."""

import pytest

from support.tree import REPO

CODE = """
    import asyncio, threading, pytest

    keep = []
    go_on = threading.Event()

    # ---- planted leaks: each must be an error in its own test

    async def test_leaks_task():
        keep.append(asyncio.create_task(asyncio.sleep(60), name="forgotten-1"))

    @pytest.fixture
    async def careless():
        keep.append(asyncio.create_task(asyncio.sleep(60), name="forgotten-2"))

    def test_leaks_task_from_fixture(careless):
        pass

    def test_leaks_thread():
        threading.Thread(target=go_on.wait, args=(20,), name="forgotten-3").start()

    # ---- clean: none may be an error

    @pytest.fixture
    async def careful():
        task = asyncio.create_task(asyncio.sleep(60))
        yield task
        task.cancel()

    async def test_fixture_cleans_up(careful):
        assert not careful.done()

    async def test_cancelled_without_await():
        asyncio.create_task(asyncio.sleep(60)).cancel()

    async def test_executor_thread_belongs_to_the_loop():
        assert await asyncio.to_thread(threading.active_count) > 1

    def test_joined_thread():
        go_on.set()
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

    @pytest.mark.asyncio(loop_scope="module")
    async def test_longer_lived_loop():
        await asyncio.sleep(0)
"""

SETTINGS = """
    [pytest]
    asyncio_mode = auto
    asyncio_default_fixture_loop_scope = function
    filterwarnings = error
"""


def test_planted_leaks_are_caught_and_clean_tests_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPO / "tests"))
    pytester.makeini(SETTINGS)
    pytester.makepyfile(CODE)
    result = pytester.runpytest_subprocess("-p", "support.leaks", "-p", "no:cacheprovider", timeout=60)
    result.assert_outcomes(passed=8, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_leaks_task _*",
            "leaked asyncio tasks: forgotten-1 *",
            "*ERROR at teardown of test_leaks_task_from_fixture _*",
            "leaked asyncio tasks: forgotten-2 *",
            "*ERROR at teardown of test_leaks_thread _*",
            "leaked threads: forgotten-3",
        ]
    )
