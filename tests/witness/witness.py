"""The witness: an instrument outside the product, in the standard library alone.

It speaks the line protocol (docs/line-protocol.md) and keeps a log of its own, synced line by line, of every
actuation. Tests take the truth of what moved from that log, never from the system under test. It is written from the
published page and imports nothing of the product; keep it so.

    python witness.py --log actuations.jsonl --port 0 --port-file port

Faults (`--fault NAME[@OP][*TIMES]`, repeatable; also set over the wire by the op `x-fault`) are listed in FAULTS.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

if not __package__:
    # Run as a program: its folder is on the path, and the package is one above.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from witness.words import FAULTS, LIMIT, Log, Refused, amounts, crush_action, normal, parse, text


class Run:
    """One attempt, as the instrument's main memory has it."""

    def __init__(self, attempt: str, action: str, arguments: dict[str, Any], phase: str) -> None:
        self.attempt, self.action, self.arguments, self.phase = attempt, action, arguments, phase
        self.fraction = 0.0
        self.result: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.wish: str | None = None
        self.link: Link | None = None

    def answer(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"phase": self.phase, **more}
        if self.phase in ("running", "paused"):
            found["fraction"] = round(self.fraction, 3)
        if self.result is not None:
            found["result"] = self.result
        if self.error is not None:
            found["error"] = self.error
        return found


class Witness:
    """The instrument: one thing at a time, a memory if it has one, and the log."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.log = Log(Path(options.log))
        self.gate = threading.Condition()
        self.runs: dict[str, Run] = {}
        self.links: set[Link] = set()
        self.faults: dict[str, list[Any]] = {}
        for planted in options.fault:
            self.plant(planted)
        self.actions = [crush_action(options.expected_ms, options.max_ms)]
        if options.actions:
            self.actions = json.loads(Path(options.actions).read_text())
        self.memory: Log | None = None
        if not options.no_memory:
            path = Path(options.state or str(options.log) + ".memory")
            self.recall(path)
            self.memory = Log(path)
        self.log.write(event="power-on")

    # -- faults

    def plant(self, text: str) -> None:
        name, _, times = text.partition("*")
        name, _, op = name.partition("@")
        if name not in FAULTS:
            raise SystemExit(f"unknown fault {name!r}; there are: {', '.join(FAULTS)}")
        self.faults[name] = [op or None, int(times) if times else None]

    def hit(self, name: str, op: str | None = None) -> bool:
        with self.gate:
            planted = self.faults.get(name)
            if planted is None or (op is not None and planted[0] not in (None, op)):
                return False
            if planted[1] is not None:
                if planted[1] <= 0:
                    return False
                planted[1] -= 1
            return True

    # -- memory that survives a restart

    def recall(self, path: Path) -> None:
        if not path.exists():
            return
        for line in path.read_bytes().split(b"\n"):
            if not line:
                continue
            row = json.loads(line)
            run = self.runs.setdefault(row["attempt"], Run(row["attempt"], "", {}, row["phase"]))
            run.phase = row["phase"]
            run.action, run.arguments = row.get("action", run.action), row.get("arguments", run.arguments)
            run.result, run.error = row.get("result"), row.get("error")
        for run in self.runs.values():
            if run.phase in ("running", "paused"):
                run.phase = "failed"
                run.error = {"code": "hardware", "message": "the instrument restarted in mid-run"}

    def keep(self, run: Run) -> None:
        if self.memory is not None:
            self.memory.write(
                attempt=run.attempt,
                phase=run.phase,
                action=run.action,
                arguments=run.arguments,
                result=run.result,
                error=run.error,
            )

    # -- the ten words

    def describe(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        o = self.options
        return {
            "protocol": 1,
            "instrument": {"name": o.name, "manufacturer": "Outside", "model": "Witness 1", "serial": "W-1"},
            "actions": self.actions,
            "remembers_attempts": self.memory is not None,
            "can_void": self.can_void,
            "on_disconnect": o.on_disconnect,
            "simulated": not o.real,
            "time_scale": o.time_scale,
        }

    @property
    def can_void(self) -> bool:
        return self.memory is not None and not self.options.no_void

    def health(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        active = self.active()
        return {"state": "idle" if active is None else "busy", "detail": "" if active is None else active.attempt}

    def active(self) -> Run | None:
        return next((r for r in self.runs.values() if r.phase in ("running", "paused")), None)

    def check(self, action: str, arguments: Any) -> None:
        spec = next((a for a in self.actions if a["name"] == action), None)
        if spec is None:
            if self.hit("takes-any-action"):
                return
            raise Refused("bad_request", f"no action is called {action!r}")
        if not isinstance(arguments, dict):
            raise Refused("bad_request", "arguments must be an object")
        any_unit = self.hit("takes-any-unit")
        for name in arguments.keys() - spec["parameters"].keys():
            raise Refused("bad_request", f"no parameter is called {name!r}")
        for name, parameter in spec["parameters"].items():
            if name not in arguments:
                raise Refused("bad_request", f"the parameter {name!r} is missing")
            for number in amounts(parameter["kind"], arguments[name], parameter, any_unit):
                low, high = parameter.get("min"), parameter.get("max")
                if not any_unit and ((low and number < Decimal(low)) or (high and number > Decimal(high))):
                    raise Refused("out_of_range", f"{name} = {number} is not within {low} to {high}")

    def start(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        attempt, action, arguments = text(request, "attempt"), text(request, "action"), request.get("arguments", {})
        known = self.runs.get(attempt) if self.memory is not None else None
        if known is not None and not self.hit("two-starts"):
            if known.phase == "voided":
                if not self.hit("void-unheld"):
                    raise Refused("voided", f"{attempt} is voided")
            elif known.phase != "refused":
                same = (known.action, normal(known.arguments)) == (action, normal(arguments))
                if not same and not self.hit("other-arguments"):
                    raise Refused("bad_request", "the same id with other arguments")
                return known.answer(duplicate=True)
        run = Run(attempt, action, arguments, "running")
        try:
            self.check(action, arguments)
            if self.options.refuse:
                code, _, many = self.options.refuse.partition("*")
                if not many or int(many) > 0:
                    self.options.refuse = f"{code}*{int(many) - 1}" if many else code
                    raise Refused(code, "told to refuse", code in ("busy", "not_ready"))
            if (active := self.active()) is not None:
                raise Refused("busy", f"running {active.attempt}", True)
        except Refused as refusal:
            if refusal.code not in ("busy", "not_ready") and self.memory is not None:
                run.phase = "voided"
                self.runs[attempt] = run
                self.keep(run)
            raise
        run.link = link
        self.runs[attempt] = run
        self.keep(run)
        self.actuate(run)
        if self.hit("error-moves"):
            raise Refused("hardware", "something went wrong")
        return {"phase": "running"}

    def actuate(self, run: Run) -> None:
        """From here on something moves: the log says so first."""
        self.log.write(event="start", attempt=run.attempt, action=run.action, arguments=run.arguments)
        threading.Thread(target=self.move, args=(run,), daemon=True, name=f"run {run.attempt}").start()

    def move(self, run: Run) -> None:
        total = self.options.duration_ms / 1000
        spent, before = 0.0, time.monotonic()
        with self.gate:
            while spent < total and run.phase in ("running", "paused"):
                self.gate.wait(min(0.02, total - spent))
                now = time.monotonic()
                if run.phase == "running":
                    spent += now - before
                    run.fraction = spent / total
                before = now
                self.tell({"event": "progress", "attempt": run.attempt, "fraction": round(min(1.0, run.fraction), 3)})
                if run.wish == "now" or (run.wish == "safe_point" and spent >= total * 0.1):
                    pauses = self.options.safe_point_pauses and run.wish == "safe_point"
                    self.end(run, "paused" if pauses else "stopped")
                    run.wish = None
            if run.phase == "running":
                self.end(run, "failed" if self.options.outcome == "failed" else "done")

    def end(self, run: Run, phase: str) -> None:
        if phase == "done":
            run.result = self.result(run)
        if phase == "failed":
            run.error = {"code": "hardware", "message": "told to fail"}
        run.phase = phase
        self.keep(run)
        self.log.write(event=phase, attempt=run.attempt)
        self.tell({"event": "phase", "attempt": run.attempt, "phase": phase})
        self.gate.notify_all()

    def result(self, run: Run) -> dict[str, Any]:
        spec = next((a for a in self.actions if a["name"] == run.action), None)
        digest = int(hashlib.sha256(run.attempt.encode()).hexdigest(), 16)
        outputs = {}
        for name, output in (spec["outputs"] if spec else {}).items():
            unit = "ft.lbf" if self.hit("wrong-unit") else output.get("unit", "1")
            number = {"value": str(Decimal(digest % 4000 + 500) / 100), "unit": unit, "u": "0.35"}
            outputs[name] = {"array": {"unit": unit, "values": ["0", "1"]}} if output["kind"] == "array" else number
        if self.hit("missing-output"):
            outputs = {}
        data = b"displacement_mm,force_N\n0,0\n1,1200\n"
        if self.options.big_file:
            data = b"x" * self.options.big_file
        entry = {"name": "curve.csv", "media_type": "text/csv", "sha256": hashlib.sha256(data).hexdigest()}
        if self.hit("bad-hash"):
            entry["sha256"] = "0" * 64
        if len(data) > 512 * 1024:
            entry["path"] = f"{run.attempt}.csv"
            Path(self.options.shared, entry["path"]).write_bytes(data)
        else:
            entry["base64"] = base64.b64encode(data).decode()
        return {"outputs": outputs, "files": [entry], "calibration": self.options.calibration}

    def look(self, attempt: str) -> Run | None:
        run = self.runs.get(attempt)
        if run is not None and run.phase == "voided" and self.hit("void-forgets"):
            return None
        return run

    def status(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        attempt = text(request, "attempt")
        if self.hit("no-phase"):
            return {"fraction": 0.5}
        run = self.look(attempt)
        if run is None:
            if self.hit("moves-on-status"):
                self.log.write(event="start", attempt=attempt, action="status", arguments={})
                self.runs[attempt] = run = Run(attempt, "status", {}, "running")
                return run.answer()
            return {"phase": "never_seen"}
        return run.answer()

    def readback(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        if self.memory is None:
            return {"phase": "cannot_tell"}
        return self.status(request, link)

    def void(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        if not self.can_void:
            raise Refused("unsupported", "this instrument cannot void")
        attempt = text(request, "attempt")
        run = self.runs.get(attempt)
        if run is None:
            run = self.runs[attempt] = Run(attempt, "", {}, "voided")
            self.keep(run)
            self.log.write(event="void", attempt=attempt)
        return run.answer()

    def stop(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        attempt, mode = text(request, "attempt"), text(request, "mode")
        if mode not in ("safe_point", "now"):
            raise Refused("bad_request", f"no mode is called {mode!r}")
        run = self.runs.get(attempt)
        if run is None:
            if self.hit("moves-on-stop"):
                self.runs[attempt] = Run(attempt, "", {}, "stopped")
            return {"phase": "never_seen"}
        if run.phase == "paused":
            self.end(run, "stopped")
        while run.phase == "running":
            run.wish = mode
            self.gate.wait(5)
        return run.answer()

    def resume(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        run = self.runs.get(text(request, "attempt"))
        if run is None or run.phase != "paused":
            raise Refused("not_ready", "it is not paused")
        run.phase, run.link = "running", link
        self.log.write(event="resume", attempt=run.attempt)
        if not any(t.name == f"run {run.attempt}" for t in threading.enumerate()):
            threading.Thread(target=self.move, args=(run,), daemon=True, name=f"run {run.attempt}").start()
        return run.answer()

    def release(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        attempt = text(request, "attempt")
        run = self.runs.get(attempt)
        if run is None:
            return {"phase": "never_seen"}
        if run.phase in ("running", "paused"):
            raise Refused("busy", "it runs")
        run.result = None
        if self.hit("forgets-on-release"):
            del self.runs[attempt]
        else:
            self.keep(run)
        return run.answer()

    def subscribe(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        if self.options.no_subscribe:
            raise Refused("unsupported", "this instrument sends no events")
        link.subscribed = True
        return {}

    def x_fault(self, request: dict[str, Any], link: Link) -> dict[str, Any]:
        """Not of the protocol: a test plants or clears faults while it runs."""
        if request.get("clear"):
            self.faults.clear()
        for planted in request.get("plant", []):
            self.plant(planted)
        return {}

    # -- links

    def tell(self, event: dict[str, Any]) -> None:
        for link in list(self.links):
            if link.subscribed:
                link.send(event)

    def left(self, link: Link) -> None:
        with self.gate:
            self.links.discard(link)
            for run in self.runs.values():
                if run.link is link and run.phase == "running":
                    if self.options.on_disconnect == "abort":
                        self.end(run, "stopped")
                    elif self.options.on_disconnect == "pause":
                        run.phase = "paused"


OPS = ("describe", "health", "start", "status", "readback", "void", "stop", "resume", "release", "subscribe", "x-fault")


class Link:
    """One connection."""

    def __init__(self, witness: Witness, connection: socket.socket) -> None:
        self.witness, self.connection = witness, connection
        self.subscribed = False
        self.lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        self.raw(json.dumps(message).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        try:
            with self.lock:
                self.connection.sendall(data)
        except OSError:
            pass

    def hang_up(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def serve(self) -> None:
        with self.connection, self.connection.makefile("rb") as stream:
            self.witness.links.add(self)
            try:
                while line := stream.readline(LIMIT + 1):
                    if len(line) > LIMIT or not line.endswith(b"\n"):
                        break
                    self.take(line)
            except OSError:
                pass
            self.witness.left(self)

    def take(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            op = request["op"]
        except (ValueError, KeyError, TypeError):
            if not self.witness.hit("silent-bad-line"):
                self.send({"id": None, "ok": False, "error": {"code": "bad_request", "message": "not a request"}})
            return
        # In the order of the lines, but for a stop, which may wait for its safe point and holds nothing else up.
        if op == "stop":
            threading.Thread(target=self.answer, args=(request, op), daemon=True).start()
        else:
            self.answer(request, op)

    def answer(self, request: dict[str, Any], op: str) -> None:
        w = self.witness
        if op == "start" and w.hit("drop-before-start"):
            self.hang_up()
            return
        try:
            if op not in OPS or op in w.options.unsupported:
                raise Refused("unsupported", f"no op is called {op!r}")
            with w.gate:
                body = getattr(w, op.replace("-", "_"))(request, self)
            reply = {"id": request.get("id"), "ok": True, **body}
        except Refused as no:
            error = {"code": no.code, "message": no.message, "retryable": no.retryable}
            reply = {"id": request.get("id"), "ok": False, "error": error}
        if op != "x-fault":
            self.reply(op, reply)
        else:
            self.send(reply)

    def reply(self, op: str, reply: dict[str, Any]) -> None:
        w = self.witness
        if op == "start" and reply["ok"] and w.hit("dies-after-start"):
            os._exit(9)
        if op == "start" and reply["ok"] and w.hit("drop-after-start"):
            return self.hang_up()
        if w.hit("silent", op):
            return None
        if w.hit("drop", op):
            return self.hang_up()
        if w.hit("garbage", op):
            return self.raw(b"\x00\xff%% not json {{{\n")
        if w.hit("huge", op):
            return self.raw(b'{"id": 1, "ok": true, "padding": "' + b"x" * LIMIT + b'"}\n')
        if w.hit("half-line", op):
            data = json.dumps(reply).encode()
            self.raw(data[: len(data) // 2])
            return self.hang_up()
        wait_ms = w.options.delay_reply + (w.options.late_ms if w.hit("late", op) else 0)
        if wait_ms:
            timer = threading.Timer(wait_ms / 1000, self.send, [reply])
            timer.daemon = True
            timer.start()
            return None
        return self.send(reply)


def main(arguments: list[str] | None = None) -> int:
    """Listen until SIGTERM."""
    options = parse(sys.argv[1:] if arguments is None else arguments, __doc__)
    witness = Witness(options)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with socket.create_server(("127.0.0.1", options.port), reuse_port=False) as server:
        port = server.getsockname()[1]
        if options.port_file:
            ready = Path(options.port_file + ".new")
            ready.write_text(str(port))
            ready.replace(options.port_file)
        print(json.dumps({"listening": port}), flush=True)
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Link(witness, connection).serve, daemon=True).start()


if __name__ == "__main__":
    raise SystemExit(main())
