"""The processes of a lab's own Ray cluster: started as a sibling of the agent, found again, ended alone.

Ray is not imported here. A cluster is known by a tag in the environment of all its processes, beside its session id;
nothing of anybody else's is ever touched, and ``ray stop``, which ends every Ray of the machine, is never called.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from labcommons.node.runtime.port import RuntimeFailed

__all__ = ["Cluster", "environment", "known_cluster", "read_token", "start_cluster", "stop_cluster"]

_TAG = "LABCOMMONS_RAY_CLUSTER"
_SERVERS = frozenset({"gcs_server", "raylet"})
_TRIES = 3
_START_S = 90.0
_WORKER_PORTS = 12
_NAMED = (
    "port",
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


@dataclass(frozen=True)
class Cluster:
    """A lab's cluster. ``tag``: in the environment of its processes; ``sid``: the session that they were born in."""

    tag: str
    sid: int
    address: str
    temp: str

    def pids(self) -> list[int]:
        """Its living processes."""
        return [pid for pid in _all_pids() if self._ours(pid)]

    def whole(self) -> bool:
        """Whether its two servers live and its port answers."""
        names = {_name(pid) for pid in self.pids()}
        if not names >= _SERVERS:
            return False
        host, port = self.address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), timeout=2.0).close()
        except OSError:
            return False
        return True

    def servers_live(self) -> bool:
        """Whether its two servers live; cheap."""
        return {_name(pid) for pid in self.pids()} >= _SERVERS

    def _ours(self, pid: int) -> bool:
        if f"{_TAG}={self.tag}".encode() in _read(pid, "environ").split(b"\0"):
            return True
        # Ray writes its workers' titles over their environment, and a dying process has none; both keep the session.
        if _session(pid) != self.sid:
            return False
        name = _name(pid)
        return name in _SERVERS or name.startswith("ray::") or self.temp.encode() in _read(pid, "cmdline")


def known_cluster(folder: Path) -> Cluster | None:
    """The cluster that was started for the state's ``folder``, living or not."""
    try:
        return Cluster(**json.loads((folder / "cluster.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read_token(path: Path) -> str:
    """The lab's Ray token; made, mode 0600, if there is none. Raises ``RuntimeFailed`` if others can read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
    if path.stat().st_mode & 0o077:
        raise RuntimeFailed(f"{path} can be read by others, and it opens the lab's cluster: chmod 600 {path}")
    token = path.read_text(encoding="ascii").strip()
    if len(token) < 16:
        raise RuntimeFailed(f"{path} holds no token: remove it, and it is made anew")
    return token


def environment(token: str) -> dict[str, str]:
    """What must be in a process's environment before its first ``import ray``."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        # A cluster that is told to end has nothing to hand over to anybody.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def start_cluster(folder: Path, ports: tuple[int, int] | None, token: str) -> Cluster:
    """Start the lab's cluster; three tries, each swept before the next. Blocks. Raises ``RuntimeFailed``."""
    folder.mkdir(parents=True, exist_ok=True)
    why = ""
    for _ in range(_TRIES):
        cluster, command = _planned(folder, _free_ports(ports))
        why, sid = _try(folder, command, cluster.tag, token)
        cluster = Cluster(cluster.tag, sid, cluster.address, cluster.temp)
        if not why and cluster.whole():
            record = folder / "cluster.new"
            record.write_text(json.dumps(asdict(cluster)), encoding="utf-8")
            record.rename(folder / "cluster.json")
            return cluster
        _end(cluster)
    raise RuntimeFailed(f"the lab's Ray cluster did not start in {_TRIES} tries: {why or 'a server died at once'}")


def stop_cluster(folder: Path) -> int:
    """End this lab's cluster and nothing else; how many processes there were. Blocks for some seconds."""
    cluster = known_cluster(folder)
    if cluster is None:
        return 0
    ended = _end(cluster)
    (folder / "cluster.json").unlink(missing_ok=True)
    return ended


def _planned(folder: Path, free: list[int]) -> tuple[Cluster, list[str]]:
    # Short: Ray puts sockets below it, and a socket's path has 107 characters at most.
    temp = Path(tempfile.gettempdir()) / f"lc-{sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(mode=0o700)
    named, workers = free[: len(_NAMED)], free[len(_NAMED) :]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1"]
    command += [f"--{name}={port}" for name, port in zip(_NAMED, named, strict=True)]
    command += [
        f"--worker-port-list={','.join(map(str, workers))}",
        "--num-cpus=0",
        "--include-dashboard=false",
        "--no-monitor",
        "--include-log-monitor=false",
        "--object-store-memory=78643200",
        # One below: Ray opens its own folder to everybody on the machine, this one stays ours.
        f"--temp-dir={temp}/r",
        "--disable-usage-stats",
    ]
    return Cluster(secrets.token_hex(16), 0, f"127.0.0.1:{named[0]}", str(temp)), command


def _try(folder: Path, command: list[str], tag: str, token: str) -> tuple[str, int]:
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    log = folder / "start.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**inherited, **environment(token), _TAG: tag},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"no answer in {_START_S:g} s, see {log}", process.pid
    if code != 0:
        last = log.read_bytes()[-600:].decode("utf-8", "replace").strip()
        return f"`ray start` ended with {code}: {last}", process.pid
    return "", process.pid


def _free_ports(ports: tuple[int, int] | None) -> list[int]:
    wanted = len(_NAMED) + _WORKER_PORTS
    held: list[socket.socket] = []
    try:
        candidates = range(ports[0], ports[1] + 1) if ports is not None else [0] * wanted
        for port in candidates:
            if len(held) == wanted:
                break
            holder = socket.socket()
            try:
                holder.bind(("0.0.0.0", port))
                held.append(holder)
            except OSError:
                holder.close()
        if len(held) < wanted:
            raise RuntimeFailed(
                f"only {len(held)} of {wanted} ports are free in {ports}: give `ray: {{ports: FIRST-LAST}}` more room"
            )
        return [int(holder.getsockname()[1]) for holder in held]
    finally:
        for holder in held:
            holder.close()


def _end(cluster: Cluster) -> int:
    first = cluster.pids()
    for number, patience in ((signal.SIGTERM, 1.5), (signal.SIGKILL, 3.0)):
        _signal(cluster.pids(), number)
        _wait_gone(cluster, patience)
    if cluster.temp.startswith(str(Path(tempfile.gettempdir()) / "lc-")):
        shutil.rmtree(cluster.temp, ignore_errors=True)
    return len(first)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait_gone(cluster: Cluster, patience: float) -> None:
    # Counted, not timed: the wall clock may be set meanwhile.
    for _ in range(int(patience / 0.05)):
        if not cluster.pids():
            return
        time.sleep(0.05)


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[bytes]:
    # The command's name is in parentheses and may hold anything: what follows the last one has fixed fields.
    return _read(pid, "stat").rpartition(b")")[2].split()


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if len(fields) > 3 else -1


def _name(pid: int) -> str:
    """Empty for a process that is over and waits only for its parent."""
    state = _stat(pid)[:1]
    if not state or state[0] in (b"Z", b"X"):
        return ""
    return _read(pid, "comm").decode("utf-8", "replace").strip()
