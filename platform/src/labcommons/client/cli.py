"""The `labcommons` command: verbs of the client, and those that installed parts of the commons add.

Other distributions and extras add commands by entry points of the group ``labcommons.commands``; a command whose extra
is not installed is listed all the same and names what to install.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from labcommons.client.commands import export, login, read, run

__all__ = ["main"]

#: Commands of the group ``labcommons.commands`` and the extra that brings them.
_EXTRAS = {"up": "facility", "down": "facility", "admin": "facility"}


class _Commands(click.Group):
    """The client's own verbs, and others loaded only when they are called: the client stays light."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *(point.name for point in _added())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in _added():
            if point.name == cmd_name:
                return _load(point)
        return None


def _added() -> list[EntryPoint]:
    return sorted(entry_points(group="labcommons.commands"), key=lambda point: point.name)


def _load(point: EntryPoint) -> click.Command:
    try:
        loaded = point.load()
    except ImportError as error:
        return _missing(point.name, str(error))
    if not isinstance(loaded, click.Command):
        raise TypeError(f"the entry point {point.name} of labcommons.commands is no click command")
    return loaded


def _missing(name: str, why: str) -> click.Command:
    extra = _EXTRAS.get(name, name)

    @click.command(name, help=f'Needs the extra "{extra}": pip install "labcommons[{extra}]"')
    def missing() -> None:
        click.echo(f'`labcommons {name}` needs: pip install "labcommons[{extra}]"  ({why})', err=True)
        sys.exit(2)

    return missing


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 it ran and failed; 2 usage; 3 refused; 4 no facility; 5 a person must decide.",
)
@click.version_option(package_name="labcommons")
def main() -> None:
    """Use the instruments of partner labs: submit, watch, read results with units and uncertainty."""


for _command in (*login.COMMANDS, *run.COMMANDS, *read.COMMANDS, *export.COMMANDS):
    main.add_command(_command)
