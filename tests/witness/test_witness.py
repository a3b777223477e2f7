"""The witness keeps its own contract: what its log says can be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from witness.fixtures import CRUSH, WitnessProcess, start_witness

__all__ = ["start_witness"]
Start = Callable[..., WitnessProcess]


def run(w: WitnessProcess, attempt: str, **more: Any) -> dict[str, Any]:
    return w.ask(op="start", attempt=attempt, action="crush", arguments=CRUSH | more)


def ended(w: WitnessProcess, attempt: str) -> dict[str, Any]:
    for _ in range(400):
        status = w.ask(op="status", attempt=attempt)
        if status["phase"] != "running":
            return status
        time.sleep(0.01)
    raise AssertionError(f"{attempt} still runs")


def test_it_moves_once_for_an_id_and_says_so_in_its_log(start_witness: Start) -> None:
    w = start_witness("--duration-ms", "50")
    assert run(w, "att_1") == {"id": 1, "ok": True, "phase": "running"}
    assert run(w, "att_1")["duplicate"] is True
    assert ended(w, "att_1")["result"]["outputs"]["toughness"]["unit"] == "J"
    assert run(w, "att_1", n={"int": 6})["error"]["code"] == "bad_request"
    assert [e["attempt"] for e in w.starts()] == ["att_1"]


def test_without_a_memory_it_moves_again(start_witness: Start) -> None:
    w = start_witness("--no-memory", "--duration-ms", "20")
    for _ in range(2):
        assert run(w, "att_1")["ok"]
        ended(w, "att_1")
    assert len(w.starts("att_1")) == 2
    assert w.ask(op="readback", attempt="att_1")["phase"] == "cannot_tell"
    assert w.ask(op="void", attempt="att_2")["error"]["code"] == "unsupported"


def test_power_taken_in_mid_run_is_a_failure_after_the_restart(start_witness: Start) -> None:
    w = start_witness("--duration-ms", "60000")
    run(w, "att_1")
    w.ask(op="void", attempt="att_2")
    w.restart()
    assert w.ask(op="readback", attempt="att_1")["error"]["code"] == "hardware"
    assert run(w, "att_2")["error"]["code"] == "voided"
    assert len(w.starts()) == 1


def test_an_aborting_instrument_stops_when_its_link_drops(start_witness: Start) -> None:
    w = start_witness("--abort-on-disconnect", "--duration-ms", "60000")
    run(w, "att_1")  # `ask` hangs up after the reply
    assert ended(w, "att_1")["phase"] == "stopped"
