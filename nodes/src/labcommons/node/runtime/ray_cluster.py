"""Instruments as detached named actors in a long-lived Ray cluster of the lab's own, a sibling of the agent.

The agent attaches: to the cluster that lives, to the actors that live in it; only what is missing is started. An
actor's calls are never repeated by Ray, an instrument is never cancelled by it, and a dead actor proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Json
from labcommons.node.lines import Lines
from labcommons.node.runtime.calls import LANES, HostedInstrument
from labcommons.node.runtime.port import RuntimeFailed
from labcommons.node.runtime.ray_processes import (
    Cluster,
    environment,
    known_cluster,
    read_token,
    start_cluster,
    stop_cluster,
)

__all__ = ["RayRuntime", "open_ray"]

_NAMESPACE = "labcommons"
#: Seconds after which an actor that does not answer is as good as lost. A stop is answered at its safe point. Where an
#: actor was killed just before, Ray now and then starts the next one only after a minute (61 s, one time in twelve).
_PATIENCE = {"born": 75.0, "ask": 30.0, "start": 30.0, "stop": 180.0}
_WAIT_MARGIN_S = 15.0
_ATTACH_TRIES = 3


def open_ray(state: Path, ports: tuple[int, int] | None, token_file: Path | None) -> RayRuntime:
    """Attach to the lab's cluster, or start it. In the main thread; blocks for seconds. Raises ``RuntimeFailed``."""
    folder = state / "ray"
    token = read_token(token_file or folder / "token")
    wanted = environment(token)
    if "ray" in sys.modules and os.environ.get("RAY_AUTH_TOKEN") != token:
        raise RuntimeFailed("ray was imported before this lab's token was set: one process serves one lab")
    os.environ.update(wanted)
    os.environ.pop("RAY_ADDRESS", None)
    cluster = known_cluster(folder)
    if cluster is None or not cluster.whole():
        if cluster is not None:
            # What is left of it can serve nobody, and would hold the instruments' links.
            stop_cluster(folder)
        cluster = start_cluster(folder, ports, token)
    runtime = RayRuntime(cluster, state / "instruments")
    runtime.attach()
    return runtime


class RayRuntime:
    """One cluster. ``folder``: where the hosts keep their memories."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._id: str | None = None
        self._lines = Lines("labcommons.node.runtime")

    def attach(self) -> None:
        """Connect this process as a driver. Blocks. Raises ``RuntimeFailed``."""
        import ray

        error: Exception | None = None
        for _ in range(_ATTACH_TRIES):
            try:
                ray.init(
                    address=self._cluster.address,
                    namespace=_NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    configure_logging=False,
                )
                worker: Any = ray._private.worker.global_worker
                self._id = worker.gcs_client.cluster_id.hex()
                return
            except (ConnectionError, RuntimeError, ValueError, OSError) as failed:
                error = failed
                ray.shutdown()
        raise RuntimeFailed(
            f"the lab's Ray cluster at {self._cluster.address} lives and takes no driver: {error}. "
            "If it stays so, end it with `labcommons-node stop-cluster`: instruments that run are asked afterwards"
        )

    @property
    def cluster_id(self) -> str | None:
        """Ray's own id of the cluster."""
        return self._id

    async def open(self, name: str, driver: str, options: Mapping[str, Any]) -> HostedInstrument:
        """See ``port.Runtime``."""
        import ray

        setting = sha256(json.dumps([driver, dict(options)], sort_keys=True, default=str).encode()).hexdigest()
        try:
            actor = self._actor(name) or self._born(name, setting, driver, options)
            # Also where it was found: whoever made it may have died since, and it is as young as one made here.
            about = await _within(actor.about.remote(), _PATIENCE["born"])
            if about["setting"] != setting:
                if await self._busy(actor):
                    self._lines.warning("instrument keeps its old settings until it is idle", instrument=name)
                else:
                    # Its memory is a file: the new one knows what the old one knew.
                    ray.kill(actor, no_restart=True)
                    await self._name_is_free(name)
                    actor = self._born(name, setting, driver, options)
                    about = await _within(actor.about.remote(), _PATIENCE["born"])
        except ray.exceptions.RayError as error:
            raise InstrumentLost(f"the actor of {name} is gone: {type(error).__name__}", sent=False) from error
        except TimeoutError as error:
            raise InstrumentLost(f"the actor of {name} does not answer", sent=False) from error
        if about["wrong"]:
            ray.kill(actor, no_restart=True)
            raise ValueError(f"{name}: {about['wrong']}")

        async def call(word: str, *arguments: Any) -> Json:
            return await _call(actor, name, word, arguments)

        async def close() -> None:
            return None

        return HostedInstrument(name, call, close)

    def _actor(self, name: str) -> Any:
        import ray

        try:
            return ray.get_actor(f"instrument:{name}", namespace=_NAMESPACE)
        except ValueError:
            return None

    async def _name_is_free(self, name: str) -> None:
        # Ray tells nobody when a name is free again.
        for _ in range(500):
            if self._actor(name) is None:
                return
            await asyncio.sleep(0.02)
        raise InstrumentLost(f"the old actor of {name} does not leave its name", sent=False)

    def _born(self, name: str, setting: str, driver: str, options: Mapping[str, Any]) -> Any:
        from labcommons.node.runtime.ray_actor import remote_host

        self._folder.mkdir(parents=True, exist_ok=True)
        place = {"name": f"instrument:{name}", "namespace": _NAMESPACE, "lifetime": "detached"}
        memory = str((self._folder / f"{name}.memory").resolve())
        return remote_host().options(**place).remote(setting, driver, dict(options), memory)

    async def _busy(self, actor: Any) -> bool:
        answer = await _within(actor.ask.remote("health", []), _PATIENCE["ask"])
        return bool(answer.get("answer", {}).get("state") in ("busy", "paused"))

    async def alive(self) -> bool:
        """Whether the cluster's servers live."""
        return self._cluster.servers_live()

    def disconnect(self) -> None:
        """Let go of the cluster; it lives on, and so do its instruments. Blocks."""
        import ray

        ray.shutdown()

    async def close(self) -> None:
        """See ``disconnect``."""
        # In the thread that connected: Ray's driver belongs to it.
        self.disconnect()


async def _within(ref: Any, seconds: float) -> Any:
    # A time limit leaves the call itself running: nothing at an instrument is ever cancelled through Ray.
    async with asyncio.timeout(seconds):
        return await ref


async def _call(actor: Any, name: str, word: str, arguments: tuple[Any, ...]) -> Json:
    import ray

    lane = LANES[word]
    seconds = float(arguments[-1]) + _WAIT_MARGIN_S if lane == "wait" else _PATIENCE[lane]
    try:
        envelope = await _within(getattr(actor, lane).remote(word, list(arguments)), seconds)
    except ray.exceptions.RayError as error:
        # The actor, its worker or the cluster died, or cannot be reached: all of it may be after the first byte.
        raise InstrumentLost(f"{word}: the actor of {name}: {type(error).__name__}") from error
    except TimeoutError as error:
        raise InstrumentLost(f"{word}: the actor of {name} did not answer in {seconds:g} s") from error
    if "refused" in envelope:
        told = envelope["refused"]
        raise InstrumentRefused(told["code"], told["message"], told["retryable"])
    if "lost" in envelope:
        raise InstrumentLost(envelope["lost"], sent=envelope["sent"])
    answer: Json = envelope["answer"]
    return answer
