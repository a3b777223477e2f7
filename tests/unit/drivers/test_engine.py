"""The simulated instrument keeps the line protocol where only it can be looked at from within."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcommons.node.drivers.contract import Event, InstrumentRefused, Status
from labcommons.node.simulated.engine import SimulatedInstrument
from labcommons.node.simulated.models import open_model
from witness.fixtures import CRUSH


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def instrument(folder: Path, *, remembers: bool = True, scale: str = "1", **more: Any) -> SimulatedInstrument:
    memory = folder / "memory" if remembers else None
    return SimulatedInstrument(open_model("crossed_barrel", 7, "north"), memory, time_scale=scale, **more)


@pytest.fixture
def slow(folder: Path) -> Iterator[SimulatedInstrument]:
    found = instrument(folder, scale="100", on_disconnect="pause", calibration="cal-1")
    yield found
    found.close()
    found.close()


def until(found: SimulatedInstrument, attempt: str, *phases: str) -> Status:
    deadline = time.monotonic() + 10
    while (status := found.status(attempt)).phase not in phases:
        assert time.monotonic() < deadline, status
        time.sleep(0.005)
    return status


def test_it_takes_its_lab_time_divided_by_the_scale(folder: Path) -> None:
    quick = instrument(folder, scale="2000")
    before = time.monotonic()
    quick.start("att_1", "crush", CRUSH)
    until(quick, "att_1", "done")
    took = time.monotonic() - before
    quick.close()
    assert 0.2 < took < 2  # about 480 s of lab time


def test_pause_and_resume_lose_no_time(slow: SimulatedInstrument) -> None:
    slow.start("att_1", "crush", CRUSH)
    slow.disconnected(["att_1", "att_unknown"])
    assert slow.health().state == "paused"
    time.sleep(0.1)
    fraction = slow.status("att_1").fraction
    time.sleep(0.1)
    assert slow.status("att_1").fraction == fraction
    assert slow.resume("att_1").phase == "running"
    assert slow.health().state == "busy"
    assert slow.stop("att_1", "now").phase == "stopped"


def test_a_paused_run_can_be_stopped(slow: SimulatedInstrument) -> None:
    slow.start("att_1", "crush", CRUSH)
    slow.disconnected(["att_1"])
    assert slow.stop("att_1", "safe_point").phase == "stopped"
    slow.disconnected(["att_1"])
    assert slow.status("att_1").phase == "stopped"


def test_a_stop_at_the_safe_point_comes_at_a_tenth(slow: SimulatedInstrument) -> None:
    heard: list[Event] = []
    slow.subscribe(heard.append)
    slow.start("att_1", "crush", CRUSH)
    stopped = slow.stop("att_1", "safe_point")
    assert stopped.phase == "stopped"
    assert stopped.result is not None
    assert stopped.result["calibration"] == "cal-1"
    assert stopped.result["outputs"] == {}
    assert [(e.kind, e.fraction) for e in heard] == [("progress", 0.1), ("phase", None)]
    slow.unsubscribe(heard.append)


def test_an_aborting_instrument_stops_when_its_link_drops(folder: Path) -> None:
    found = instrument(folder, on_disconnect="abort")
    found.start("att_1", "crush", CRUSH)
    found.disconnected(["att_1"])
    assert until(found, "att_1", "stopped").phase == "stopped"
    found.close()


def test_what_it_remembers_outlives_it(folder: Path) -> None:
    first = instrument(folder, scale="100000")
    first.start("att_done", "crush", CRUSH)
    done = until(first, "att_done", "done")
    first.void("att_void")
    with pytest.raises(InstrumentRefused):
        first.start("att_bad", "crush", {})
    first.close()
    second = instrument(folder)
    assert second.status("att_done") == second.readback("att_done") == done
    assert second.void("att_done").phase == "done"
    assert second.void("att_void").phase == "voided"
    for barred in ("att_void", "att_bad"):
        with pytest.raises(InstrumentRefused) as refused:
            second.start(barred, "crush", CRUSH)
        assert refused.value.code == "voided"
    assert second.start("att_done", "crush", CRUSH).duplicate
    with pytest.raises(InstrumentRefused, match="other arguments"):
        second.start("att_done", "crush", CRUSH | {"n": {"int": 6}})
    assert second.release("att_done").result is None
    assert second.status("att_done").result is None
    second.close()


def test_the_drift_goes_on_after_a_restart(folder: Path) -> None:
    first = instrument(folder, scale="100000000")
    for i in range(3):
        first.start(f"att_{i}", "crush", CRUSH)
        until(first, f"att_{i}", "done")
    first.close()
    second = instrument(folder)
    assert second._made == 3
    second.close()


def test_without_a_memory_it_moves_again_and_cannot_void(folder: Path) -> None:
    found = instrument(folder, remembers=False, scale="100000")
    for _ in range(2):
        assert found.start("att_1", "crush", CRUSH) == Status("running")
        until(found, "att_1", "done")
    assert found.release("att_1").result is None
    assert found.readback("att_1").phase == "cannot_tell"
    assert found.release("att_2").phase == "never_seen"
    with pytest.raises(InstrumentRefused, match="cannot void"):
        found.void("att_1")
    found.close()
    assert list(folder.iterdir()) == []


def test_it_refuses_what_is_no_id_and_no_mode_and_what_comes_too_late(slow: SimulatedInstrument) -> None:
    for bad in ("", "a" * 65, None, 7):
        with pytest.raises(InstrumentRefused, match="1 to 64"):
            slow.status(bad)  # type: ignore[arg-type]
    with pytest.raises(InstrumentRefused, match="no mode is called"):
        slow.stop("att_1", "softly")  # type: ignore[arg-type]
    with pytest.raises(InstrumentRefused, match="not paused"):
        slow.resume("att_1")
    slow.start("att_1", "crush", CRUSH)
    with pytest.raises(InstrumentRefused, match="runs"):
        slow.release("att_1")
    slow.close()
    with pytest.raises(InstrumentRefused, match="switched off"):
        slow.start("att_2", "crush", CRUSH)


def test_closing_ends_a_stop_that_waits(folder: Path) -> None:
    found = instrument(folder)
    found.start("att_1", "crush", CRUSH)
    waiting = threading.Thread(target=found.stop, args=("att_1", "safe_point"))
    waiting.start()
    time.sleep(0.05)
    found.close()
    waiting.join(5)
    assert not waiting.is_alive()
