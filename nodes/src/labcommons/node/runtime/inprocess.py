"""Instruments in the agent's own process: for a laptop without Ray, and for tests.

An instrument's host dies with the agent here; what it remembers is in its own durable memory and is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Json
from labcommons.node.host import InstrumentHost
from labcommons.node.runtime.calls import LANES, HostedInstrument

__all__ = ["InProcessRuntime"]

_THREADS = {"start": 1, "wait": 2, "stop": 2, "ask": 2}


class InProcessRuntime:
    """Hosts in threads of this process. ``folder``: where their memories are kept, one file an instrument."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, HostedInstrument] = {}

    @property
    def cluster_id(self) -> str | None:
        """There is no cluster."""
        return None

    async def open(self, name: str, driver: str, options: Mapping[str, Any]) -> HostedInstrument:
        """See ``port.Runtime``."""
        if name in self._open:
            # It lives here already; its host dials again by itself.
            return self._open[name]
        self._folder.mkdir(parents=True, exist_ok=True)
        host = InstrumentHost(driver, dict(options), self._folder / f"{name}.memory")
        lanes = {
            lane: ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-{lane}") for lane, threads in _THREADS.items()
        }
        loop = asyncio.get_running_loop()

        async def call(word: str, *arguments: Any) -> Json:
            try:
                return await loop.run_in_executor(lanes[LANES[word]], getattr(host, word), *arguments)
            except (InstrumentLost, InstrumentRefused):
                raise
            except Exception as error:
                # A driver may raise those two and nothing else; what else it raises proves nothing about the hardware.
                raise InstrumentLost(f"{word}: the driver failed: {type(error).__name__}: {error}") from error

        async def close() -> None:
            if self._open.pop(name, None) is None:
                return
            await asyncio.to_thread(host.close)
            for lane in lanes.values():
                await asyncio.to_thread(lane.shutdown, True, cancel_futures=True)

        instrument = HostedInstrument(name, call, close)
        self._open[name] = instrument
        return instrument

    async def alive(self) -> bool:
        """This process is."""
        return True

    async def close(self) -> None:
        """Close all instruments; their threads end."""
        for instrument in list(self._open.values()):
            await instrument.close()
