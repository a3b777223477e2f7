"""One TCP connection of the line protocol: JSON lines out, replies matched by id, events handed on.

Whatever goes wrong on the line (end of file, half a line, a line that is not JSON or longer than 1 MiB) ends the
connection, and every request that waits on it is lost: the framing cannot be trusted any more. A reply that comes
after its request gave up is dropped.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

from labcommons.node.drivers.contract import InstrumentLost, Json

__all__ = ["MAX_LINE", "LineConnection"]

MAX_LINE = 1024 * 1024
"""Bytes of one line, its newline not counted."""

_BLOCK = 65536


class _Waiting:
    """A request that waits for its reply."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.reply: Json | None = None
        self.lost: str | None = None


class LineConnection:
    """A connection with a reader thread of its own.

    `on_event` gets each event, `on_lost` the reason when the line is gone; both run on the reader's thread and must
    not wait for a reply of this connection.
    """

    def __init__(
        self,
        address: tuple[str, int],
        timeout_s: float,
        on_event: Callable[[Json], None],
        on_lost: Callable[[LineConnection, str], None],
    ) -> None:
        self._on_event, self._on_lost = on_event, on_lost
        self._gate = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._last_id = 0
        self._reason: str | None = None
        self._socket = socket.create_connection(address, timeout=timeout_s)
        self._tune(timeout_s)
        self._reader = threading.Thread(target=self._read, name=f"line {address[0]}:{address[1]}", daemon=True)
        self._reader.start()

    def _tune(self, timeout_s: float) -> None:
        s = self._socket
        s.settimeout(None)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A peer that vanished without a word (power, cable) is noticed by the kernel; a slow one never is: a driver
        # that hung up on a slow instrument would abort a run where `on_disconnect` says so.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                s.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        # A peer that reads nothing must not hold a writer for ever.
        seconds, rest = divmod(max(1.0, timeout_s), 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), int(rest * 1e6)))

    @property
    def alive(self) -> bool:
        """Whether requests can be sent."""
        return self._reason is None

    def request(self, op: str, fields: Mapping[str, Any], timeout_s: float) -> Json:
        """Send one request and return its reply. Raises `InstrumentLost`; nothing is ever sent a second time."""
        waiting = _Waiting()
        with self._gate:
            if self._reason is not None:
                raise InstrumentLost(self._reason, sent=False)
            self._last_id += 1
            number = self._last_id
            self._waiting[number] = waiting
        try:
            line = json.dumps({"id": number, "op": op, **fields}, separators=(",", ":")).encode()
            if len(line) > MAX_LINE:
                raise InstrumentLost(f"{op}: the request has {len(line)} bytes, a line holds {MAX_LINE}", sent=False)
            self._write(line + b"\n")
            if not waiting.done.wait(timeout_s):
                raise InstrumentLost(f"{op}: no reply within {timeout_s:g} s")
        finally:
            with self._gate:
                self._waiting.pop(number, None)
        if waiting.reply is None:
            raise InstrumentLost(f"{op}: {waiting.lost}")
        return waiting.reply

    def _write(self, data: bytes) -> None:
        try:
            with self._writing:
                self._socket.sendall(data)
        except OSError as error:
            reason = f"the line could not be written: {error.strerror or error}"
            self._end(reason)
            raise InstrumentLost(reason) from error

    def _read(self) -> None:
        buffer = bytearray()
        reason = "the instrument closed the connection"
        try:
            while block := self._socket.recv(_BLOCK):
                buffer += block
                while (end := buffer.find(b"\n")) >= 0:
                    line = bytes(buffer[:end])
                    del buffer[: end + 1]
                    self._take(line)
                if len(buffer) > MAX_LINE:
                    raise ValueError("a line of more than 1 MiB came")
            if buffer:
                reason = "half a line came, then the connection closed"
        except OSError as error:
            reason = f"the connection broke: {error.strerror or error}"
        except ValueError as error:
            reason = str(error)
        self._end(reason)
        self._socket.close()

    def _take(self, line: bytes) -> None:
        if len(line) > MAX_LINE:
            raise ValueError("a line of more than 1 MiB came")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"a line came that is not JSON: {line[:60]!r}") from None
        if not isinstance(message, dict):
            raise ValueError(f"a line came that is no object: {line[:60]!r}")
        if "event" in message:
            self._on_event(message)
            return
        number = message.get("id")
        if number is None:
            raise ValueError(f"the instrument could not read our line: {str(message.get('error'))[:120]}")
        with self._gate:
            waiting = self._waiting.get(number) if type(number) is int else None
        if waiting is not None:
            waiting.reply = message
            waiting.done.set()

    def _end(self, reason: str) -> None:
        with self._gate:
            if self._reason is not None:
                return
            self._reason = reason
            left = list(self._waiting.values())
        for waiting in left:
            waiting.lost = reason
            waiting.done.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._on_lost(self, reason)

    def close(self) -> None:
        """Hang up and let the reader end. Safe to call twice, and from the reader itself."""
        self._end("the driver hung up")
        if threading.current_thread() is not self._reader:
            self._reader.join()
