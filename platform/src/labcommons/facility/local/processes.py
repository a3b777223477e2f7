"""Processes of this machine that outlive the command which started them, known by pid and start time.

A pid alone is no name: the kernel gives it out again. The start time (clock ticks since boot, `/proc/<pid>/stat`) and
the id of the boot make it one, so that `down` ends exactly what `up` started and nothing else.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_POLL_S = 0.05


@dataclass(frozen=True)
class Process:
    """A process that we started. `start`: ticks since the boot named `boot`; `log`: where its words go."""

    name: str
    pid: int
    start: int
    boot: str
    log: str

    def to_json(self) -> dict[str, Any]:
        """For the state file."""
        return asdict(self)


def process_from_json(found: Mapping[str, Any]) -> Process:
    """The reverse of `to_json`. Raises `KeyError`, `TypeError` or `ValueError` on a file that is not ours."""
    return Process(
        name=str(found["name"]),
        pid=int(found["pid"]),
        start=int(found["start"]),
        boot=str(found["boot"]),
        log=str(found["log"]),
    )


def boot_id() -> str:
    """The kernel's name for this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process, or None where there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command in parentheses and may hold anything, also spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def spawn(name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Process:
    """Start `command` in a session of its own; its output is appended to `log`.

    Raises `OSError` where it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), writing, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    found = _stat(pid)
    if found is None:
        raise OSError(f"{name} ended at once; see {log}")
    return Process(name=name, pid=pid, start=found[1], boot=boot_id(), log=str(log))


def alive(process: Process) -> bool:
    """Whether that very process still runs (one that ended and waits to be reaped does not)."""
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    found = _stat(process.pid)
    return found is not None and found[1] == process.start and found[0] not in "ZX" and process.boot == boot_id()


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to that very process; False where it runs no more."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def end(process: Process, *, grace_s: float) -> str:
    """End it: SIGTERM, after `grace_s` seconds SIGKILL. Says what happened: `gone`, `ended` or `killed`."""
    if not send(process, signal.SIGTERM):
        return "gone"
    if wait_until(lambda: not alive(process), timeout_s=grace_s):
        return "ended"
    send(process, signal.SIGKILL)
    wait_until(lambda: not alive(process), timeout_s=5.0)
    return "killed"


def wait_until(done: Callable[[], bool], *, timeout_s: float, poll_s: float = _POLL_S) -> bool:
    """Ask `done` until it is true or `timeout_s` seconds have passed; returns the last answer.

    Other processes tell nobody when they are ready, so a command that waits for them has to ask.
    """
    rounds = max(1, round(timeout_s / poll_s))
    for _ in range(rounds):
        if done():
            return True
        time.sleep(poll_s)
    return done()


def last_lines(log: str | Path, count: int = 12) -> str:
    """The end of a log, to show beside a failure."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-count:])
