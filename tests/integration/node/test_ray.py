"""The lab's own Ray cluster around the real agent: a sibling that outlives it, and whose end proves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration.node.fake import FakeFacility, Lab, until
from labcommons.node.runtime.ray_processes import known_cluster, stop_cluster
from witness.fixtures import WitnessProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

Running = Callable[..., tuple[WitnessProcess, Lab]]
DONE = ["RECEIVED", "INTENT", "STARTED", "RESULT", "UPLOADED"]


@pytest.fixture
def ray_lab(running: Running, new_lab: Lab) -> Iterator[Running]:
    """As ``running``, with a cluster that is gone at the end."""

    def run(*flags: str, **over: Any) -> tuple[WitnessProcess, Lab]:
        return running(*flags, runtime="ray", **over)

    yield run
    if new_lab.process is not None:
        new_lab.kill()
    stop_cluster(new_lab.state / "ray")


def _clusters(fake: FakeFacility) -> list[object]:
    return [e.detail["ray_cluster"] for e in fake.entries if e.kind.value == "SESSION"]


def _command(lab: Lab, *words: str) -> dict[str, object]:
    run = "from labcommons.node.cli import main; main()"
    command = [sys.executable, "-c", run, *words, "--config", str(lab.config), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert isinstance(found, dict)
    return found


async def test_killed_in_mid_run_it_reattaches_to_the_living_cluster(fake: FakeFacility, ray_lab: Running) -> None:
    # The instrument aborts when its driver's link drops: only a host that outlives the agent can end this run well.
    witness, lab = ray_lab("--duration-ms", "8000", "--on-disconnect", "abort")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt), 90)
    lab.kill()
    lab.start()
    await until(lambda: fake.kinds(attempt) == DONE, 90)
    assert fake.detail(attempt, "RESULT")["outcome"] == "done"
    assert len(witness.starts()) == 1
    first, second = _clusters(fake)
    assert first
    assert first == second
    status = await asyncio.to_thread(_command, lab, "status")
    assert "not fenced" in str(status["ray"])
    assert await asyncio.to_thread(lab.end) == 0
    cluster = known_cluster(lab.state / "ray")
    assert cluster is not None
    assert cluster.whole()
    ended = await asyncio.to_thread(_command, lab, "stop-cluster")
    assert int(str(ended["cluster_processes_ended"])) >= 3
    assert not cluster.pids()
    assert await asyncio.to_thread(os.path.exists, cluster.temp) is False


async def test_the_cluster_dies_in_mid_run_and_the_instrument_is_asked(fake: FakeFacility, ray_lab: Running) -> None:
    witness, lab = ray_lab("--duration-ms", "12000")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt), 90)
    cluster = known_cluster(lab.state / "ray")
    assert cluster is not None
    for pid in cluster.pids():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: fake.kinds(attempt) == DONE, 120)
    assert fake.detail(attempt, "RESULT")["outcome"] == "done"
    assert len(witness.starts()) == 1
    assert len(set(_clusters(fake))) == 2
