"""The agent's own commands: `run`, `stop-cluster`, `local`, `allow`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from labcommons.core.times import to_text
from labcommons.node.agent.local import StateFolder
from labcommons.node.cli.shared import print_json, settings_and_state, told, with_config
from labcommons.node.clock import utc_now
from labcommons.node.lines import Lines, to_stderr
from labcommons.node.runtime.ray_processes import stop_cluster

__all__ = [
    "allow_command",
    "local_command",
    "run_command",
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
