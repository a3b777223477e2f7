"""The witness's words: forms of values, refusals, its log, its command line. Standard library alone."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import threading
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

LIMIT = 1024 * 1024
FAULTS = {
    "drop-after-start": "moves, then closes the connection in place of the reply to start",
    "drop-before-start": "closes the connection on start, and nothing moves",
    "drop": "closes the connection in place of a reply",
    "garbage": "answers a line that is not JSON",
    "half-line": "answers half a line and closes the connection",
    "silent": "never answers",
    "late": "answers after --late-ms (default 3000)",
    "huge": "answers a line of more than 1 MiB",
    "two-starts": "moves again for an id that it has seen, against its word that it remembers",
    "void-unheld": "says voided and starts the id all the same",
    "void-forgets": "says voided and answers never_seen afterwards",
    "moves-on-status": "moves when it is asked for the status of an unknown id",
    "moves-on-stop": "leaves a trace of an id that it was only asked to stop",
    "wrong-unit": "gives its outputs in another unit than it described",
    "missing-output": "leaves its outputs out of the result",
    "error-moves": "answers start with an error and moves all the same",
    "other-arguments": "takes a second start with other arguments for the first",
    "takes-any-unit": "takes arguments in units that it did not describe",
    "takes-any-action": "takes actions that it did not describe",
    "forgets-on-release": "forgets the id with the result",
    "silent-bad-line": "says nothing about a line that is not JSON",
    "no-phase": "answers status without a phase",
    "bad-hash": "gives a file whose sha256 is wrong",
    "dies-after-start": "moves, then the process dies",
}


class Refused(Exception):
    """An error reply."""

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


class Log:
    """A file of JSON lines; each is on the disk before the call returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  it lives as long as the process

    def write(self, **line: Any) -> None:
        with self._lock:
            stamped = {"at_ms": time.time_ns() // 1_000_000, "pid": os.getpid(), **line}
            self._file.write(json.dumps(stamped).encode() + b"\n")
            os.fsync(self._file.fileno())


def crush_action(expected_ms: int, max_ms: int) -> dict[str, Any]:
    """The default action: the same words as the compression press of the demo."""
    quantity = {"kind": "quantity"}
    return {
        "name": "crush",
        "parameters": {
            "n": {"kind": "int", "min": "6", "max": "12"},
            "theta": {**quantity, "unit": "deg", "min": "0", "max": "200"},
            "r": {**quantity, "unit": "mm", "min": "1.5", "max": "2.5"},
            "t": {**quantity, "unit": "mm", "min": "0.7", "max": "1.4"},
        },
        "outputs": {"toughness": {**quantity, "unit": "J"}},
        "duration": {"expected_ms": expected_ms, "max_ms": max_ms},
    }


def normal(value: Any) -> Any:
    """Numbers that are written as text compare as numbers: 12.50 is 12.5."""
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [normal(v) for v in value]
    if isinstance(value, str):
        try:
            return Decimal(value)
        except InvalidOperation:
            return value
    return value


def amounts(kind: str, value: Any, spec: dict[str, Any], any_unit: bool) -> list[Decimal]:
    """The numbers in a value, to compare with min and max. Raises Refused where form or unit is wrong."""
    if kind == "text":
        if not isinstance(value, str):
            raise Refused("bad_request", "a text is expected")
        return []
    if not isinstance(value, dict):
        raise Refused("bad_request", f"a value of kind {kind} is expected")
    try:
        if kind == "int":
            return [Decimal(int(value["int"]))]
        if kind == "enum":
            if value["enum"] not in spec.get("values", []):
                raise Refused("bad_request", f"the word {value['enum']!r} is not listed")
            return []
        if kind == "sample":
            return [] if value["sample"] else [Decimal("NaN")]
        return measured(kind, value, spec if not any_unit else {})
    except (KeyError, TypeError, ValueError, InvalidOperation) as problem:
        raise Refused("bad_request", f"not a value of kind {kind}: {problem!r}") from problem


def measured(kind: str, value: dict[str, Any], spec: dict[str, Any]) -> list[Decimal]:
    """The numbers of a value that carries a unit; KeyError, TypeError or InvalidOperation where it is malformed."""
    holder: dict[str, Any] = value[kind] if kind in ("array", "profile") else value
    if holder["unit"] != spec.get("unit", holder["unit"]):
        raise Refused("bad_request", f"unit {holder['unit']!r}, described is {spec.get('unit')!r}")
    if kind == "quantity":
        return [Decimal(holder["value"])]
    if kind == "array":
        return [Decimal(v) for v in holder["values"]]
    times = [p["t_ms"] for p in holder["points"]]
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise Refused("bad_request", "t_ms must rise strictly")
    return [Decimal(p["value"]) for p in holder["points"]]


def text(request: dict[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value or len(value) > 64:
        raise Refused("bad_request", f"{name} must be text of 1 to 64 characters")
    return value


def parse(arguments: list[str], about: str | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--log", required=True, help="file of JSON lines; every actuation, synced")
    p.add_argument("--state", help="file of what it remembers (default: LOG.memory)")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--port-file", help="the port is written here once it listens")
    p.add_argument("--name", default="witness")
    p.add_argument("--actions", help="JSON file: the `actions` of describe in place of `crush`")
    p.add_argument("--no-memory", action="store_true", help="remembers no attempts, hence cannot void either")
    p.add_argument("--no-void", action="store_true")
    p.add_argument("--no-subscribe", action="store_true")
    p.add_argument("--unsupported", action="append", default=[], help="an op that answers `unsupported`")
    p.add_argument("--duration-ms", type=float, default=200, help="wall time of a run")
    p.add_argument("--expected-ms", type=int, default=480_000, help="lab time that describe names")
    p.add_argument("--max-ms", type=int, default=720_000)
    p.add_argument("--time-scale", default="1")
    p.add_argument("--real", action="store_true", help="describe says simulated: false")
    p.add_argument("--outcome", choices=["done", "failed"], default="done")
    p.add_argument("--refuse", help="CODE or CODE*TIMES: answer start with this error")
    p.add_argument("--on-disconnect", choices=["continue", "pause", "abort"], default="continue")
    p.add_argument("--abort-on-disconnect", dest="on_disconnect", action="store_const", const="abort")
    p.add_argument("--safe-point-pauses", action="store_true")
    p.add_argument("--calibration")
    p.add_argument("--big-file", type=int, default=0, help="bytes of the result's file")
    p.add_argument("--shared", default=".", help="folder for files that are too big for a line")
    p.add_argument("--delay-reply", type=float, default=0, help="ms before every reply")
    p.add_argument("--late-ms", type=float, default=3000)
    p.add_argument("--fault", action="append", default=[], help="NAME[@OP][*TIMES], see FAULTS")
    for name in ("drop-after-start", "garbage", "half-line"):
        p.add_argument(f"--{name}", dest="fault", action="append_const", const=name, help=FAULTS[name])
    return p.parse_args(arguments)
