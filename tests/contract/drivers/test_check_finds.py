"""`check` finds what is planted: one faulty instrument for each rule, and the rule that must say so."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from labcommons.node.cli import main
from support.tree import REPO
from witness.fixtures import witness_process

PLANTED = {
    "two-starts": "duplicate start",
    "other-arguments": "other arguments",
    "void-forgets": "void",
    "void-unheld": "void",
    "moves-on-status": "never seen",
    "moves-on-stop": "stop of nothing",
    "wrong-unit": "run",
    "missing-output": "run",
    "bad-hash": "run",
    "error-moves": "refusals|run|void",
    "takes-any-unit": "refusals",
    "takes-any-action": "refusals",
    "forgets-on-release": "release",
    "silent-bad-line": "bad line",
    "no-phase": "never seen",
    "half-line@status": "never seen",
    "half-line@describe": "describe",
    "garbage@health": "health",
    "garbage@start": "run",
    "huge@status": "never seen",
    "drop@stop": "stop of nothing",
    "drop-after-start": "run",
    "silent@status": "never seen",
}


@pytest.mark.parametrize("fault", PLANTED)
def test_it_finds_what_is_planted(fault: str, tmp_path: Path) -> None:
    with witness_process(tmp_path, "--duration-ms", "150", "--fault", fault) as witness:
        arguments = ["check", "--driver", "line", "--address", witness.address, "--json", "--reply-timeout", "0.5"]
        result = CliRunner().invoke(main, [*arguments, "--patience", "5"])
    document = json.loads(result.stdout)
    broken = {c["check"]: c for c in document["checks"] if c["outcome"] == "fail"}
    assert result.exit_code == 1
    assert document["kept"] is False
    assert broken.keys() & set(PLANTED[fault].split("|")), sorted(broken)
    assert all(c["words"] and c["detail"] and c["remedy"] for c in broken.values())


@pytest.mark.parametrize("flags", [(), ("--no-void",), ("--no-memory", "--no-subscribe"), ("--abort-on-disconnect",)])
def test_it_finds_nothing_where_nothing_is(flags: tuple[str, ...], tmp_path: Path) -> None:
    with witness_process(tmp_path, "--duration-ms", "300", *flags) as witness:
        result = CliRunner().invoke(main, ["check", "--address", witness.address])
    assert result.exit_code == 0, result.output
    assert "the contract is kept" in result.output


def test_no_motion_moves_nothing(tmp_path: Path) -> None:
    with witness_process(tmp_path) as witness:
        result = CliRunner().invoke(main, ["check", "--address", witness.address, "--no-motion", "--json"])
        assert witness.starts() == []
    outcomes = {c["check"]: c["outcome"] for c in json.loads(result.stdout)["checks"]}
    assert (outcomes["void"], outcomes["run"]) == ("pass", "n/a")


def test_the_instrument_of_the_published_page_keeps_the_contract(tmp_path: Path) -> None:
    page = (REPO / "docs" / "line-protocol.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    program = tmp_path / "timer.py"
    program.write_text(blocks[0], encoding="utf-8")
    with witness_process(tmp_path / "w") as other:
        port = other.port  # free again once the witness is gone
    process = subprocess.Popen([sys.executable, "-S", str(program), str(port)])
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        arguments = ["check", "--address", f"127.0.0.1:{port}", "--json", "--arg", "time=0.5 s"]
        result = CliRunner().invoke(main, arguments)
    finally:
        process.kill()
        process.wait()
    document = json.loads(result.stdout)
    assert document["kept"], [c for c in document["checks"] if c["outcome"] == "fail"]
    assert sum(c["outcome"] == "pass" for c in document["checks"]) >= 12
