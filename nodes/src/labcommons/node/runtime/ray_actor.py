"""The actor in which an instrument lives. Import this module only when Ray's environment is set.

Threaded, with a concurrency group for each lane: ``stop`` and ``status`` are answered while ``wait`` waits. The
constructor moves nothing. What crosses is plain: an envelope in place of an exception, so no class of ours is pickled.
"""

from __future__ import annotations

from typing import Any

import ray

from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Json
from labcommons.node.host import InstrumentHost
from labcommons.node.runtime.calls import LANES

__all__ = ["GROUPS", "RayHost", "remote_host"]

#: Lane -> threads.
GROUPS = {"start": 1, "wait": 2, "stop": 3, "ask": 3}


class RayHost:
    """One instrument's host. ``setting``: a digest of what it was opened with, to see whether that still holds."""

    def __init__(self, setting: str, driver: str, options: Json, memory: str) -> None:
        self._setting = setting
        self._host: InstrumentHost | None = None
        self._wrong = ""
        try:
            self._host = InstrumentHost(driver, options, memory)
        except Exception as error:
            # Told by `about`; an exception here would leave a dead actor and its words in a log.
            self._wrong = f"{type(error).__name__}: {error}"

    @ray.method(concurrency_group="ask")
    def about(self) -> Json:
        """What it was opened with, and why it could not be."""
        return {"setting": self._setting, "wrong": self._wrong}

    @ray.method(concurrency_group="ask")
    def ask(self, word: str, arguments: list[Any]) -> Json:
        """Words that only ask."""
        return self._do("ask", word, arguments)

    @ray.method(concurrency_group="start")
    def start(self, word: str, arguments: list[Any]) -> Json:
        """Words that set something moving."""
        return self._do("start", word, arguments)

    @ray.method(concurrency_group="stop")
    def stop(self, word: str, arguments: list[Any]) -> Json:
        """Words that end something, or bar it."""
        return self._do("stop", word, arguments)

    @ray.method(concurrency_group="wait")
    def wait(self, word: str, arguments: list[Any]) -> Json:
        """The word that waits."""
        return self._do("wait", word, arguments)

    def _do(self, lane: str, word: str, arguments: list[Any]) -> Json:
        if self._host is None or LANES.get(word) != lane:
            return {"lost": self._wrong or f"{word!r} is no word of the lane {lane}", "sent": False}
        try:
            return {"answer": getattr(self._host, word)(*arguments)}
        except InstrumentRefused as error:
            return {"refused": {"code": error.code, "message": error.message, "retryable": error.retryable}}
        except InstrumentLost as error:
            return {"lost": error.reason, "sent": error.sent}
        except Exception as error:
            # A driver may raise those two and nothing else; what else it raises proves nothing about the hardware.
            return {"lost": f"{word}: the driver failed: {type(error).__name__}: {error}", "sent": True}


def remote_host() -> Any:
    """The actor class, as Ray makes it: detached by its options, never restarted, its calls never repeated."""
    # Ray's stubs do not know of concurrency groups on a class.
    decorate: Any = ray.remote
    return decorate(concurrency_groups=GROUPS, max_restarts=0, max_task_retries=0, num_cpus=0)(RayHost)
