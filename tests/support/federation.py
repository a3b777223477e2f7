"""A whole federation for tests: the real facility as a process, real agents, and witnesses for instruments.

Everything is ended by pid; what the facility's books say is checked by the invariants at the end, whatever the test was
about.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from labcommons.client import Experiment, Facility, Study
from labcommons.client.oidc import TokenStore, login_with_password
from labcommons.facility.bootstrap import open_facility
from labcommons.facility.local.labs import free_port
from labcommons.facility.seed import INSTRUMENT_TYPE, DemoLab, SeededLab, seed
from labcommons.facility.settings import Settings
from witness.fixtures import WitnessProcess

__all__ = ["CONDITION", "Federation", "Site", "eventually", "federation"]

CONDITION = {"n": 8, "theta": "75 deg", "r": "2.1 mm", "t": "1.05 mm"}
PROTOCOL = "compression-toughness"
_T = TypeVar("_T")


def eventually(found: Callable[[], _T], *, within_s: float = 30.0, what: str | Callable[[], str] = "") -> _T:
    """The first true answer of ``found``; fails the test where none comes, and says ``what`` it waited for."""
    deadline = time.monotonic() + within_s
    while True:
        answer = found()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


class Program:
    """A process of ours with a log, which can be killed in any way a power cut would like."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.command, self.log, self.environment = name, list(command), log, dict(environment)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} is not running"
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and be sure that it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None, f"{self.name} is not running"
        self.process.terminate()
        code = self.process.wait(20)
        self.process = None
        return code

    def words(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Site:
    """One lab: its folder, its agent, and the witness that is its instrument."""

    def __init__(self, folder: Path, name: str, witness: WitnessProcess, seeded: SeededLab, url: str) -> None:
        self.folder, self.name, self.witness, self.lab = folder, name, witness, seeded.lab
        self.config = folder / "node.yaml"
        self.write(url)
        identity = {"client_id": seeded.node, "node": seeded.node, "lab": seeded.lab}
        (folder / "state" / "identity.json").write_text(json.dumps(identity))
        self.agent = Program(
            f"agent of {name}",
            [sys.executable, "-m", "labcommons.node.cli", "run", "--config", str(self.config)],
            folder / "agent.log",
            os.environ,
        )

    def write(self, url: str, **changes: Any) -> None:
        """Write ``node.yaml``; ``changes`` replace its members."""
        press = {
            "type": INSTRUMENT_TYPE,
            "driver": "line",
            "address": self.witness.address,
            "offers": [{"capability": "compression.test@1"}],
        }
        document = {
            "node": 1,
            "lab": {"name": self.name, "time_zone": "Europe/Lisbon", "ror": None},
            "facility": {"url": url},
            "state": "./state",
            "runtime": "inprocess",
            "time_scale": "1",
            "instruments": {"press": press},
            "allow": [{"protocol": "*", "projects": "any"}],
            **changes,
        }
        self.config.write_text(yaml.safe_dump(document, sort_keys=False))

    def journal(self, attempt: str | None = None) -> list[dict[str, Any]]:
        """The lines of ``labcommons-node journal export``, of one attempt or all."""
        command = [sys.executable, "-m", "labcommons.node.cli", "journal", "export", "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return [line for line in lines if attempt is None or line["attempt"] == attempt]

    def states(self, attempt: str) -> list[str]:
        return [line["state"] for line in self.journal(attempt)]


class Federation:
    """A facility with its people, and the labs that a test gave it."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment = {
            **os.environ,
            "LABCOMMONS_HOME": str(home),
            "LABCOMMONS_SERVER__PORT": self.url.rpartition(":")[2],
            **environment,
        }
        self.facility = Program(
            "facility",
            [sys.executable, "-m", "labcommons.facility.cli", "serve"],
            home / "facility.log",
            self.environment,
        )
        self.sites: dict[str, Site] = {}
        self._people: list[Facility] = []

    def settings(self) -> Settings:
        server = {"port": int(self.url.rpartition(":")[2])}
        return Settings.model_validate({"home": self.home, "server": server})

    def seed(self, witnesses: Mapping[str, WitnessProcess], time_scale: str = "1") -> None:
        """People, project, and a lab for each witness, into the books of a facility that does not run."""
        labs = [DemoLab(name, name, "Europe/Lisbon", driver="line") for name in witnesses]
        folders = {name: self.home / "labs" / name for name in witnesses}
        for folder in folders.values():
            (folder / "state").mkdir(parents=True, exist_ok=True)
        keys = {name: folder / "state" / "node-key.pem" for name, folder in folders.items()}
        facility = open_facility(self.settings())
        try:
            seeded = seed(facility, self.home / "people.json", keys, time_scale=time_scale, labs=labs)
        finally:
            facility.close()
        for name, witness in witnesses.items():
            self.sites[name] = Site(folders[name], name, witness, seeded.labs[name], self.url)

    def start_facility(self) -> None:
        self.facility.start()
        eventually(self._ready, what=lambda: f"the facility is ready\n{self.facility.words()[-3000:]}")

    def start_agents(self) -> None:
        for site in self.sites.values():
            site.agent.start()
        staff = self.as_person("sam")

        def known() -> bool:
            return len(staff.instruments()) == len(self.sites)

        eventually(known, what=lambda: f"every lab has said what it offers\n{self.story(staff)}")

    def _ready(self) -> bool:
        try:
            return httpx.get(self.url + "/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def as_person(self, username: str) -> Facility:
        """The facility as one of the demo people sees it."""
        home = self.home / "at" / username
        home.mkdir(parents=True, exist_ok=True)
        people = json.loads((self.home / "people.json").read_text())
        password = next(one["password"] for one in people if one["username"] == username)
        TokenStore(home / "tokens.json", self.url).save(login_with_password(self.url, username, password))
        facility = Facility(self.url, home=home)
        self._people.append(facility)
        return facility

    def submit(self, lab: Facility, count: int = 1, **more: Any) -> Study:
        return lab.submit(PROTOCOL, [{"arguments": CONDITION, **more} for _ in range(count)])

    def attempts(self, lab: Facility, experiment: str | None = None) -> list[dict[str, Any]]:
        return [one for one in lab.pages("attempts") if experiment is None or one["experiment"] == experiment]

    def attempt_in(self, lab: Facility, experiment: str, *states: str, within_s: float = 30.0) -> dict[str, Any]:
        """The experiment's newest attempt once it is in one of ``states``."""

        def found() -> dict[str, Any] | None:
            known = self.attempts(lab, experiment)
            return known[-1] if known and known[-1]["state"] in states else None

        answer = eventually(
            found, within_s=within_s, what=lambda: f"an attempt of {experiment} in {states}:\n{self.story(lab)}"
        )
        assert answer is not None
        return answer

    def story(self, lab: Facility) -> str:
        """For the message of a failed test."""
        lines = [json.dumps(one) for one in self.attempts(lab)]
        logs = [f"--- {site.name}\n{site.agent.words()[-2000:]}" for site in self.sites.values()]
        return "\n".join([*lines, *logs, "--- facility", self.facility.words()[-2000:]])

    def ended(self, experiment: Experiment, within_s: float = 30.0) -> Experiment:
        experiment.wait(within_s, progress=False)
        return experiment

    def check(self) -> None:
        """The invariants over the facility's books, as `labcommons admin check` runs them."""
        command = [sys.executable, "-m", "labcommons.client.cli", "admin", "check", "--home", str(self.home)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        assert done.returncode == 0, f"the books do not hold:\n{done.stdout}\n{done.stderr}"

    def end(self) -> None:
        for facility in self._people:
            facility.close()
        for site in self.sites.values():
            site.agent.kill()
        self.facility.kill()


@contextmanager
def federation(
    home: Path, witnesses: Mapping[str, WitnessProcess], *, time_scale: str = "1", **environment: str
) -> Iterator[Federation]:
    """A running federation, agents included; ends it, and then checks the books."""
    made = Federation(home, environment)
    made.seed(witnesses, time_scale)
    try:
        made.start_facility()
        made.start_agents()
        yield made
        made.check()
    finally:
        made.end()
