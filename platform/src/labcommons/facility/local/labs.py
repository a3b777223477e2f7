"""The folders and documents of the demo labs, and the commands that run them.

A lab's folder holds what a real lab would have: `node.yaml`, its node's state with key and journal, and for a lab whose
instrument is a process of its own, that instrument's folder.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from labcommons.facility.identity.issuer.keys import write_private
from labcommons.facility.seed import INSTRUMENT_TYPE, LABS, DemoLab, SeededLab

_PORTS_OF_A_LAB = 100
#: Below the range that systems give out by themselves (from 32768).
_FIRST_PORT, _LAST_PORT = 21_000, 32_000


@dataclass(frozen=True)
class Layout:
    """Where everything of a home lies."""

    home: Path

    @property
    def state_file(self) -> Path:
        """What runs: URL, processes, how it was started."""
        return self.home / "facility.json"

    @property
    def port_file(self) -> Path:
        """The port that the facility listened on last."""
        return self.home / "facility" / "port"

    @property
    def people_file(self) -> Path:
        """The demo people and their passwords (0600)."""
        return self.home / "people.json"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.home / "logs"

    def lab(self, name: str) -> Path:
        """A lab's folder."""
        return self.home / "labs" / name

    def config(self, name: str) -> Path:
        """A lab's `node.yaml`."""
        return self.lab(name) / "node.yaml"

    def key(self, name: str) -> Path:
        """The private key of a lab's node (0600)."""
        return self.lab(name) / "state" / "node-key.pem"


def demo_labs(count: int) -> tuple[DemoLab, ...]:
    """The first `count` of the demo labs."""
    return LABS[:count]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether one could listen on this port of loopback now."""
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_block(home: Path, taken: Sequence[int] = ()) -> int:
    """The first port of a hundred that are all free, for a lab's Ray; `taken`: blocks that are spoken for.

    The search begins where `home` says, so that two that start at once do not reach for the same ports.
    Raises `RuntimeError` where there is none.
    """
    blocks = list(range(_FIRST_PORT, _LAST_PORT, _PORTS_OF_A_LAB))
    begin = zlib.crc32(str(home).encode()) % len(blocks)
    for first in (*blocks[begin:], *blocks[:begin]):
        if first not in taken and all(_free_everywhere(port) for port in range(first, first + _PORTS_OF_A_LAB)):
            return first
    raise RuntimeError(f"no {_PORTS_OF_A_LAB} free ports in a row between {_FIRST_PORT} and {_LAST_PORT}")


def _free_everywhere(port: int) -> bool:
    """Ray binds every interface, whatever it is told."""
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def write_lab(
    layout: Layout,
    lab: DemoLab,
    seeded: SeededLab,
    *,
    url: str,
    ports: int,
    line_port: int | None,
    options: Mapping[str, Any],
) -> Path:
    """Write the lab's `node.yaml`, `identity.json` and Ray token; returns the path of `node.yaml`.

    `ports`: first of a hundred for Ray; `line_port`: where the lab's instrument listens; `options`: `seed`,
    `time_scale`, `runtime`, `forgetful`.
    """
    state = layout.lab(lab.name) / "state"
    identity = {"client_id": seeded.node, "node": seeded.node, "lab": seeded.lab}
    write_private(state / "identity.json", (json.dumps(identity) + "\n").encode())
    token = state / "ray.token"
    if not token.exists():
        write_private(token, secrets.token_hex(32).encode())
    document = {
        "node": 1,
        "lab": {"name": lab.title, "time_zone": lab.time_zone, "ror": None},
        "facility": {"url": url},
        "state": "./state",
        "runtime": options["runtime"],
        "ray": {"ports": f"{ports}-{ports + _PORTS_OF_A_LAB - 1}", "token_file": "./state/ray.token"},
        "time_scale": options["time_scale"],
        "instruments": {lab.instrument: _instrument(lab, line_port, options)},
        # The lab's own word: what may run here, and when. The facility cannot widen it.
        "allow": [{"protocol": "*", "projects": "any"}],
    }
    path = layout.config(lab.name)
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _instrument(lab: DemoLab, line_port: int | None, options: Mapping[str, Any]) -> dict[str, Any]:
    offers = [{"capability": "compression.test@1"}]
    if lab.driver == "line":
        return {"type": INSTRUMENT_TYPE, "driver": "line", "address": f"127.0.0.1:{line_port}", "offers": offers}
    found: dict[str, Any] = {
        "type": INSTRUMENT_TYPE,
        "driver": "simulated",
        "model": "crossed_barrel",
        "seed": options["seed"],
        # Text that, with the seed, fixes the lab's own offset, drift and dead time.
        "lab": lab.name,
        "offers": offers,
    }
    if lab.name in options["forgetful"]:
        found["remembers"] = False
    return found


def instrument_command(layout: Layout, lab: DemoLab, port: int, options: Mapping[str, Any]) -> list[str]:
    """The command of a lab's instrument that is a process of its own."""
    memory = (
        ["--no-memory"] if lab.name in options["forgetful"] else ["--state", str(layout.lab(lab.name) / "instrument")]
    )
    with suppress(FileExistsError):
        (layout.lab(lab.name) / "instrument").mkdir(parents=True)
    return [
        sys.executable,
        "-m",
        "labcommons.node.simulated.line_server",
        "--model",
        "crossed_barrel",
        "--port",
        str(port),
        "--seed",
        str(options["seed"]),
        "--lab",
        lab.name,
        "--time-scale",
        str(options["time_scale"]),
        *memory,
    ]


def node_command(*words: str, config: Path) -> list[str]:
    """A command of `labcommons-node` of this very installation."""
    run = "from labcommons.node.cli import main; main()"
    return [sys.executable, "-c", run, *words, "--config", str(config)]
