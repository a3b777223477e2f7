"""The agent's own commands: `run`, `status`, `local`, `allow`, `refusals`, `stop-cluster`."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from labcommons.core.times import to_text
from labcommons.federation.wire import EntryKind, reason_of
from labcommons.node.agent.local import StateFolder
from labcommons.node.cli_shared import print_json, settings_and_state, told, with_config
from labcommons.node.clock import utc_now
from labcommons.node.journal import JournalReader
from labcommons.node.lines import Lines, to_stderr
from labcommons.node.runtime.ray_processes import known_cluster, stop_cluster
from labcommons.node.settings import NodeSettings

__all__ = [
    "allow_command",
    "local_command",
    "refusals_command",
    "run_command",
    "status_command",
    "stop_cluster_command",
]


@click.command("run")
@click.option("--with-cluster", is_flag=True, help="At the end, end the lab's Ray cluster and its instruments too.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True)
@with_config
def run_command(config: Path, as_json: bool, with_cluster: bool, log_level: str) -> None:
    """Run the lab's agent in the foreground, until SIGTERM or Ctrl-C. Instruments that run go on without it.

    \b
    Example:
      labcommons-node run --config node.yaml
    """
    from labcommons.node.agent.process import run_agent

    to_stderr(log_level)
    with told(as_json):
        settings, state = settings_and_state(config)
        asyncio.run(run_agent(settings, Lines("labcommons.node")))
        ended = stop_cluster(state.ray) if with_cluster else 0
        if as_json:
            print_json({"ended": "clean", "cluster_processes_ended": ended})


@click.command("stop-cluster")
@with_config
def stop_cluster_command(config: Path, as_json: bool) -> None:
    """End this lab's own Ray cluster, and no other. An instrument that runs is asked about it at the next start.

    \b
    Example:
      labcommons-node stop-cluster --config node.yaml
    """
    with told(as_json):
        _, state = settings_and_state(config)
        ended = stop_cluster(state.ray)
        if as_json:
            print_json({"cluster_processes_ended": ended})
        else:
            click.echo(f"{ended} processes ended" if ended else "no cluster of this lab is running")


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
    from labcommons.node.cli_bench import _instrument_status

    pid = state.running_pid()
    said = (state.told() or {}) if pid else {}
    facility = {"url": settings.facility.url if settings.facility else None, **said.get("facility", {})}
    instruments = said.get("instruments")
    if instruments is None:
        # Nobody else holds them: ask each on its own.
        instruments = {name: _instrument_status(settings, name) for name in settings.instruments}
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


@click.group("local")
def local_command() -> None:
    """LOCAL mode: the lab works by itself, with the facility in reach or not. No new starts; nothing resumes by itself.

    \b
    Example:
      labcommons-node local on --reason "service visit"
    """


@local_command.command("on")
@click.option("--reason", default="", help="For those who wonder why; the facility's people read it.")
@with_config
def local_on_command(config: Path, as_json: bool, reason: str) -> None:
    """Enter LOCAL mode: grants are refused, what runs goes to its safe point.

    \b
    Example:
      labcommons-node local on --reason "service visit"
    """
    _set_local(config, as_json, True, reason)


@local_command.command("off")
@with_config
def local_off_command(config: Path, as_json: bool) -> None:
    """Leave LOCAL mode: new grants are taken again. What was stopped stays stopped.

    \b
    Example:
      labcommons-node local off
    """
    _set_local(config, as_json, False, "")


@local_command.command("status")
@with_config
def local_status_command(config: Path, as_json: bool) -> None:
    """Say whether the lab works LOCAL.

    \b
    Example:
      labcommons-node local status
    """
    with told(as_json):
        _, state = settings_and_state(config)
        _tell_local(state, as_json)


def _set_local(config: Path, as_json: bool, on: bool, reason: str) -> None:
    with told(as_json):
        _, state = settings_and_state(config)
        state.set_local(on, reason, to_text(utc_now()))
        _tell_local(state, as_json)


def _tell_local(state: StateFolder, as_json: bool) -> None:
    local = state.local()
    if as_json:
        print_json({"local": bool(local), "text": local, "agent": state.running_pid()})
    else:
        click.echo(local or "not LOCAL: grants are taken")


@click.group("allow")
def allow_command() -> None:
    """The lab's allow-list: what may run here, for whom and when. The facility cannot widen it.

    \b
    Example:
      labcommons-node allow show
    """


@allow_command.command("show")
@with_config
def allow_show_command(config: Path, as_json: bool) -> None:
    """Show the allow-list of node.yaml, and whether its hours are open now.

    \b
    Example:
      labcommons-node allow show --config node.yaml
    """
    with told(as_json):
        settings, _ = settings_and_state(config)
        now, zone = utc_now(), settings.lab.time_zone
        rows: list[dict[str, Any]] = [
            {
                "protocol": rule.protocol,
                "projects": "any" if rule.projects is None else sorted(rule.projects),
                "hours": rule.hours_text or "always",
                "time_zone": zone,
                "open_now": rule.hours is None or rule.hours.contains(now, zone),
            }
            for rule in settings.rules
        ]
    if as_json:
        print_json({"allow": rows})
        return
    if not rows:
        click.echo("nothing is allowed: add `allow: [{protocol: ...}]` to node.yaml")
    for row in rows:
        projects = row["projects"] if isinstance(row["projects"], str) else ", ".join(row["projects"])
        click.echo(f"{row['protocol']}  projects: {projects}  hours: {row['hours']} ({zone})")


@click.command("refusals")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@with_config
def refusals_command(config: Path, as_json: bool, limit: int) -> None:
    """Show the grants that this lab did not take or start, newest last, with the reason.

    \b
    Example:
      labcommons-node refusals --limit 10
    """
    with told(as_json):
        _, state = settings_and_state(config)
        with closing(JournalReader(state.journal)) as reader:
            closed = [e for e in reader.entries() if e.kind in (EntryKind.TOMBSTONE, EntryKind.BARRED)]
            for entry in closed[-limit:]:
                grant = reader.grant(entry.attempt or "")
                row = {
                    "at": entry.at,
                    "attempt": entry.attempt,
                    "instrument": grant.instrument if grant else None,
                    "project": grant.project if grant else None,
                    "protocol": (grant.protocol_id or grant.protocol) if grant else None,
                    "reason": reason_of(entry),
                    "text": entry.detail.get("text"),
                }
                if as_json:
                    print_json(row)
                else:
                    click.echo(f"{row['at']} {row['attempt']} {row['instrument']} {row['reason']}: {row['text']}")
