"""A simulated instrument as a process of its own, on a TCP socket, by the line protocol.

    python -m labcommons.node.simulated.line_server --model crossed_barrel --port 7401 --seed 7 --lab north --state DIR

Port 0 takes a free one; the port is printed as one JSON line and, with `--port-file`, written to a file once it
listens. SIGTERM or SIGINT takes the instrument's power away; what it remembers is in `--state`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labcommons.node.drivers.contract import Event, InstrumentRefused, Json
from labcommons.node.drivers.link import MAX_LINE
from labcommons.node.drivers.simulated import SimulatedDriver
from labcommons.node.simulated.engine import SimulatedInstrument
from labcommons.node.simulated.models import model_names

__all__ = ["LineServer", "main"]


class LineServer:
    """Serves one instrument on `host:port` until `close`. Each connection has a thread of its own, and each stop."""

    def __init__(self, instrument: SimulatedInstrument, host: str, port: int) -> None:
        self._instrument = instrument
        self._listener = socket.create_server((host, port))
        self.port: int = self._listener.getsockname()[1]
        self._gate = threading.Lock()
        self._sessions: set[_Session] = set()
        self._closing = False

    def serve(self) -> None:
        """Accept connections until `close`."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                raise
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A client that does not read must not hold the instrument up.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 5, 0))
            session = _Session(self._instrument, connection, self._left)
            with self._gate:
                self._sessions.add(session)
            session.thread.start()

    def _left(self, session: _Session) -> None:
        with self._gate:
            self._sessions.discard(session)

    def close(self) -> None:
        """Hang up on everybody and take the instrument's power away."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._instrument.close()
        with self._gate:
            left = list(self._sessions)
        for session in left:
            session.hang_up()
            session.thread.join()


class _Session:
    """One connection."""

    def __init__(
        self, instrument: SimulatedInstrument, connection: socket.socket, left: Callable[[_Session], None]
    ) -> None:
        self._instrument, self._connection, self._left = instrument, connection, left
        self._writing = threading.Lock()
        self._started: list[str] = []
        self._subscribed = False
        self._workers: list[threading.Thread] = []
        self.thread = threading.Thread(target=self._serve, name="line session", daemon=True)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with self._connection, self._connection.makefile("rb") as stream:
            with contextlib.suppress(OSError):
                while line := stream.readline(MAX_LINE + 1):
                    if not line.endswith(b"\n"):
                        if len(line) > MAX_LINE:
                            self._refuse(None, "bad_request", "a line holds at most 1 MiB")
                        break
                    self._take(line)
            self._instrument.unsubscribe(self._event)
            self._instrument.disconnected(self._started)
            for worker in self._workers:
                worker.join()
        self._left(self)

    def _take(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            self._refuse(None, "bad_request", "a line is one JSON object")
            return
        if request.get("op") == "stop":
            # It is answered when its phase is reached, and nothing else waits for it.
            self._workers = [w for w in self._workers if w.is_alive()]
            self._workers.append(threading.Thread(target=self._answer, args=(request,), daemon=True))
            self._workers[-1].start()
        else:
            self._answer(request)

    def _answer(self, request: Mapping[str, Any]) -> None:
        number, op = request.get("id"), request.get("op")
        word = _WORDS.get(op) if isinstance(op, str) else None
        if op == "subscribe":
            if not self._subscribed:
                self._subscribed = True
                self._instrument.subscribe(self._event)
            self._send({"id": number, "ok": True})
        elif word is None:
            self._refuse(number, "unsupported", f"no op is called {op!r}")
        else:
            try:
                body = word(self._instrument, request)
            except InstrumentRefused as refusal:
                self._refuse(number, refusal.code, refusal.message, refusal.retryable)
                return
            if op == "start":
                self._started.append(str(request.get("attempt")))
            self._send({"id": number, "ok": True, **body})

    def _event(self, event: Event) -> None:
        message: Json = {"event": event.kind, "attempt": event.attempt}
        if event.fraction is not None:
            message["fraction"] = event.fraction
        if event.phase is not None:
            message["phase"] = event.phase
        self._send(message)

    def _refuse(self, number: Any, code: str, message: str, retryable: bool = False) -> None:
        error = {"code": code, "message": message, "retryable": retryable}
        self._send({"id": number, "ok": False, "error": error})

    def _send(self, message: Json) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            with self._writing:
                self._connection.sendall(data)
        except OSError:
            # Gone, or not reading: half a line may be out, so nothing more can be said on this connection.
            self.hang_up()


_WORDS: dict[str, Callable[[SimulatedInstrument, Mapping[str, Any]], Json]] = {
    "describe": lambda i, r: i.describe().to_json(),
    "health": lambda i, r: i.health().to_json(),
    "start": lambda i, r: i.start(r.get("attempt"), r.get("action"), r.get("arguments", {})).to_json(),  # type: ignore[arg-type]
    "status": lambda i, r: i.status(r.get("attempt")).to_json(),  # type: ignore[arg-type]
    "readback": lambda i, r: i.readback(r.get("attempt")).to_json(),  # type: ignore[arg-type]
    "void": lambda i, r: i.void(r.get("attempt")).to_json(),  # type: ignore[arg-type]
    "stop": lambda i, r: i.stop(r.get("attempt"), r.get("mode")).to_json(),  # type: ignore[arg-type]
    "resume": lambda i, r: i.resume(r.get("attempt")).to_json(),  # type: ignore[arg-type]
    "release": lambda i, r: i.release(r.get("attempt")).to_json(),  # type: ignore[arg-type]
}
"""The instrument itself refuses what is not text: it is asked with whatever came over the line."""


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m labcommons.node.simulated.line_server",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, choices=model_names())
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="the port is written here once it listens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lab", default="", help="with the seed it fixes offset, drift and dead time")
    parser.add_argument("--state", type=Path, help="folder of what it remembers; needed unless --no-memory")
    parser.add_argument("--no-memory", action="store_true", help="remembers no attempts, hence cannot void")
    parser.add_argument("--time-scale", default="1", help="lab time per wall time, a decimal")
    parser.add_argument("--on-disconnect", choices=["continue", "pause", "abort"], default="continue")
    parser.add_argument("--calibration", help="id that its results carry")
    found = parser.parse_args(arguments)
    if found.state is None and not found.no_memory:
        parser.error("--state DIR is needed, or --no-memory")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 0; 2 for wrong arguments."""
    found = _arguments(sys.argv[1:] if arguments is None else arguments)
    options: Json = {name: getattr(found, name) for name in ("model", "seed", "lab", "time_scale", "on_disconnect")}
    options |= {"remembers": not found.no_memory, "calibration": found.calibration}
    if not found.no_memory:
        options["memory"] = str(found.state / "attempts.sqlite")
    try:
        server = LineServer(SimulatedDriver(options), found.host, found.port)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    serving = threading.Thread(target=server.serve, name="line server", daemon=True)
    serving.start()
    if found.port_file is not None:
        fresh = found.port_file.with_name(found.port_file.name + ".new")
        fresh.write_text(str(server.port))
        fresh.replace(found.port_file)
    sys.stdout.write(json.dumps({"listening": server.port}) + "\n")
    sys.stdout.flush()
    ended.wait()
    server.close()
    serving.join()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
