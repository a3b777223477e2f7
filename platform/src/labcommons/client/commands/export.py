"""Exports for those who check us: JSON lines, one object a line; fields may be added, never renamed."""

from __future__ import annotations

import click

from labcommons.client.commands.common import Console, command

__all__ = ["COMMANDS", "SOURCES"]

#: What can be exported and the list it is read from.
SOURCES = {"attempts": ("attempts",), "ledger": ("ledger", "entries")}


@click.argument("what", type=click.Choice(sorted(SOURCES)))
@click.option("--project", metavar="PRJ", help="Only this project's.")
@command("export", example="labcommons export attempts > attempts.jsonl")
def export(console: Console, what: str, project: str | None) -> None:
    """Export attempts or ledger entries that you may see, as JSON lines on stdout."""
    with console.facility() as lab:
        for item in lab.pages(*SOURCES[what], project=project):
            console.line(item)


COMMANDS = [export]
