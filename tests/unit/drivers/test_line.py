"""The line driver against the witness with its faults: nothing hangs, nothing is sent twice, nothing is believed."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labcommons.node.drivers.contract import Driver, Event, InstrumentLost, InstrumentRefused
from labcommons.node.drivers.line import LineDriver, parse_address
from witness.fixtures import CRUSH, WitnessProcess, start_witness

__all__ = ["start_witness"]
Start = Callable[..., WitnessProcess]


@pytest.fixture
def dial() -> Iterator[Callable[..., LineDriver]]:
    opened: list[LineDriver] = []

    def make(witness: WitnessProcess, **options: object) -> LineDriver:
        opened.append(LineDriver({"address": witness.address, "reply_timeout_s": 1, **options}))
        return opened[-1]

    yield make
    for driver in opened:
        driver.close()
        driver.close()


Dial = Callable[..., LineDriver]


def test_it_is_a_driver(start_witness: Start, dial: Dial) -> None:
    driver = dial(start_witness())
    assert isinstance(driver, Driver)
    assert driver.describe().action("crush") is not None
    assert driver.health().state == "idle"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("half-line@status", "half a line"),
        ("garbage@status", "not JSON"),
        ("huge@status", "more than 1 MiB"),
        ("drop@status", "closed the connection"),
        ("silent@status", "no reply within 1 s"),
        ("no-phase", "makes no sense"),
    ],
)
def test_a_bad_answer_is_lost_and_the_next_one_is_had(
    start_witness: Start, dial: Dial, fault: str, reason: str
) -> None:
    witness = start_witness()
    driver = dial(witness)
    witness.plant(f"{fault}*1")
    with pytest.raises(InstrumentLost, match=reason) as lost:
        driver.status("att_1")
    assert lost.value.sent
    assert driver.status("att_1").phase == "never_seen"


def test_a_late_reply_is_dropped_and_not_taken_for_the_next(start_witness: Start, dial: Dial) -> None:
    witness = start_witness("--late-ms", "1300")
    driver = dial(witness)
    driver.health()
    witness.plant("late@status*1")
    with pytest.raises(InstrumentLost, match="no reply"):
        driver.status("att_1")
    time.sleep(0.5)
    assert driver.health().state == "idle"


def test_a_start_without_an_answer_is_not_sent_again(start_witness: Start, dial: Dial) -> None:
    witness = start_witness("--no-memory", "--fault", "drop-after-start")
    driver = dial(witness)
    with pytest.raises(InstrumentLost) as lost:
        driver.start("att_1", "crush", CRUSH)
    assert lost.value.sent
    assert driver.status("att_1").phase in ("running", "done")
    assert len(witness.starts()) == 1


def test_nobody_there_means_nothing_was_sent(start_witness: Start, dial: Dial) -> None:
    witness = start_witness()
    driver = dial(witness, connect_timeout_s=0.3)
    witness.kill()
    with pytest.raises(InstrumentLost, match="nothing answers at") as lost:
        driver.start("att_1", "crush", CRUSH)
    assert not lost.value.sent


def test_it_dials_again_within_its_time(start_witness: Start, dial: Dial) -> None:
    witness = start_witness("--duration-ms", "20")
    driver = dial(witness, connect_timeout_s=10)
    driver.start("att_1", "crush", CRUSH)
    witness.kill()
    again = threading.Timer(0.3, witness.start)
    again.start()
    phases: list[str] = []
    for _ in range(2):  # the first one may still meet the line that broke
        try:
            phases.append(driver.status("att_1").phase)
        except InstrumentLost:
            phases.append("lost")
    again.join()
    assert phases[-1] in ("done", "failed")


def test_a_stop_that_waits_holds_nothing_up(start_witness: Start, dial: Dial) -> None:
    witness = start_witness("--duration-ms", "3000")
    driver = dial(witness)
    driver.start("att_1", "crush", CRUSH)
    said: queue.Queue[str] = queue.Queue()
    stopping = threading.Thread(target=lambda: said.put(driver.stop("att_1", "safe_point").phase))
    stopping.start()
    assert driver.status("att_1").phase in ("running", "stopped")
    stopping.join()
    assert said.get_nowait() == "stopped"


def test_events_arrive_and_are_asked_for_again_after_a_drop(start_witness: Start, dial: Dial) -> None:
    witness = start_witness("--duration-ms", "50")
    driver = dial(witness)
    heard: queue.Queue[Event] = queue.Queue()
    assert driver.subscribe(heard.put)
    witness.plant("drop@health*1")
    with pytest.raises(InstrumentLost):
        driver.health()
    driver.start("att_1", "crush", CRUSH)
    kinds: list[str] = []
    while not kinds or kinds[-1] != "phase":
        kinds.append(heard.get(timeout=5).kind)
    assert kinds[:2] == ["link", "link"]
    assert "progress" in kinds


def test_without_subscribe_it_says_so(start_witness: Start, dial: Dial) -> None:
    assert dial(start_witness("--no-subscribe")).subscribe(lambda _: None) is False


def test_an_error_reply_is_a_refusal(start_witness: Start, dial: Dial) -> None:
    driver = dial(start_witness("--refuse", "busy"))
    with pytest.raises(InstrumentRefused) as refused:
        driver.start("att_1", "crush", CRUSH)
    assert (refused.value.code, refused.value.retryable) == ("busy", True)


def test_a_big_file_comes_by_the_shared_folder(start_witness: Start, dial: Dial) -> None:
    witness = start_witness("--big-file", "700000", "--duration-ms", "20")
    driver = dial(witness, shared_folder=str(witness.folder))
    driver.start("att_1", "crush", CRUSH)
    while (status := driver.status("att_1")).phase == "running":
        time.sleep(0.02)
    assert status.result is not None
    entry = status.result["files"][0]
    assert (entry["bytes"], entry["path"]) == (700000, str(witness.folder / "att_1.csv"))
    assert status.flags == ()
    assert dial(witness, shared_folder="/nowhere").status("att_1").flags == ("missing_file",)


def test_a_file_with_another_hash_is_kept_and_flagged(start_witness: Start, dial: Dial) -> None:
    driver = dial(start_witness("--fault", "bad-hash", "--duration-ms", "10"))
    driver.start("att_1", "crush", CRUSH)
    while (status := driver.status("att_1")).phase == "running":
        time.sleep(0.02)
    assert status.result is not None
    assert status.flags == ("corrupt_file",)
    assert len(status.result["files"]) == 1


class Scripted:
    """A socket that answers each line with bytes that a test wrote."""

    def __init__(self, *answers: bytes) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._answers = list(answers)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as stream:
            for answer in self._answers:
                stream.readline()
                connection.sendall(answer)
            stream.readline()

    def close(self) -> None:
        self._thread.join()
        self._server.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"[1]\n", "no object"),
        (b'{"id": null, "ok": false, "error": {"code": "bad_request"}}\n', "could not read our line"),
        (b'{"id": 1}\n', "without `ok`"),
        (b'{"id": 1, "ok": false, "error": "busy"}\n', "without an error's `code`"),
        (b'{"id": 1, "ok": true, "state": "asleep"}\n', "makes no sense"),
        (b'{"id": "1", "ok": true, "state": "idle"}\n', "no reply within"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 100000 + b"\n", "not JSON"),
    ],
)
def test_answers_that_mean_nothing_are_lost(answer: bytes, reason: str) -> None:
    server = Scripted(answer)
    driver = LineDriver({"address": server.address, "reply_timeout_s": 0.5})
    with pytest.raises(InstrumentLost, match=reason):
        driver.health()
    driver.close()
    server.close()


def test_unknown_events_and_fields_are_ignored_and_replies_may_come_out_of_order() -> None:
    server = Scripted(
        b'{"id": 1, "ok": true}\n',
        b'{"event": "weather", "sun": true}\n{"event": "progress", "attempt": 4}\n'
        b'{"event": "health", "state": "busy"}\n'
        b'{"event": "signal", "attempt": "a", "name": "force", "value": {"value": "1", "unit": "N"}}\n'
        b'{"id": 99, "ok": true}\n{"id": 2, "ok": true, "state": "idle", "colour": "red"}\n',
    )
    driver = LineDriver({"address": server.address})
    heard: list[Event] = []
    assert driver.subscribe(heard.append)
    assert driver.health().state == "idle"
    driver.close()
    server.close()
    assert [(e.kind, e.state or e.name) for e in heard] == [("health", "busy"), ("signal", "force")]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "address must be host:port"),
        ({"address": "127.0.0.1"}, "address must be host:port"),
        ({"address": "h:0"}, "address must be host:port"),
        ({"address": "h:1", "adress": 1}, "no option 'adress'"),
        ({"address": "h:1", "reply_timeout_s": 0}, "reply_timeout_s must be"),
        ({"address": "h:1", "stop_timeout_s": "5"}, "stop_timeout_s must be"),
    ],
)
def test_wrong_options_are_refused_in_words(options: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        LineDriver(options)


def test_addresses() -> None:
    assert parse_address("[::1]:80") == ("::1", 80)
    assert parse_address("press.lab:7401") == ("press.lab", 7401)


def test_a_line_that_is_too_long_is_not_sent(start_witness: Start, dial: Dial, tmp_path: Path) -> None:
    driver = dial(start_witness())
    with pytest.raises(InstrumentLost, match="a line holds") as lost:
        driver.start("att_1", "crush", {"n": "x" * 1_100_000})
    assert not lost.value.sent
    assert driver.health().state == "idle"
