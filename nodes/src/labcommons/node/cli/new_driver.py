"""`labcommons-node new-driver`: a package to start from."""

from __future__ import annotations

from pathlib import Path

import click

from labcommons.node.cli.shared import EXIT_REFUSED, end, print_json, told, with_json
from labcommons.node.scaffold import write_driver

__all__ = ["new_driver_command"]


@click.command("new-driver")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="Folder to write into (default: here).")
@with_json
def new_driver_command(name: str, into: Path, as_json: bool) -> None:
    """Write a working driver to start from: a package of its own, with a test.

    \b
    Example:
      labcommons-node new-driver balance --into .
      python3 -m pip install -e labcommons-balance
      labcommons-node check --driver balance
    """
    with told(as_json, usage=(ValueError,)):
        try:
            root, files = write_driver(name, into)
        except FileExistsError as error:
            end(as_json, EXIT_REFUSED, {"type": "exists", "detail": str(error)})
    if as_json:
        print_json({"folder": str(root), "files": files})
        return
    for file in files:
        click.echo(root / file)
    click.echo(f"next: python3 -m pip install -e {root} && labcommons-node check --driver {name}", err=True)
