"""The port behind which a lab's instruments live: in a Ray cluster of the lab's own, or in the agent's process.

The words are those of ``drivers.contract``, awaited. ``subscribe`` does not cross: the host behind the port listens
to the instrument's events and turns them into an early return of ``wait``, so that no callback crosses a process.

Every word raises ``InstrumentRefused`` (an error reply: this very request moved nothing) or ``InstrumentLost``
(proves nothing; also where the actor, its worker or its cluster died, which may all happen after the first byte).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from labcommons.node.drivers.contract import Arguments, Description, Health, Status, StopMode

__all__ = ["Instrument", "Runtime", "RuntimeFailed"]


class RuntimeFailed(Exception):
    """The place where instruments live cannot be had; the message says what was tried and what to do."""


class Instrument(Protocol):
    """One instrument, reached through the runtime. ``stop`` shares no gate with ``start`` or ``wait``."""

    name: str

    async def describe(self) -> Description:
        """What it is and can do. Moves nothing."""
        ...

    async def health(self) -> Health:
        """Its own state. Moves nothing."""
        ...

    async def start(self, attempt: str, action: str, arguments: Arguments) -> Status:
        """Set the action moving. Only for an attempt whose INTENT is durable."""
        ...

    async def status(self, attempt: str) -> Status:
        """Its phase now."""
        ...

    async def readback(self, attempt: str) -> Status:
        """Its phase from what survives a restart of the instrument."""
        ...

    async def void(self, attempt: str) -> Status:
        """Bar the id for ever, or learn its phase."""
        ...

    async def stop(self, attempt: str, mode: StopMode) -> Status:
        """End or pause it; returns when that phase is reached."""
        ...

    async def resume(self, attempt: str) -> Status:
        """From ``paused`` to ``running``."""
        ...

    async def release(self, attempt: str) -> Status:
        """The result may be forgotten."""
        ...

    async def wait(self, attempt: str, timeout_s: float) -> Status:
        """Its status once terminal, or after ``timeout_s`` seconds of wall time."""
        ...

    async def close(self) -> None:
        """Let go of it. An instrument in a cluster lives on; one in this process loses its driver's link."""
        ...


class Runtime(Protocol):
    """Where the instruments of one lab live."""

    @property
    def cluster_id(self) -> str | None:
        """Id of the Ray cluster, ``None`` without one."""
        ...

    async def open(self, name: str, driver: str, options: Mapping[str, Any]) -> Instrument:
        """The instrument ``name``: attached to where it lives already, else brought to life there.

        ``driver``: entry point of group ``labcommons.drivers``; ``options``: its options (JSON). Moves nothing.
        Raises ``InstrumentLost`` when it cannot be reached, ``ValueError`` or ``LookupError`` for a wrong setting.
        """
        ...

    async def alive(self) -> bool:
        """False when the place itself is gone, and not only an instrument in it: open a new runtime then."""
        ...

    async def close(self) -> None:
        """Let go of the place. What lives outside this process lives on."""
        ...
