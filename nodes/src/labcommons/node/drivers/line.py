"""The line driver: an instrument that speaks the line protocol (docs/line-protocol.md) on a TCP socket.

It dials when it is first asked something, and again after the link dropped. It sends every request once; a `start`
that got no answer is never repeated here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from labcommons.node.drivers.clock import monotonic
from labcommons.node.drivers.contract import (
    Arguments,
    Description,
    Event,
    Health,
    InstrumentLost,
    InstrumentRefused,
    Json,
    Status,
    StopMode,
)
from labcommons.node.drivers.link import LineConnection
from labcommons.node.drivers.results import settle_files

__all__ = ["LineDriver", "parse_address"]

_T = TypeVar("_T")
_COMMON = frozenset({"name", "lab", "time_scale", "calibration", "memory"})
"""What the node gives every driver."""
_BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


def parse_address(text: Any) -> tuple[str, int]:
    """`host:port` (or `[v6]:port`) as a pair. Raises `ValueError`."""
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"address must be host:port, such as 127.0.0.1:7401, not {text!r}")
    return host, int(port)


def _seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
        raise ValueError(f"{name} must be a number of seconds, above 0 and at most 3600, not {value!r}")
    return float(value)


class LineDriver:
    """A `Driver` over one TCP connection.

    Options: `address` (host:port); `reply_timeout_s` (5: an instrument answers at once, its work goes on behind);
    `stop_timeout_s` (120: a stop is answered when its phase is reached); `connect_timeout_s` (3: dialled again and
    again within it, 50 ms apart at first, then longer); `shared_folder` (where files too big for a line lie).
    Raises `ValueError` for a wrong or unknown option.
    """

    OPTIONS = ("address", "reply_timeout_s", "stop_timeout_s", "connect_timeout_s", "shared_folder")

    def __init__(self, options: Mapping[str, Any]) -> None:
        unknown = sorted(options.keys() - _COMMON - set(self.OPTIONS))
        if unknown:
            raise ValueError(f"the line driver has no option {unknown[0]!r}; it takes: {', '.join(self.OPTIONS)}")
        self._address = parse_address(options.get("address"))
        self._reply_s = _seconds(options, "reply_timeout_s", 5)
        self._stop_s = _seconds(options, "stop_timeout_s", 120)
        self._dial_s = _seconds(options, "connect_timeout_s", 3)
        folder = options.get("shared_folder")
        self._shared = None if folder is None else Path(str(folder))
        self._dialling = threading.Lock()
        self._connection: LineConnection | None = None
        self._callback: Callable[[Event], None] | None = None
        self._closing = threading.Event()

    # -- the ten words

    def describe(self) -> Description:
        """See `Driver`."""
        return self._read("describe", Description.from_json, self._call("describe"))

    def health(self) -> Health:
        """See `Driver`."""
        return self._read("health", Health.from_json, self._call("health"))

    def start(self, attempt: str, action: str, arguments: Arguments) -> Status:
        """See `Driver`. Sent once; `InstrumentLost.sent` is False where it cannot have left."""
        return self._status("start", attempt=attempt, action=action, arguments=dict(arguments))

    def status(self, attempt: str) -> Status:
        """See `Driver`."""
        return self._status("status", attempt=attempt)

    def readback(self, attempt: str) -> Status:
        """See `Driver`."""
        return self._status("readback", attempt=attempt)

    def void(self, attempt: str) -> Status:
        """See `Driver`."""
        return self._status("void", attempt=attempt)

    def stop(self, attempt: str, mode: StopMode) -> Status:
        """See `Driver`."""
        return self._status("stop", self._stop_s, attempt=attempt, mode=mode)

    def resume(self, attempt: str) -> Status:
        """See `Driver`."""
        return self._status("resume", attempt=attempt)

    def release(self, attempt: str) -> Status:
        """See `Driver`. An instrument may answer without a phase: then what `status` says."""
        reply = self._call("release", attempt=attempt)
        return self.status(attempt) if "phase" not in reply else self._read("release", Status.from_json, reply)

    def subscribe(self, callback: Callable[[Event], None]) -> bool:
        """See `Driver`. Asked again by itself after every new dial."""
        # Dialled first: a dial with a callback in place asks for events by itself.
        self._dialled()
        self._callback = callback
        try:
            self._call("subscribe")
        except InstrumentRefused:
            self._callback = None
            return False
        except InstrumentLost:
            self._callback = None
            raise
        return True

    def close(self) -> None:
        """See `Driver`."""
        self._closing.set()
        with self._dialling:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- the line

    def _status(self, op: str, timeout_s: float | None = None, **fields: Any) -> Status:
        reply = self._call(op, timeout_s, **fields)
        if isinstance(reply.get("result"), dict):
            result, flags = settle_files(reply["result"], self._shared)
            reply = {**reply, "result": result, "flags": list(flags)}
        else:
            reply = {**reply, "flags": []}
        return self._read(op, Status.from_json, reply)

    def _read(self, op: str, form: Callable[[Mapping[str, Any]], _T], reply: Json) -> _T:
        try:
            return form(reply)
        except ValueError as error:
            raise InstrumentLost(f"{op}: the reply makes no sense: {error}") from error

    def _call(self, op: str, timeout_s: float | None = None, **fields: Any) -> Json:
        reply = self._dialled().request(op, fields, timeout_s or self._reply_s)
        if reply.get("ok") is True:
            return reply
        error = reply.get("error")
        if reply.get("ok") is not False or not isinstance(error, dict) or not isinstance(error.get("code"), str):
            raise InstrumentLost(f"{op}: a reply without `ok` or without an error's `code` came")
        raise InstrumentRefused(error["code"], str(error.get("message") or ""), error.get("retryable") is True)

    def _dialled(self) -> LineConnection:
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        with self._dialling:
            connection = self._connection
            if connection is None or not connection.alive:
                if connection is not None:
                    connection.close()
                connection = self._connection = self._dial()
                self._tell(Event("link", state="up"))
            return connection

    def _dial(self) -> LineConnection:
        host, port = self._address
        deadline = monotonic() + self._dial_s
        turn = 0
        while not self._closing.is_set():
            try:
                left = max(0.05, deadline - monotonic())
                connection = LineConnection((host, port), min(left, self._dial_s), self._event, self._lost)
            except OSError as error:
                pause = _BACKOFF_S[min(turn, len(_BACKOFF_S) - 1)]
                turn += 1
                if monotonic() + pause >= deadline:
                    reason = f"nothing answers at {host}:{port}: {error.strerror or error}"
                    raise InstrumentLost(reason, sent=False) from error
                self._closing.wait(pause)
                continue
            if self._callback is not None:
                # Refused or lost: `status` is asked in any case, and a lost line shows at the next request.
                with contextlib.suppress(InstrumentLost):
                    connection.request("subscribe", {}, self._reply_s)
            return connection
        raise InstrumentLost("the driver is closed", sent=False)

    def _lost(self, connection: LineConnection, reason: str) -> None:
        if not self._closing.is_set():
            self._tell(Event("link", state="lost", name=reason))

    def _event(self, message: Json) -> None:
        kind, attempt = message.get("event"), message.get("attempt")
        attempt = attempt if isinstance(attempt, str) else None
        fraction, value = message.get("fraction"), message.get("value")
        match kind:
            case "progress" if isinstance(fraction, int | float):
                self._tell(Event("progress", attempt, fraction=float(fraction)))
            case "phase":
                self._tell(Event("phase", attempt, phase=str(message.get("phase"))))
            case "health":
                self._tell(Event("health", state=str(message.get("state"))))
            case "signal" if isinstance(value, dict):
                self._tell(Event("signal", attempt, name=str(message.get("name")), value=value))
            case _:
                # Words we do not know are ignored, as the protocol wants.
                return

    def _tell(self, event: Event) -> None:
        callback = self._callback
        if callback is not None:
            callback(event)
