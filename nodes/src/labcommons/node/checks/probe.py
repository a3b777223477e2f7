"""What the checks hold an instrument with: its driver, the bare line where there is one, and ids that nobody used."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Event as Flag
from typing import Any, Literal

from labcommons.node.drivers.clock import monotonic
from labcommons.node.drivers.contract import Action, Description, Driver, InstrumentLost, Json, Status

__all__ = ["Breach", "Finding", "NotApplicable", "Probe", "RawLine"]

_PAUSE_S = 0.05


class Breach(Exception):
    """The instrument did not keep a rule; the message says what it did."""


class NotApplicable(Exception):
    """The rule does not speak of this instrument; the message says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `words`: the rule as docs/line-protocol.md has it; `detail`: what was seen; `remedy`: what to do."""

    check: str
    outcome: Literal["pass", "fail", "n/a"]
    words: str
    detail: str = ""
    remedy: str = ""

    def to_json(self) -> Json:
        """A plain object."""
        return {
            "check": self.check,
            "outcome": self.outcome,
            "words": self.words,
            "detail": self.detail,
            "remedy": self.remedy,
        }


class RawLine:
    """A bare connection to a line instrument, for what a driver never sends. Use as a context manager."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        try:
            self._socket = socket.create_connection(address, timeout=timeout_s)
        except OSError as error:
            raise InstrumentLost(f"it cannot be dialled: {error.strerror or error}", sent=False) from error
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> RawLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise InstrumentLost(f"it hung up: {error.strerror or error}") from error

    def ask(self, message: Mapping[str, Any] | bytes) -> Json:
        """Send a line and read the next one. Raises `InstrumentLost`."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.send(data + b"\n")
        try:
            line = self._stream.readline()
            reply = json.loads(line)
        except (OSError, ValueError) as error:
            raise InstrumentLost(f"no reply that is a line of JSON: {error}") from error
        if not isinstance(reply, dict):
            raise InstrumentLost("the reply is no object")
        return reply


@dataclass
class Probe:
    """One instrument under check. `open_driver` makes a driver of its own each time; close it."""

    open_driver: Callable[[], Driver]
    address: tuple[str, int] | None
    fresh_id: Callable[[], str]
    reply_s: float = 3.0
    patience_s: float = 600.0
    motion: bool = True
    action_name: str | None = None
    arguments: Json = field(default_factory=dict)
    described: Description | None = None
    done: str | None = None
    """An attempt that ran to its end, for the rules after it."""
    _driver: Driver | None = None

    @property
    def driver(self) -> Driver:
        """The driver that the rules share."""
        if self._driver is None:
            self._driver = self.open_driver()
        return self._driver

    def reconnect(self) -> Driver:
        """Hang up and dial again."""
        self.close()
        return self.driver

    def close(self) -> None:
        """Let go of the shared driver."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    @property
    def description(self) -> Description:
        """What it described; the rule on `describe` has seen to it that there is one."""
        if self.described is None:
            raise NotApplicable("there is no description to go by")
        return self.described

    @property
    def action(self) -> Action:
        """The action that the rules start."""
        found = self.description.action(self.action_name) if self.action_name else self.description.actions[0]
        if found is None:
            raise NotApplicable(f"no action is called {self.action_name!r}")
        return found

    def raw(self) -> RawLine:
        """A bare line. Raises `NotApplicable` for what is no line instrument."""
        if self.address is None:
            raise NotApplicable("this is a rule for the line itself")
        return RawLine(self.address, self.reply_s)

    def remembering(self) -> None:
        """Raises `NotApplicable` where the instrument remembers no attempts."""
        if not self.description.remembers_attempts:
            raise NotApplicable("it says that it remembers no attempts")

    @property
    def longest_s(self) -> float:
        """Wall time that a run may take at most, as described."""
        return self.action.max_ms / 1000 / float(Decimal(self.description.time_scale))

    def finished(self, attempt: str) -> Status:
        """Its status once it is settled. Raises `Breach` past what was described, `NotApplicable` past our patience."""
        longest = self.longest_s * 1.2 + self.reply_s
        deadline = monotonic() + min(longest, self.patience_s)
        while True:
            status = self.driver.status(attempt)
            if status.phase not in ("running", "paused"):
                return status
            if monotonic() >= deadline:
                if longest > self.patience_s:
                    self.driver.stop(attempt, "now")
                    raise NotApplicable(f"it still runs after {self.patience_s:g} s; give it more with --patience")
                raise Breach(f"it still runs {longest:.1f} s after its start; max_ms and time_scale promise less")
            Flag().wait(_PAUSE_S)

    def unmoved(self, after: str) -> None:
        """Raises `Breach` where the instrument is busy although nothing may move."""
        state = self.driver.health().state
        if state == "busy":
            raise Breach(f"health says busy after {after}")

    def start(self, attempt: str, arguments: Json | None = None, action: str | None = None) -> Status:
        """A `start` of the checked action; counts as motion."""
        return self.driver.start(
            attempt, action or self.action.name, self.arguments if arguments is None else arguments
        )
