"""`labcommons-node status`: how this node is, from what its agent tells, or from the instruments themselves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from labcommons.node.agent.local import StateFolder
from labcommons.node.cli.shared import print_json, settings_and_state, told, with_config
from labcommons.node.drivers import UnknownDriver, open_driver
from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Json
from labcommons.node.journal import JournalReader
from labcommons.node.runtime.ray_processes import known_cluster
from labcommons.node.settings import NodeSettings

__all__ = ["instrument_status", "status_command"]


@click.command("status")
@with_config
def status_command(config: Path, as_json: bool) -> None:
    """Say how this node is: agent, facility, instruments, attempts that are open, and who could reach its cluster.

    \b
    Example:
      labcommons-node status --config node.yaml
    """
    with told(as_json):
        settings, state = settings_and_state(config)
        found = _status(settings, state)
    if as_json:
        print_json(found)
        return
    agent = f"running as {found['pid']}" if found["pid"] else "not running"
    click.echo(f"{found['lab']}: agent {agent}" + (f"; {found['local']}" if found["local"] else ""))
    reached = "reached" if found["facility"].get("reached") else f"not reached {found['facility'].get('trouble') or ''}"
    click.echo(f"facility {found['facility']['url']}: {reached if found['pid'] else 'the agent is not running'}")
    click.echo(f"journal {found['journal'] or 'none yet'}, session {found['session'] or 'none yet'}")
    click.echo(f"ray: {found['ray']}")
    for name, one in found["instruments"].items():
        running = f", runs {one['running']}" if one.get("running") else ""
        click.echo(f"  {name:16} {one['state']:12} {one.get('detail', '')}{running}")
    for attempt, kind in found["open"].items():
        click.echo(f"  {attempt} {kind}")


def _status(settings: NodeSettings, state: StateFolder) -> dict[str, Any]:
    pid = state.running_pid()
    said = (state.told() or {}) if pid else {}
    facility = {"url": settings.facility.url if settings.facility else None, **said.get("facility", {})}
    instruments = said.get("instruments")
    if instruments is None:
        # Nobody else holds them: ask each on its own.
        instruments = {name: instrument_status(settings, name) for name in settings.instruments}
    found: dict[str, Any] = {
        "lab": settings.lab.name,
        "pid": pid,
        "local": state.local(),
        "facility": facility,
        "journal": None,
        "session": None,
        "ray": _ray(settings, state),
        "ray_cluster": said.get("ray_cluster"),
        "instruments": instruments,
        "open": {},
    }
    if state.journal.exists():
        with closing(JournalReader(state.journal)) as reader:
            found["journal"], found["session"] = reader.id, reader.session()
            found["open"] = {attempt: kinds[-1].value for attempt, kinds in reader.open_attempts()}
    return found


def _ray(settings: NodeSettings, state: StateFolder) -> str:
    if settings.runtime != "ray":
        return "not used: instruments live in the agent's process"
    cluster = known_cluster(state.ray)
    if cluster is None or not cluster.servers_live():
        return "no cluster is running"
    # Said plainly: Ray binds every interface, whatever it is told.
    return f"at {cluster.address}, not fenced: it listens on every interface, and its token alone keeps others out"


def instrument_status(settings: NodeSettings, name: str) -> Json:
    """How one instrument of node.yaml is, for `status` while no agent holds it."""
    instrument = settings.instrument(name)
    row: Json = {"name": name, "type": instrument.type, "driver": instrument.driver, "state": "", "detail": ""}
    if instrument.driver == "simulated":
        # Opening it here would be a second instrument beside the agent's.
        return row | {"state": "in process", "detail": "it lives and dies with the lab's agent or its Ray actor"}
    try:
        driver = open_driver(instrument.driver, settings.driver_options(name))
        try:
            health = driver.health()
        finally:
            driver.close()
    except (InstrumentLost, InstrumentRefused) as error:
        return row | {"state": "lost", "detail": str(error)}
    except (UnknownDriver, ValueError) as error:
        return row | {"state": "error", "detail": str(error)}
    return row | {"state": health.state, "detail": health.detail}
