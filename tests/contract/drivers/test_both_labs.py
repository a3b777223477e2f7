"""One suite for the drivers that ship: the simulated instrument in process, the same over TCP, and the witness."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from labcommons.node.checks import Finding, Probe, run_checks
from labcommons.node.checks.arguments import middle
from labcommons.node.drivers import open_driver
from labcommons.node.drivers.contract import Driver, InstrumentLost, InstrumentRefused, Status
from labcommons.node.host import InstrumentHost
from witness.fixtures import CRUSH, witness_process

SCALE = "1000"
"""A run of eight minutes takes half a second."""


@contextmanager
def line_server(folder: Path, *flags: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A simulated lab as a process of its own; (process, port)."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "labcommons.node.simulated.line_server", "--model", "crossed_barrel"]
    command += ["--seed", "7", "--lab", "south", "--port", str(port), "--port-file", str(port_file), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert process.poll() is None, "the line server ended"
            assert time.monotonic() < deadline, "the line server did not start"
            time.sleep(0.02)
        yield process, int(port_file.read_text())
    finally:
        if process.poll() is None:
            process.terminate()
            assert process.wait(20) == 0


Kind = Callable[[ExitStack, Path, bool], tuple[str, dict[str, Any]]]


def in_process(stack: ExitStack, folder: Path, remembers: bool) -> tuple[str, dict[str, Any]]:
    options = {"model": "crossed_barrel", "seed": 7, "lab": "north", "time_scale": SCALE, "remembers": remembers}
    return "simulated", options | {"memory": str(folder / "memory")}


def over_tcp(stack: ExitStack, folder: Path, remembers: bool) -> tuple[str, dict[str, Any]]:
    flags = ["--state", str(folder / "state")] if remembers else ["--no-memory"]
    _, port = stack.enter_context(line_server(folder, "--time-scale", SCALE, *flags))
    return "line", {"address": f"127.0.0.1:{port}"}


def the_witness(stack: ExitStack, folder: Path, remembers: bool) -> tuple[str, dict[str, Any]]:
    flags = [] if remembers else ["--no-memory"]
    witness = stack.enter_context(witness_process(folder, "--duration-ms", "300", *flags))
    return "line", {"address": witness.address}


Opened = tuple[str, dict[str, Any]]


@pytest.fixture(params=[in_process, over_tcp, the_witness], ids=["simulated", "line", "witness"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(params=[True, False], ids=["remembers", "forgets"])
def opened(request: pytest.FixtureRequest, kind: Kind, tmp_path: Path) -> Iterator[Opened]:
    with ExitStack() as stack:
        yield kind(stack, tmp_path, request.param)


def checked(opened: Opened) -> list[Finding]:
    name, options = opened
    address = None
    if name == "line":
        host, port = options["address"].split(":")
        address = (host, int(port))
    numbers = itertools.count()
    probe = Probe(lambda: open_driver(name, options), address, lambda: f"check-{next(numbers)}")

    def prepare(found: Probe) -> None:
        found.arguments = middle(found.action, "smp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")

    try:
        return list(run_checks(probe, prepare))
    finally:
        probe.close()


def test_each_keeps_every_rule_that_speaks_of_it(opened: Opened) -> None:
    findings = checked(opened)
    assert [f for f in findings if f.outcome == "fail"] == []
    assert sum(f.outcome == "pass" for f in findings) >= 11


@pytest.fixture
def driver(opened: Opened) -> Iterator[Driver]:
    found = open_driver(*opened)
    yield found
    found.close()


def ended(driver: Driver, attempt: str) -> Status:
    for _ in range(500):
        status = driver.status(attempt)
        if status.phase != "running":
            return status
        time.sleep(0.02)
    raise AssertionError(f"{attempt} still runs")


def test_a_run_gives_toughness_with_its_uncertainty_and_a_curve(driver: Driver) -> None:
    driver.start("att_1", "crush", CRUSH)
    status = ended(driver, "att_1")
    assert status.phase == "done"
    assert status.result is not None
    toughness = status.result["outputs"]["toughness"]
    assert toughness["unit"] == "J"
    assert float(toughness["u"]) > 0
    assert status.result["files"][0]["media_type"] == "text/csv"


def test_a_stop_ends_it_and_says_what_there_is(driver: Driver) -> None:
    driver.start("att_1", "crush", CRUSH)
    assert driver.stop("att_1", "now").phase == "stopped"
    assert driver.health().state == "idle"


def test_another_unit_is_refused_by_the_instrument_itself(driver: Driver) -> None:
    with pytest.raises(InstrumentRefused) as refused:
        driver.start("att_1", "crush", CRUSH | {"r": {"value": "0.2", "unit": "cm"}})
    assert refused.value.code == "bad_request"


@pytest.fixture
def host(opened: Opened, tmp_path: Path) -> Iterator[InstrumentHost]:
    found = InstrumentHost(*opened, tmp_path / "host")
    yield found
    found.close()


def test_the_host_converts_units_and_starts_an_id_once(host: InstrumentHost) -> None:
    cm = CRUSH | {"r": {"value": "0.2", "unit": "cm"}, "theta": {"value": "75.0", "unit": "deg"}}
    assert host.start("att_1", "crush", cm) == {"phase": "running"}
    assert host.start("att_1", "crush", CRUSH)["duplicate"] is True
    done = host.wait("att_1", 10)
    assert done["phase"] == "done"
    assert host.start("att_1", "crush", cm)["duplicate"] is True
    host.release("att_1")
    assert host.status("att_1") == {"phase": "done"}
    assert host.start("att_1", "crush", CRUSH) == {"phase": "done", "duplicate": True}


@pytest.mark.slow
@pytest.mark.parametrize("memory", [True, False], ids=["remembers", "forgets"])
def test_power_taken_from_the_tcp_lab_in_mid_run(tmp_path: Path, memory: bool) -> None:
    flags = ["--state", str(tmp_path / "state")] if memory else ["--no-memory"]
    with line_server(tmp_path, *flags) as (first, port):
        host = InstrumentHost("line", {"address": f"127.0.0.1:{port}", "connect_timeout_s": 1}, tmp_path / "host")
        host.start("att_1", "crush", CRUSH)
        first.kill()
        first.wait()
        with pytest.raises(InstrumentLost):
            host.wait("att_1", 0.2)
        with line_server(tmp_path, *flags, port=port):
            found = host.wait("att_1", 10)
        host.close()
    if memory:
        assert (found["phase"], found["error"]["code"]) == ("failed", "hardware")
    else:
        assert found["phase"] == "never_seen"


def test_power_taken_from_the_lab_in_process_in_mid_run(tmp_path: Path) -> None:
    options = {"model": "crossed_barrel", "memory": str(tmp_path / "instrument")}
    before = InstrumentHost("simulated", options, tmp_path / "host")
    before.start("att_1", "crush", CRUSH)
    before.close()
    after = InstrumentHost("simulated", options, tmp_path / "host")
    assert after.readback("att_1")["error"]["code"] == "hardware"
    assert after.start("att_1", "crush", CRUSH)["duplicate"] is True
    after.close()
