"""The demo's story: start, submit, watch, (kill and recover), read, compare, judge, end clean."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from labcommons.facility.demo.commands import Commands
from labcommons.facility.demo.compare import best, paired_difference
from labcommons.facility.demo.conditions import CONDITIONS, experiments
from labcommons.facility.demo.judge import Verdict, judge
from labcommons.facility.local import Running, start
from labcommons.facility.local.processes import wait_until

__all__ = ["Options", "tell"]

PROTOCOL = "compression-toughness"
OUTPUT = "toughness"
#: The lab whose agent is killed; its instrument lives in the lab's Ray cluster and goes on.
VICTIM = "north"


@dataclass(frozen=True)
class Options:
    """``seed`` of the readings; ``kill`` an agent in mid-run; ``dumb``: that lab's instrument remembers nothing."""

    seed: int = 0
    kill: bool = False
    dumb: bool = False
    runtime: str = "ray"


def tell(options: Options, environment: Mapping[str, str], out: TextIO) -> int:
    """Tell the whole story on ``out``. Returns the exit code: 0 agreed, 1 mismatch, 5 a person must decide."""
    # Short, because the sockets of the labs' clusters lie below it and their names have a limit of 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="lc-"))
    commands = Commands({**environment, "LABCOMMONS_HOME": str(home)})
    say = _Voice(out)
    say(f"One facility and two labs, in {home}")
    running: Running | None = None
    code = 1
    try:
        running = start(
            home,
            seed=options.seed,
            runtime=options.runtime,
            forgetful=(VICTIM,) if options.dumb else (),
            note=say,
        )
        code = _Story(commands, running, options, say).run()
        return code
    finally:
        if running is not None:
            running.stop()
        if code in (0, 5):
            shutil.rmtree(home, ignore_errors=True)
            say("Everything that was started has ended; nothing is left behind.")
        else:
            say(f"Logs and databases are kept for a look in {home}")


class _Voice:
    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, text: str = "") -> None:
        self._out.write(text + "\n")
        self._out.flush()


class _Story:
    def __init__(self, commands: Commands, running: Running, options: Options, say: _Voice) -> None:
        self._commands = commands
        self._running = running
        self._options = options
        self._say = say

    def run(self) -> int:
        self._log_in("rae")
        labs = {lab["name"]: lab["id"] for lab in self._commands.document("labcommons", "labs")}
        study = self._submit(labs)
        watching = self._commands.follow("labcommons", "watch", study)
        victim = self._kill_and_restart(study) if self._options.kill or self._options.dumb else None
        self._wait(watching)
        if victim is not None:
            self._say_recovered(victim)
        records = self._commands.document("labcommons", "result", study, allow=(0, 1, 5))
        rows = self._show_results(records, {identifier: name for name, identifier in labs.items()})
        self._compare(rows, sorted(labs))
        self._show_ledger()
        return self._verdict(list(labs)).exit_code

    def _log_in(self, username: str) -> None:
        people = json.loads((self._running.home / "people.json").read_text(encoding="utf-8"))
        password = next(one["password"] for one in people if one["username"] == username)
        self._commands.run("labcommons", "login", "--user", username, "--password-stdin", stdin=password + "\n")
        self._say(f"Logged in as {username}, a researcher.")

    def _submit(self, labs: dict[str, str]) -> str:
        body = {"protocol": PROTOCOL, "study": "Twelve barrels in two labs", "experiments": experiments(labs)}
        made = self._commands.document("labcommons", "submit", "--file", "-", stdin=json.dumps(body))
        self._say(
            f"Submitted {len(made['experiments'])} experiments ({len(CONDITIONS)} conditions in each of "
            f"{len(labs)} labs) as study {made['study']}."
        )
        return str(made["study"])

    def _wait(self, watching: subprocess.Popen[bytes]) -> None:
        """Wait for the watching command; its exit code tells of the experiments, which the verdict reads by itself."""
        try:
            watching.wait(timeout=600)
        finally:
            with suppress(ProcessLookupError):
                watching.terminate()

    def _kill_and_restart(self, study: str) -> str:
        """Kill the victim's agent while an attempt runs there, start it again; returns that attempt."""
        attempt = ""

        def running_there() -> bool:
            nonlocal attempt
            for one in self._commands.document("labcommons", "list", "--study", study, "--state", "running"):
                for step in one["steps"]:
                    for each in step["attempts"]:
                        if each["state"] == "RUNNING" and one["label"].endswith(VICTIM):
                            attempt = each["attempt"]
            return bool(attempt)

        wait_until(running_there, timeout_s=60.0, poll_s=0.1)
        self._running.kill_agent(VICTIM)
        self._say(f"\nKilled (-9) the agent of {VICTIM} while {attempt or 'nothing'} ran there; starting it again.")
        self._running.restart_agent(VICTIM)
        return attempt

    def _say_recovered(self, attempt: str) -> None:
        lines = self._running.journal(VICTIM)
        own = [line["state"] for line in lines if line["attempt"] == attempt]
        sessions = sum(line["state"] == "SESSION" for line in lines)
        word = "Recovered" if "RESULT" in own else "Not recovered"
        self._say(
            f"\n{word}: {attempt}, started {own.count('STARTED')} time; the journal of {VICTIM}, now in its session "
            f"{sessions}, says {' -> '.join(own)}."
        )

    def _show_results(self, records: list[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
        rows = []
        for record in records:
            value = record["outputs"].get(OUTPUT)
            rows.append(
                {
                    "condition": str(record["label"]).split()[0],
                    "lab": names[record["lab"]],
                    "output": OUTPUT,
                    "value": float(value["value"]) if value else None,
                    "u": float(value["u"]) if value and value.get("u") else None,
                    "unit": value["unit"] if value else None,
                    "ark": record["ark"],
                }
            )
        self._say("\ncondition  lab      toughness ± standard uncertainty   cite as")
        for row in sorted(rows, key=lambda row: (row["condition"], row["lab"])):
            number = f"{row['value']:.2f} ± {row['u']:.2f} {row['unit']}" if row["value"] is not None else "nothing"
            self._say(f"{row['condition']:<9}  {row['lab']:<7}  {number:<33}  {row['ark']}")
        self._say("All of it is simulated data, and every record says so.")
        return rows

    def _compare(self, rows: list[dict[str, Any]], labs: list[str]) -> None:
        difference = paired_difference(rows, labs[0], labs[1], OUTPUT)
        if difference is not None:
            self._say(f"\n{labs[0]} minus {labs[1]}: {difference.sentence}.")
        top = best(rows, OUTPUT)
        if top is not None:
            number = int(str(top["condition"])[1:])
            n, theta, r, t = CONDITIONS[number - 1]
            self._say(
                f"Where to look next: around {top['condition']} (n {n}, theta {theta}, r {r}, t {t}), the toughest "
                f"so far in {top['lab']}."
            )

    def _show_ledger(self) -> None:
        for one in self._commands.document("labcommons", "ledger")["allocations"]:
            self._say(
                f"Charged {one['charged_ms'] / 60_000:.1f} min of lab time on {one['instrument_type']}; "
                f"{one['held_ms'] / 60_000:.1f} min are held, {one['available_ms'] / 60_000:.1f} min are left."
            )

    def _verdict(self, labs: list[str]) -> Verdict:
        journals = {lab: self._running.journal(lab) for lab in labs}
        verdict = judge(
            journals,
            self._commands.lines("labcommons", "export", "attempts"),
            self._commands.lines("labcommons", "export", "ledger"),
            expected_ran=len(CONDITIONS) * len(labs),
            ray=self._options.runtime == "ray",
        )
        self._say(
            f"\nThe labs' journals say {verdict.started} starts, the facility {verdict.ran} attempts that ran, the "
            f"ledger {verdict.charged} charges; {verdict.clusters} Ray clusters for {len(labs)} labs."
        )
        for mismatch in verdict.mismatches:
            self._say(f"MISMATCH: {mismatch}")
        for attempt in verdict.unknown:
            self._say(f"UNKNOWN: {attempt} may have run; its time stays held until a person decides.")
        if not verdict.mismatches and not verdict.unknown:
            self._say("The three agree: each experiment ran once and was charged once.")
        return verdict
