"""The words of an instrument over one call that crosses, shared by both runtimes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from labcommons.node.drivers.contract import (
    Arguments,
    Description,
    Health,
    InstrumentLost,
    InstrumentRefused,
    Json,
    Status,
    StopMode,
)

__all__ = ["LANES", "Call", "HostedInstrument", "tidy"]

Call = Callable[..., Awaitable[Json]]
"""``await call(word, *arguments)`` -> the host's plain answer."""

#: Word -> lane. A lane is a set of threads of its own, so that a stop never waits behind a start or a long wait.
LANES = {
    "start": "start",
    "resume": "start",
    "wait": "wait",
    "stop": "stop",
    "void": "stop",
    "describe": "ask",
    "health": "ask",
    "status": "ask",
    "readback": "ask",
    "release": "ask",
}


def tidy(value: Any) -> Any:
    """``value`` with each lone surrogate of its texts replaced: JSON can carry one (``"\\ud800"``), UTF-8 cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {tidy(key): tidy(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(inner) for inner in value]
    return value


class HostedInstrument:
    """An ``Instrument`` whose host answers through ``call``; ``on_close`` lets go of it."""

    def __init__(self, name: str, call: Call, on_close: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._cross = call
        self._on_close = on_close

    async def _call(self, word: str, *arguments: Any) -> Json:
        """One word over the border. What an instrument says in text passes here, once, and is fit for a journal."""
        try:
            answer: Json = tidy(await self._cross(word, *arguments))
            return answer
        except InstrumentRefused as error:
            raise InstrumentRefused(tidy(error.code), tidy(error.message), error.retryable) from error
        except InstrumentLost as error:
            raise InstrumentLost(tidy(error.reason), error.sent) from error
        except RecursionError as error:
            raise InstrumentLost(f"{word}: the answer makes no sense: it is nested too deeply") from error

    async def _status(self, word: str, *arguments: Any) -> Status:
        answer = await self._call(word, *arguments)
        try:
            return Status.from_json(answer)
        except (ValueError, TypeError, AttributeError) as error:
            raise InstrumentLost(f"{word}: the answer makes no sense: {error}") from error

    async def describe(self) -> Description:
        """See ``port.Instrument``."""
        answer = await self._call("describe")
        try:
            return Description.from_json(answer)
        except (ValueError, TypeError, AttributeError) as error:
            raise InstrumentLost(f"describe: the answer makes no sense: {error}") from error

    async def health(self) -> Health:
        """See ``port.Instrument``."""
        answer = await self._call("health")
        try:
            return Health.from_json(answer)
        except (ValueError, TypeError, AttributeError) as error:
            raise InstrumentLost(f"health: the answer makes no sense: {error}") from error

    async def start(self, attempt: str, action: str, arguments: Arguments) -> Status:
        """See ``port.Instrument``."""
        return await self._status("start", attempt, action, dict(arguments))

    async def status(self, attempt: str) -> Status:
        """See ``port.Instrument``."""
        return await self._status("status", attempt)

    async def readback(self, attempt: str) -> Status:
        """See ``port.Instrument``."""
        return await self._status("readback", attempt)

    async def void(self, attempt: str) -> Status:
        """See ``port.Instrument``."""
        return await self._status("void", attempt)

    async def stop(self, attempt: str, mode: StopMode) -> Status:
        """See ``port.Instrument``."""
        return await self._status("stop", attempt, mode)

    async def resume(self, attempt: str) -> Status:
        """See ``port.Instrument``."""
        return await self._status("resume", attempt)

    async def release(self, attempt: str) -> Status:
        """See ``port.Instrument``."""
        return await self._status("release", attempt)

    async def wait(self, attempt: str, timeout_s: float) -> Status:
        """See ``port.Instrument``."""
        return await self._status("wait", attempt, timeout_s)

    async def close(self) -> None:
        """See ``port.Instrument``."""
        await self._on_close()
