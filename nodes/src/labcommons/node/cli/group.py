"""The group of the commands. Each is loaded when it is asked for."""

from __future__ import annotations

import importlib

import click

__all__ = ["main"]

#: Command -> module and the name in it. Loaded when asked for, so that `--help` and `local on` are there at once.
_WHERE = {
    "run": ("agent", "run_command"),
    "status": ("status", "status_command"),
    "local": ("agent", "local_command"),
    "allow": ("agent", "allow_command"),
    "refusals": ("journal", "refusals_command"),
    "journal": ("journal", "journal_command"),
    "stop-cluster": ("agent", "stop_cluster_command"),
    "try": ("trial", "try_command"),
    "check": ("check", "check_command"),
    "new-driver": ("new_driver", "new_driver_command"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _WHERE:
            return None
        module, name = _WHERE[cmd_name]
        found = getattr(importlib.import_module(f"labcommons.node.cli.{module}"), name)
        if not isinstance(found, click.Command):
            raise TypeError(f"{module}.{name} is no command")
        return found


@click.command("labcommons-node", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labcommons-node", prog_name="labcommons-node")
def main() -> None:
    """The lab's side of the commons: run the agent, look at it, try instruments.

    \b
    Examples:
      labcommons-node try --driver line --address 127.0.0.1:7401
      labcommons-node run --config node.yaml
      labcommons-node local on --reason "service visit"

    Exit codes: 0 done; 1 it ran and failed; 2 usage; 3 refused; 4 the facility cannot be reached; 5 a person must
    decide.
    """
