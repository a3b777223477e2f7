"""The host: starts an id once, remembers on disk before it sends, waits without hanging, and believes no silence."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labcommons.node.drivers import UnknownDriver
from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Status
from labcommons.node.host import InstrumentHost
from witness.fixtures import CRUSH, WitnessProcess, start_witness

__all__ = ["start_witness"]
Start = Callable[..., WitnessProcess]


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[..., InstrumentHost]]:
    with contextlib.ExitStack() as stack:

        def make(witness: WitnessProcess, memory: str = "host", **options: Any) -> InstrumentHost:
            full = {"address": witness.address, "reply_timeout_s": 1, "connect_timeout_s": 0.5, **options}
            host = InstrumentHost("line", full, tmp_path / memory)
            stack.callback(host.close)
            return host

        yield make


Attach = Callable[..., InstrumentHost]


def test_the_constructor_moves_nothing_and_dials_nobody(tmp_path: Path) -> None:
    host = InstrumentHost("line", {"address": "127.0.0.1:9"}, tmp_path / "host")
    host.close()
    host.close()


def test_an_unknown_driver_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownDriver, match="line, simulated"):
        InstrumentHost("telepathy", {}, tmp_path / "host")
    with pytest.raises(UnknownDriver, match="cannot be imported"):
        InstrumentHost("no.such.module:Driver", {}, tmp_path / "host")


def test_its_memory_is_synced(attach: Attach, start_witness: Start, tmp_path: Path) -> None:
    attach(start_witness()).start("att_1", "crush", CRUSH)
    rows = sqlite3.connect(tmp_path / "host")
    assert rows.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert rows.execute("SELECT state, starts FROM attempts").fetchall() == [("SENT", 1)]
    rows.close()


def test_a_lost_start_is_never_sent_twice_where_nothing_is_remembered(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--no-memory", "--duration-ms", "60000", "--fault", "drop-before-start*1")
    host = attach(witness)
    with pytest.raises(InstrumentLost):
        host.start("att_1", "crush", CRUSH)
    with pytest.raises(InstrumentLost, match="remembers no ids") as lost:
        host.start("att_1", "crush", CRUSH)
    assert lost.value.sent
    assert witness.starts() == []


def test_a_lost_reply_is_made_good_by_what_the_instrument_still_knows(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--no-memory", "--duration-ms", "60000", "--fault", "drop-after-start*1")
    host = attach(witness)
    with pytest.raises(InstrumentLost):
        host.start("att_1", "crush", CRUSH)
    again = host.start("att_1", "crush", CRUSH)
    assert (again["phase"], again["duplicate"]) == ("running", True)
    assert len(witness.starts()) == 1


def test_a_start_that_could_not_leave_may_be_sent_later(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--no-memory", "--duration-ms", "60000")
    host = attach(witness)
    host.describe()
    witness.kill()
    for _ in range(2):
        with contextlib.suppress(InstrumentLost):
            host.health()  # the line is known to be down after this
    with pytest.raises(InstrumentLost) as lost:
        host.start("att_1", "crush", CRUSH)
    assert not lost.value.sent
    witness.start()
    assert host.start("att_1", "crush", CRUSH) == {"phase": "running"}
    assert len(witness.starts()) == 1


def test_where_ids_are_remembered_a_lost_start_is_sent_again_and_moves_once(
    attach: Attach, start_witness: Start
) -> None:
    witness = start_witness("--duration-ms", "60000", "--fault", "drop-after-start*1")
    host = attach(witness)
    with pytest.raises(InstrumentLost):
        host.start("att_1", "crush", CRUSH)
    assert host.start("att_1", "crush", CRUSH)["duplicate"] is True
    assert len(witness.starts()) == 1


def test_a_refusal_of_the_second_start_is_no_proof_for_the_first(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--fault", "drop-before-start*1", "--refuse", "busy*1")
    host = attach(witness)
    with pytest.raises(InstrumentLost):
        host.start("att_1", "crush", CRUSH)
    with pytest.raises(InstrumentLost, match="an earlier start of it got no answer"):
        host.start("att_1", "crush", CRUSH)


def test_a_refusal_is_repeated_without_asking_where_nothing_is_remembered(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--no-memory", "--refuse", "interlock*1")
    host = attach(witness)
    for _ in range(2):
        with pytest.raises(InstrumentRefused) as refused:
            host.start("att_1", "crush", CRUSH)
        assert refused.value.code == "interlock"
    assert host.start("att_2", "crush", CRUSH)["phase"] == "running"
    assert [e["attempt"] for e in witness.starts()] == ["att_2"]


def test_where_ids_are_remembered_busy_may_be_tried_again(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--refuse", "busy*1")
    host = attach(witness)
    with pytest.raises(InstrumentRefused):
        host.start("att_1", "crush", CRUSH)
    assert host.start("att_1", "crush", CRUSH)["phase"] == "running"


def test_what_is_wrong_with_arguments_is_said_before_anything_goes_out(attach: Attach, start_witness: Start) -> None:
    witness = start_witness()
    host = attach(witness)
    for bad, code in (
        ({"theta": {"value": "400", "unit": "deg"}}, "out_of_range"),
        ({"theta": {"value": "4", "unit": "kg"}}, "bad_request"),
        ({"theta": 40}, "bad_request"),
        ({"n": {"int": 13}}, "out_of_range"),
        ({"m": {"int": 1}}, "bad_request"),
    ):
        with pytest.raises(InstrumentRefused) as refused:
            host.start("att_1", "crush", CRUSH | bad)
        assert refused.value.code == code
    with pytest.raises(InstrumentRefused, match="no action is called 'melt'"):
        host.start("att_1", "melt", {})
    with pytest.raises(InstrumentRefused, match="1 to 64 characters"):
        host.start("a" * 65, "crush", CRUSH)
    assert host.start("att_1", "crush", CRUSH)["phase"] == "running"
    with pytest.raises(InstrumentRefused, match="other arguments"):
        host.start("att_1", "crush", CRUSH | {"n": {"int": 6}})


def test_a_sample_that_the_bench_cannot_hold_is_left_out(attach: Attach, start_witness: Start) -> None:
    witness = start_witness()
    attach(witness).start("att_1", "crush", CRUSH | {"into": {"sample": "smp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"}})
    assert "into" not in witness.starts()[0]["arguments"]


def test_a_result_in_another_unit_is_failed_with_its_data(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--duration-ms", "10", "--fault", "wrong-unit")
    host = attach(witness)
    host.start("att_1", "crush", CRUSH)
    found = host.wait("att_1", 5)
    assert (found["phase"], found["error"]["code"], found["flags"]) == ("failed", "wrong_unit", ["wrong_unit"])
    assert found["result"]["outputs"]["toughness"]["unit"] == "ft.lbf"
    assert host.status("att_1") == found


def test_an_outcome_once_known_outlives_instrument_and_host(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--no-memory", "--duration-ms", "10")
    first = attach(witness)
    first.start("att_1", "crush", CRUSH)
    done = first.wait("att_1", 5)
    first.close()
    witness.kill()
    second = attach(witness)
    assert second.status("att_1") == second.readback("att_1") == done
    assert second.stop("att_1", "now") == second.void("att_1") == done


def test_a_new_host_reattaches_to_a_run(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--duration-ms", "600")
    first = attach(witness)
    first.start("att_1", "crush", CRUSH)
    first.close()
    second = attach(witness)
    assert second.status("att_1")["phase"] == "running"
    assert second.wait("att_1", 5)["phase"] == "done"
    assert len(witness.starts()) == 1


def test_void_bars_an_id_here_and_there(attach: Attach, start_witness: Start) -> None:
    witness = start_witness()
    host = attach(witness)
    assert host.void("att_1") == {"phase": "voided"}
    with pytest.raises(InstrumentRefused, match="voided"):
        host.start("att_1", "crush", CRUSH)
    assert witness.ask(op="status", attempt="att_1")["phase"] == "voided"


def test_void_is_refused_where_it_cannot(attach: Attach, start_witness: Start) -> None:
    with pytest.raises(InstrumentRefused) as refused:
        attach(start_witness("--no-void")).void("att_1")
    assert refused.value.code == "unsupported"


def test_readback_without_support_cannot_tell(attach: Attach, start_witness: Start) -> None:
    host = attach(start_witness("--unsupported", "readback", "--unsupported", "release", "--duration-ms", "10"))
    assert host.readback("att_1") == {"phase": "cannot_tell"}
    host.start("att_1", "crush", CRUSH)
    host.wait("att_1", 5)
    assert host.release("att_1") == {"phase": "done"}


def test_wait_ends_with_its_time(attach: Attach, start_witness: Start) -> None:
    host = attach(start_witness("--duration-ms", "60000"))
    host.start("att_1", "crush", CRUSH)
    before = time.monotonic()
    assert host.wait("att_1", 0.3)["phase"] == "running"
    assert time.monotonic() - before < 2


def test_wait_on_what_nobody_knows_returns_at_once(attach: Attach, start_witness: Start) -> None:
    assert attach(start_witness()).wait("att_1", 60) == {"phase": "never_seen"}


@pytest.mark.parametrize("flags", [(), ("--no-subscribe",), ("--fault", "silent@subscribe")])
def test_wait_hears_the_end(attach: Attach, start_witness: Start, flags: tuple[str, ...]) -> None:
    host = attach(start_witness("--duration-ms", "150", *flags))
    host.start("att_1", "crush", CRUSH)
    assert host.wait("att_1", 10)["phase"] == "done"


@pytest.mark.parametrize("fault", ["garbage@status", "half-line@status", "silent@status", "no-phase"])
def test_wait_on_an_instrument_that_makes_no_sense_is_lost_in_time(
    attach: Attach, start_witness: Start, fault: str
) -> None:
    host = attach(start_witness("--duration-ms", "60000", "--fault", fault), reply_timeout_s=0.2)
    host.start("att_1", "crush", CRUSH)
    before = time.monotonic()
    with pytest.raises(InstrumentLost):
        host.wait("att_1", 0.5)
    assert time.monotonic() - before < 5


def test_wait_dials_again_when_the_link_drops(attach: Attach, start_witness: Start) -> None:
    witness = start_witness("--duration-ms", "700")
    host = attach(witness)
    host.start("att_1", "crush", CRUSH)
    witness.plant("drop@status*2")
    assert host.wait("att_1", 10)["phase"] == "done"


def test_closing_ends_a_wait(attach: Attach, start_witness: Start) -> None:
    host = attach(start_witness("--duration-ms", "60000"))
    host.start("att_1", "crush", CRUSH)
    threading.Timer(0.2, host.close).start()
    with pytest.raises(InstrumentLost):
        host.wait("att_1", 60)


def test_a_paused_run_can_be_resumed(attach: Attach, start_witness: Start) -> None:
    host = attach(start_witness("--safe-point-pauses", "--duration-ms", "400"))
    host.start("att_1", "crush", CRUSH)
    # The witness answers a stop at the safe point with `paused` here.
    threading.Thread(target=host.stop, args=("att_1", "safe_point"), daemon=True).start()
    while (status := host.status("att_1"))["phase"] == "running":
        time.sleep(0.02)
    assert status["phase"] == "paused"
    assert host.resume("att_1")["phase"] == "running"
    assert host.wait("att_1", 10)["phase"] == "done"


def test_errors_and_statuses_cross_a_process() -> None:
    refused = pickle.loads(pickle.dumps(InstrumentRefused("busy", "later", True)))  # noqa: S301
    assert (refused.code, refused.message, refused.retryable) == ("busy", "later", True)
    lost = pickle.loads(pickle.dumps(InstrumentLost("gone", sent=False)))  # noqa: S301
    assert (lost.reason, lost.sent) == ("gone", False)
    status = Status("failed", 0.5, {"outputs": {}}, {"code": "x"}, True, ("wrong_unit",))
    assert Status.from_json(status.to_json()) == status
