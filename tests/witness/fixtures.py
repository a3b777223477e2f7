"""The witness as a process, for tests.

Use `with witness_process(tmp_path, "--no-void") as witness: ...`, or the fixture `start_witness`
(import it into the test module or its conftest).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("witness.py")

CRUSH: dict[str, Any] = {
    "n": {"int": 8},
    "theta": {"value": "75", "unit": "deg"},
    "r": {"value": "2.0", "unit": "mm"},
    "t": {"value": "1.05", "unit": "mm"},
}
"""Arguments that its default action takes."""


class WitnessProcess:
    """A running witness: its address, its log, and the knobs for its faults."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.flags = flags
        self.log = folder / "witness.jsonl"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port of the socket."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process now running."""
        assert self.process is not None, "the witness is not running"
        return self.process.pid

    def start(self) -> None:
        """Start it, at the same port as before if it ran already, and wait until it listens."""
        port_file = self.folder / "witness.port"
        port_file.unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-S", str(PROGRAM), "--log", str(self.log), "--port-file", str(port_file)]
        command += ["--port", str(self.port), "--shared", str(self.folder), *self.flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not port_file.exists():
            assert self.process.poll() is None, f"the witness ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "the witness did not start in 20 s"
            time.sleep(0.01)
        self.port = int(port_file.read_text())

    def kill(self) -> None:
        """Take its power away (SIGKILL). What it synced stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def restart(self) -> None:
        """Power off, power on, at the same port and with the same memory."""
        self.kill()
        self.start()

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """What its own log says, oldest first."""
        lines = [json.loads(line) for line in self.log.read_bytes().splitlines()]
        return [line for line in lines if not kinds or line["event"] in kinds]

    def starts(self, attempt: str | None = None) -> list[dict[str, Any]]:
        """Every actuation, or those of one attempt: the ground truth."""
        return [e for e in self.events("start") if attempt is None or e["attempt"] == attempt]

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request on a connection of its own, past the system under test."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link, link.makefile("rb") as stream:
            link.sendall(json.dumps({"id": 1, **request}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(stream.readline())
            return answer

    def plant(self, *faults: str, clear: bool = False) -> None:
        """Plant faults (`NAME[@OP][*TIMES]`) while it runs; `clear` takes the old ones out first."""
        assert self.ask(op="x-fault", plant=list(faults), clear=clear)["ok"]


@contextlib.contextmanager
def witness_process(folder: Path, *flags: str) -> Iterator[WitnessProcess]:
    """A witness that is gone at the end of the block."""
    witness = WitnessProcess(folder, *flags)
    try:
        witness.start()
        yield witness
    finally:
        witness.kill()


@pytest.fixture
def start_witness(tmp_path: Path) -> Iterator[Callable[..., WitnessProcess]]:
    """`start_witness(*flags, name="witness")`: as many as a test wants; all are gone at its end."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, name: str = "witness") -> WitnessProcess:
            return stack.enter_context(witness_process(tmp_path / name, *flags))

        yield start
