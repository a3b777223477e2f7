"""The instrument's host: what lives in the lab's Ray actor, or in the agent's process on a laptop.

It owns the driver and a durable memory of attempts of its own, so that an agent that was killed finds its answers
here. Its constructor moves nothing and opens nothing that moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labcommons.node.drivers.contract import Json, StopMode

__all__ = ["InstrumentHost"]


class InstrumentHost:
    """The ten words again, and `wait`; plain JSON-able objects cross its border, so that no class of ours is pickled.

    `driver_name`: an entry point of group `labcommons.drivers`; `options`: the driver's options (JSON);
    `memory_path`: file of the durable memory. Every word raises `InstrumentRefused` (an error reply, or a refusal
    before any byte went out) or `InstrumentLost` (proves nothing); both pickle. Words that speak of an attempt return
    `Status.to_json()`; read them with `Status.from_json`.
    """

    def __init__(self, driver_name: str, options: Mapping[str, Any], memory_path: str | Path) -> None:
        self._driver_name = driver_name
        self._options = dict(options)
        self._memory_path = Path(memory_path)

    def describe(self) -> Json:
        """`Description.to_json()`."""
        raise NotImplementedError

    def health(self) -> Json:
        """`Health.to_json()`."""
        raise NotImplementedError

    def start(self, attempt: str, action: str, arguments: Mapping[str, Any]) -> Json:
        """Start once. An id already sent never goes out twice unless the instrument remembers ids."""
        raise NotImplementedError

    def status(self, attempt: str) -> Json:
        """The phase now, with the result when there is one."""
        raise NotImplementedError

    def readback(self, attempt: str) -> Json:
        """From what survives a restart of the instrument, or of this host."""
        raise NotImplementedError

    def void(self, attempt: str) -> Json:
        """`voided`, or the present phase. Refused `unsupported` where the instrument cannot."""
        raise NotImplementedError

    def stop(self, attempt: str, mode: StopMode = "safe_point") -> Json:
        """Returns when the phase is reached."""
        raise NotImplementedError

    def resume(self, attempt: str) -> Json:
        """From `paused` to `running`."""
        raise NotImplementedError

    def release(self, attempt: str) -> Json:
        """The result may be forgotten, never the id."""
        raise NotImplementedError

    def wait(self, attempt: str, timeout_s: float) -> Json:
        """Block until the attempt is terminal or `timeout_s` of wall time passed; then its present status.

        Returns early also with `never_seen`, `voided` or `cannot_tell` (nothing more will come by waiting). A dropped
        link is dialled again within the time; `InstrumentLost` if it is still down at the end of it.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the driver and the memory. Says nothing to the instrument; safe to call twice."""
        raise NotImplementedError
