"""Both runtimes behind one fixture; Ray's cluster is started once for the session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from labcommons.node.runtime import Runtime
from labcommons.node.runtime.inprocess import InProcessRuntime
from labcommons.node.runtime.ray_cluster import RayRuntime, open_ray
from labcommons.node.runtime.ray_processes import stop_cluster
from witness.fixtures import start_witness

__all__ = ["start_witness"]


@pytest.fixture(scope="session")
def ray_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose Ray cluster is gone at the end of the session."""
    state = tmp_path_factory.mktemp("ray-lab")
    token = state / "ray" / "token"
    token.parent.mkdir()
    # This process imported Ray under the session's token: the cluster has to have the same.
    token.write_text(os.environ["RAY_AUTH_TOKEN"])
    token.chmod(0o600)
    yield state
    assert stop_cluster(state / "ray") > 0
    assert stop_cluster(state / "ray") == 0


@pytest.fixture(scope="session")
def ray_runtime(ray_state: Path) -> Iterator[RayRuntime]:
    runtime = open_ray(ray_state, None, None)
    yield runtime
    runtime.disconnect()


@pytest.fixture(params=["inprocess", pytest.param("ray", marks=pytest.mark.slow)])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_runtime")
        return
    found = InProcessRuntime(tmp_path / "instruments")
    yield found
    await found.close()
