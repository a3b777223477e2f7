"""Start, find, disturb and end what runs in a home."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from labcommons.facility.bootstrap import open_books, open_facility
from labcommons.facility.identity.issuer.keys import write_private
from labcommons.facility.local import labs as folders
from labcommons.facility.local.labs import Layout, free_block, free_port, node_command, port_is_free
from labcommons.facility.local.processes import (
    Process,
    alive,
    end,
    last_lines,
    process_from_json,
    send,
    spawn,
    wait_until,
)
from labcommons.facility.ports import Work
from labcommons.facility.seed import DemoLab, Seeded, read_people, seed
from labcommons.facility.settings import ServerSettings, Settings

__all__ = ["FACILITY", "Running", "StartFailed", "find", "start"]

FACILITY = "facility"
Note = Callable[[str], None]

_READY_S = 60.0
#: A lab's Ray takes a quarter of a minute on two busy cores, and three tries at the worst.
_LAB_READY_S = 180.0
_GRACE_S = 15.0
_CLUSTER_END_S = 120.0
#: How often it is looked whether something is ready: often enough for people, and no load beside what starts.
_LOOK_S = 0.25


class StartFailed(Exception):
    """Something did not come up; the message shows the end of its log."""


@dataclass
class Running:
    """A facility with its labs.

    `options`: as it was started; `processes` by name: `facility`, a lab's agent by the lab's name, `south-press`.
    """

    home: Path
    url: str
    options: dict[str, Any]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return Layout(self.home)

    @property
    def labs(self) -> tuple[DemoLab, ...]:
        """The labs that were started."""
        return folders.demo_labs(int(self.options["labs"]))

    @property
    def people(self) -> list[dict[str, Any]]:
        """The demo people with their passwords."""
        return read_people(self.layout.people_file)

    def dead(self) -> list[str]:
        """Names of what was started and runs no more."""
        return [name for name, process in self.processes.items() if not alive(process)]

    def kill_agent(self, lab: str) -> None:
        """Kill the lab's agent (-9). Its instruments, and the cluster they live in, go on."""
        process = self.processes[lab]
        send(process, signal.SIGKILL)
        if not wait_until(lambda: not alive(process), timeout_s=5.0):
            raise StartFailed(f"the agent of {lab} (pid {process.pid}) does not die")

    def restart_agent(self, lab: str) -> None:
        """Start the lab's agent again and wait until the facility has heard its new session."""
        before = _sessions(self)
        self._spawn_agent(lab)
        self._await_sessions({lab: before[lab]})

    def journal(self, lab: str) -> list[dict[str, Any]]:
        """The lab's journal, as `labcommons-node journal export` prints it."""
        command = node_command("journal", "export", config=self.layout.config(lab))
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=_agent_environment())
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def stop(self, note: Note = lambda _: None) -> None:
        """End exactly what was started: agents, their clusters, instruments, the facility."""
        for lab in self.labs:
            # All are told before any is waited for.
            if lab.name in self.processes:
                send(self.processes[lab.name], signal.SIGTERM)
        for lab in self.labs:
            self._end(lab.name, note)
        self._end_clusters(note)
        for lab in self.labs:
            self._end(instrument_of(lab), note)
        self._end(FACILITY, note)
        self.layout.state_file.unlink(missing_ok=True)

    def _end_clusters(self, note: Note) -> None:
        """Each lab ends its own; they take some seconds, so all do it at once."""
        configs = {lab.name: self.layout.config(lab.name) for lab in self.labs}
        ending = {
            name: subprocess.Popen(
                node_command("stop-cluster", config=config),
                env=_agent_environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name, config in configs.items()
            if self.options["runtime"] == "ray" and config.exists()
        }
        for name, process in ending.items():
            try:
                code = process.wait(timeout=_CLUSTER_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            note(f"{name}: its Ray cluster {'has ended' if code == 0 else f'could not be ended (exit code {code})'}")

    def save(self) -> None:
        """Write down what runs, so that another process can find and end it."""
        found = {
            "url": self.url,
            "home": str(self.home),
            "options": self.options,
            "processes": [process.to_json() for process in self.processes.values()],
        }
        write_private(self.layout.state_file, (json.dumps(found, indent=2) + "\n").encode())

    def _end(self, name: str, note: Note) -> None:
        process = self.processes.pop(name, None)
        if process is not None:
            note(f"{name}: {end(process, grace_s=_GRACE_S)}")
            self.save()

    def _spawn(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.processes[name] = spawn(name, command, log=self.layout.logs / f"{name}.log", env=env)
        self.save()

    def _spawn_agent(self, lab: str) -> None:
        self._spawn(lab, node_command("run", config=self.layout.config(lab)), _agent_environment())

    def _missing(self, name: str) -> bool:
        return name not in self.processes or not alive(self.processes[name])

    def bring_up(self, note: Note) -> None:
        """Start what does not run, in order, and wait until it works. Raises `StartFailed`."""
        seeded = self._start_facility(note)
        before = _sessions(self)
        begun = {}
        for lab in self.labs:
            if self._missing(instrument_of(lab)) and lab.driver == "line":
                port = int(self.options["lines"][lab.name])
                command = folders.instrument_command(self.layout, lab, port, self.options)
                self._spawn(instrument_of(lab), command, _environment(self))
                note(f"{instrument_of(lab)}: an instrument of its own, on 127.0.0.1:{port}")
            if self._missing(lab.name):
                if seeded is not None:
                    self._write_lab(lab, seeded)
                self._spawn_agent(lab.name)
                begun[lab.name] = before.get(lab.name)
        if begun:
            note(f"{', '.join(begun)}: starting, each with a cluster of its own (this takes a while)")
            self._await_sessions(begun)
            note(f"{', '.join(begun)}: online")

    def _write_lab(self, lab: DemoLab, seeded: Seeded) -> None:
        folders.write_lab(
            self.layout,
            lab,
            seeded.labs[lab.name],
            url=self.url,
            ports=int(self.options["ports"][lab.name]),
            line_port=self.options["lines"].get(lab.name),
            options=self.options,
        )

    def _start_facility(self, note: Note) -> Seeded | None:
        """Seed and start the facility where it does not run; what was seeded, or None where it ran already."""
        if not self._missing(FACILITY):
            return None
        keys = {lab.name: self.layout.key(lab.name) for lab in self.labs}
        facility = open_facility(_settings(self))
        try:
            seeded = seed(
                facility,
                self.layout.people_file,
                keys,
                time_scale=self.options["time_scale"],
                labs=self.labs,
            )
        finally:
            facility.close()
        note("facility: people, project and labs are in the books")
        self._spawn(FACILITY, [sys.executable, "-m", "labcommons.facility.cli", "serve"], _environment(self))
        self._await(FACILITY, lambda: _ready(self.url), _READY_S)
        note(f"facility: ready at {self.url}")
        return seeded

    def _await_sessions(self, before: Mapping[str, str | None]) -> None:
        """Wait until each lab has called in a session that is not the one `before`."""
        with _books(self) as work:
            for name in before:

                def heard(name: str = name) -> bool:
                    return _heard(work).get(name) not in {None, before[name]}

                self._await(name, heard, _LAB_READY_S)

    def _await(self, name: str, done: Callable[[], bool], timeout_s: float) -> None:
        ended = False

        def settled() -> bool:
            nonlocal ended
            ended = not alive(self.processes[name])
            return ended or done()

        if not wait_until(settled, timeout_s=timeout_s, poll_s=_LOOK_S) or ended:
            log = self.processes[name].log
            what = "ended" if ended else f"is not ready after {timeout_s:.0f} s"
            raise StartFailed(f"{name} {what}. The end of {log}:\n{last_lines(log)}")


def instrument_of(lab: DemoLab) -> str:
    """The name of the process that is the lab's instrument."""
    return f"{lab.name}-{lab.instrument}"


def start(
    home: Path,
    *,
    labs: int = 2,
    seed: int = 1,
    time_scale: str = "240",
    runtime: str = "ray",
    forgetful: Sequence[str] = (),
    note: Note = lambda _: None,
) -> Running:
    """Start a facility and its demo labs in `home`, or find them there and start what is missing.

    `seed`: of the readings; `time_scale`: lab time per wall time, decimal as text; `runtime`: `ray` or `inprocess`;
    `forgetful`: labs whose instrument remembers no attempts; `note`: told of each stage. Raises `StartFailed`; what had
    been started by then is ended again, unless it ran before.
    """
    home = home.expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(home):
        running = find(home)
        fresh = running is None
        if running is None:
            asked = {"labs": labs, "seed": seed, "time_scale": time_scale, "runtime": runtime}
            options = {**asked, "forgetful": list(forgetful), **_places(home, labs)}
            running = Running(home, f"http://127.0.0.1:{_port(Layout(home))}", options)
        else:
            note(f"already up at {running.url}")
        try:
            running.bring_up(note)
        except BaseException:
            if fresh:
                running.stop()
            raise
        return running


def _places(home: Path, labs: int) -> dict[str, Any]:
    """Where the demo labs' instruments and clusters listen."""
    found = folders.demo_labs(labs)
    return {
        "lines": {lab.name: free_port() for lab in found if lab.driver == "line"},
        "ports": _blocks(home, found),
    }


def find(home: Path) -> Running | None:
    """What runs in `home`; None where nothing does. A file left by processes that are gone counts for nothing."""
    try:
        found = json.loads(Layout(home).state_file.read_text(encoding="utf-8"))
        processes = {one["name"]: process_from_json(one) for one in found["processes"]}
        running = Running(home, str(found["url"]), dict(found["options"]), processes)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if any(alive(process) for process in processes.values()) else None


def _blocks(home: Path, labs: Sequence[DemoLab]) -> dict[str, int]:
    found: dict[str, int] = {}
    for lab in labs:
        found[lab.name] = free_block(home, list(found.values()))
    return found


def _port(layout: Layout) -> int:
    """The port of the last time, so that logins and bookmarks still hold; else the setting's, else any that is free."""
    wanted = [Settings().server.port]
    with suppress(OSError, ValueError):
        wanted.insert(0, int(layout.port_file.read_text(encoding="ascii")))
    port = next((one for one in wanted if one and port_is_free(one)), None) or free_port()
    layout.port_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.port_file.write_text(str(port), encoding="ascii")
    return port


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One `up` or `down` at a time in a home. The lock goes with its holder, however that ends."""
    with (home / "up.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _settings(running: Running) -> Settings:
    port = httpx.URL(running.url).port
    return Settings(home=running.home, server=ServerSettings(host="127.0.0.1", port=port or 80))


def _environment(running: Running) -> dict[str, str]:
    return {
        **os.environ,
        "LABCOMMONS_HOME": str(running.home),
        "LABCOMMONS_SERVER__HOST": "127.0.0.1",
        "LABCOMMONS_SERVER__PORT": str(httpx.URL(running.url).port or 80),
        "PYTHONUNBUFFERED": "1",
    }


def _agent_environment() -> dict[str, str]:
    """Without what would lead an agent to somebody else's cluster; its own settings stand in its node.yaml."""
    dropped = {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"}
    return {**{k: v for k, v in os.environ.items() if k not in dropped}, "PYTHONUNBUFFERED": "1"}


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def _books(running: Running) -> Iterator[Work]:
    """The facility's database, read beside the facility."""
    engine, work = open_books(_settings(running))
    try:
        yield work
    finally:
        engine.dispose()


def _sessions(running: Running) -> dict[str, str | None]:
    with _books(running) as work:
        return _heard(work)


def _heard(work: Work) -> dict[str, str | None]:
    """The session in which each lab's node called last, of those whose instruments are described; by lab name."""
    with work.read() as uow:
        found: dict[str, str | None] = {}
        for lab in uow.lab.labs.find():
            node = uow.lab.nodes.one(lab=lab.id)
            known = [one for one in uow.lab.instruments.find(lab=lab.id) if one.manifest is not None]
            found[lab.name] = node.session if node is not None and known else None
        return found
