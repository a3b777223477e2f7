"""`labcommons up` and `down`, with real processes: a facility, two labs, an instrument of its own."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from labcommons.facility.local import Running, find, start
from labcommons.facility.local.processes import Process, alive, boot_id, end, last_lines, send, spawn, wait_until
from labcommons.facility.local.running import StartFailed

SLEEPER = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('awake', flush=True); time.sleep(60)",
]


def started(tmp_path: Path, command: list[str]) -> Process:
    process = spawn("one", command, log=tmp_path / "logs" / "one.log", env=os.environ)
    assert wait_until(lambda: "awake" in last_lines(process.log), timeout_s=20)
    return process


def test_a_process_is_ended_gently(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEPER)
    assert alive(process)
    assert end(process, grace_s=10) == "ended"
    assert not alive(process)
    assert end(process, grace_s=10) == "gone"


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    assert end(started(tmp_path, STUBBORN), grace_s=0.2) == "killed"


def test_a_pid_that_was_given_out_again_is_somebody_else(tmp_path: Path) -> None:
    process = started(tmp_path, SLEEPER)
    before = Process(process.name, process.pid, process.start - 1, process.boot, process.log)
    other_boot = Process(process.name, process.pid, process.start, "another", process.log)
    assert process.boot == boot_id()
    for impostor in (before, other_boot):
        assert not alive(impostor)
        assert not send(impostor, signal.SIGKILL)
    assert alive(process)
    end(process, grace_s=10)


def test_a_stale_file_counts_for_nothing(tmp_path: Path) -> None:
    process = {"name": "facility", "pid": 1, "start": 1, "boot": "long ago", "log": ""}
    state = {"url": "http://127.0.0.1:1", "options": {"labs": 2}, "processes": [process]}
    (tmp_path / "facility.json").write_text(json.dumps(state))
    assert find(tmp_path) is None
    (tmp_path / "facility.json").write_text("{")
    assert find(tmp_path) is None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = start(tmp_path_factory.mktemp("home"), runtime="inprocess", time_scale="2400", seed=3)
    try:
        yield found
    finally:
        found.stop()


@pytest.mark.slow
class TestRunning:
    """In this order; each leaves things running for the next."""

    def test_everything_is_up_and_says_where(self, running: Running) -> None:
        assert running.dead() == []
        assert set(running.processes) == {"facility", "north", "south", "south-press"}
        assert httpx.get(f"{running.url}/readyz").json() == {"ready": True, "missing": []}
        people = running.layout.people_file
        assert stat.S_IMODE(people.stat().st_mode) == 0o600
        assert {one["username"] for one in running.people} == {"sam", "kim", "pia", "rae", "olga", "omar"}
        assert len({one["password"] for one in running.people}) == 6
        assert stat.S_IMODE(running.layout.key("north").stat().st_mode) == 0o600
        assert json.loads(running.layout.state_file.read_text())["url"] == running.url

    def test_a_second_up_finds_the_first(self, running: Running) -> None:
        again = start(running.home)
        assert again.url == running.url
        assert again.processes == running.processes
        assert again.options == running.options

    def test_a_killed_agent_comes_back_in_a_new_session(self, running: Running) -> None:
        before = [line for line in running.journal("north") if line["state"] == "SESSION"]
        running.kill_agent("north")
        assert running.dead() == ["north"]
        running.restart_agent("north")
        after = [line for line in running.journal("north") if line["state"] == "SESSION"]
        assert len(after) == len(before) + 1
        assert running.dead() == []

    def test_up_starts_what_is_missing(self, running: Running) -> None:
        facility = running.processes["facility"]
        send(facility, signal.SIGKILL)
        assert wait_until(lambda: not alive(facility), timeout_s=10)
        again = start(running.home)
        running.processes = again.processes
        assert again.url == running.url
        assert again.processes["facility"].pid != facility.pid
        assert again.processes["south"] == running.processes["south"]
        assert again.dead() == []

    def test_the_books_are_right_beside_a_running_facility(self, running: Running) -> None:
        done = command(running.home, "admin", "check", "--json")
        assert json.loads(done.stdout) == {"broken": []}

    def test_up_says_who_there_is_and_what_to_do_next(self, running: Running) -> None:
        said = command(running.home, "up").stdout
        assert running.url in said
        assert all(one["password"] in said for one in running.people)
        assert "labcommons login --user rae" in said
        listed = command(running.home, "admin", "people").stdout
        assert all(one["password"] in listed for one in running.people)
        assert json.loads(command(running.home, "admin", "people", "--json").stdout) == running.people

    def test_a_schema_that_is_new_stays_as_it_is(self, running: Running) -> None:
        before, arrow, after = command(running.home, "admin", "migrate").stdout.split()
        assert (arrow, before) == ("->", after)

    def test_down_ends_it_all_and_nothing_else(self, running: Running) -> None:
        processes = list(running.processes.values())
        done = command(running.home, "down", "--json")
        assert set(json.loads(done.stdout)["ended"]) == set(running.processes)
        assert not any(alive(process) for process in processes)
        assert find(running.home) is None
        assert command(running.home, "down").stdout == "Nothing runs here.\n"

    def test_up_after_down_knows_everybody_still(self, running: Running) -> None:
        people = running.people
        done = command(running.home, "up", "--labs", "0", "--json")
        found = json.loads(done.stdout)
        try:
            assert found["people"] == people
            assert found["url"] == running.url, "logins of before still hold"
            assert set(found["processes"]) == {"facility"}
        finally:
            command(running.home, "down")


@pytest.mark.slow
def test_in_the_foreground_it_all_ends_with_the_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "labcommons.facility.cli", "up", "--labs", "0", "--foreground", "--json"]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"LABCOMMONS_HOME": str(tmp_path)},
    ) as staying:
        assert staying.stdout is not None
        found = json.loads(staying.stdout.readline())
        assert httpx.get(f"{found['url']}/healthz").status_code == 200
        staying.send_signal(signal.SIGTERM)
        assert staying.wait(30) == 0
    assert find(tmp_path) is None


def command(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One of the facility's commands, as a process."""
    return subprocess.run(
        [sys.executable, "-m", "labcommons.facility.cli", *words],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"LABCOMMONS_HOME": str(home)},
    )


@pytest.mark.slow
def test_what_does_not_come_up_is_shown_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "print('no bench today'); raise SystemExit(1)"]
    monkeypatch.setattr("labcommons.facility.local.running.node_command", lambda *_, **__: broken)
    with pytest.raises(StartFailed, match=r"(?s)north ended.*no bench today"):
        start(tmp_path, labs=1, runtime="inprocess")
    assert find(tmp_path) is None, "what had been started is ended again"


def test_a_setting_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "labcommons.facility.cli", "up", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LABCOMMONS_SERVER__PROT": "1"},
    )
    assert done.returncode == 3
    assert "LABCOMMONS_SERVER__PROT" in done.stderr
    assert list(tmp_path.iterdir()) == []
