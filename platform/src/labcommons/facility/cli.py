"""The facility's commands: `up`, `down`, `admin`, and `serve` for those who start it.

They reach the `labcommons` command by entry points; `python -m labcommons.facility.cli` has them all.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette

from labcommons.core.errors import LabCommonsError
from labcommons.facility import local
from labcommons.facility.bootstrap import create_app, open_books, open_facility
from labcommons.facility.local.labs import Layout
from labcommons.facility.local.running import StartFailed
from labcommons.facility.seed import PROJECT, read_people
from labcommons.facility.services.run import invariants
from labcommons.facility.settings import Settings
from labcommons.facility.storage.engine import make_engine
from labcommons.facility.storage.migrate import current, head, migrate

__all__ = ["admin", "down", "main", "serve", "up"]

F = TypeVar("F", bound=Callable[..., Any])


def _home_option(command: F) -> F:
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="LABCOMMONS_HOME",
        help="Folder of all state  [default: ~/.local/state/labcommons]",
    )(command)


def _json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else.")(
        command
    )


def _home(given: Path | None) -> Path:
    return (given or _settings().home).expanduser().absolute()


def _say(text: str) -> None:
    click.echo(text, err=True)


class _Failed(click.ClickException):
    """It ran and failed."""

    exit_code = 1


class _Refused(click.ClickException):
    """It was refused before it ran."""

    exit_code = 3


@click.command(epilog="Example: labcommons up --labs 2 --seed 7")
@_home_option
@click.option("--labs", type=click.IntRange(0, 2), help="How many demo labs.  [default: 2]")
@click.option("--seed", type=click.IntRange(0), help="Seed of the simulated readings.  [default: 1]")
@click.option("--time-scale", help="Lab time per wall time in the demo labs.  [default: 240]")
@click.option(
    "--runtime",
    type=click.Choice(["ray", "inprocess"]),
    help="Where instruments live.  [default: ray where it is installed]",
)
@click.option("--dumb", is_flag=True, help="The demo labs' instruments remember no attempts.")
@click.option("--foreground", is_flag=True, help="Stay, and end everything with Ctrl-C.")
@_json_option
def up(
    home: Path | None,
    labs: int | None,
    seed: int | None,
    time_scale: str | None,
    runtime: str | None,
    dumb: bool,
    foreground: bool,
    as_json: bool,
) -> None:
    """Start a facility and two simulated labs on this machine, and say where everything is."""
    demo = _settings().demo
    try:
        running = local.start(
            _home(home),
            labs=demo.labs if labs is None else labs,
            seed=demo.seed if seed is None else seed,
            time_scale=time_scale or demo.time_scale,
            runtime=runtime or demo.runtime or _default_runtime(),
            forgetful=("north", "south") if dumb else (),
            note=_say,
        )
    except StartFailed as failure:
        raise _Failed(str(failure)) from None
    except LabCommonsError as refusal:
        raise _Refused(f"{refusal.detail}\n{refusal.remedy}") from None
    click.echo(json.dumps(_described(running)) if as_json else _words(running))
    if foreground:
        _wait_for_end()
        running.stop(_say)


def _settings(**given: Any) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _Refused("\n".join(_wrong(one["loc"], one["msg"]) for one in error.errors())) from None


def _wrong(location: tuple[int | str, ...], said: str) -> str:
    """What is wrong with a setting, under the name that it has in the environment."""
    name = "__".join(str(part).upper() for part in location)
    return f"LABCOMMONS_{name}: {said}" if name else said


def _default_runtime() -> str:
    from importlib.util import find_spec

    return "ray" if find_spec("ray") is not None else "inprocess"


def _wait_for_end() -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()


def _described(running: local.Running) -> dict[str, Any]:
    layout = running.layout
    return {
        "url": running.url,
        "home": str(running.home),
        "project": PROJECT,
        "people": running.people,
        "labs": {lab.name: str(layout.config(lab.name)) for lab in running.labs},
        "logs": str(layout.logs),
        "processes": {name: process.pid for name, process in running.processes.items()},
    }


def _words(running: local.Running) -> str:
    layout = running.layout
    people = "\n".join(f"  {one['username']:<6} {one['password']:<18} {one['about']}" for one in running.people)
    labs = "\n".join(f"  {lab.name:<6} {layout.config(lab.name)}" for lab in running.labs)
    return (
        f"The facility is at {running.url} (its API is described at {running.url}/docs).\n\n"
        f"People (passwords are also in {layout.people_file}):\n{people}\n\n"
        f"Labs:\n{labs or '  none'}\n\n"
        f"Project: {PROJECT}\nState:   {running.home}\nLogs:    {layout.logs}\n\n"
        f"Next: labcommons login --user rae\nEnd:  labcommons down"
    )


@click.command(epilog="Example: labcommons down")
@_home_option
@_json_option
def down(home: Path | None, as_json: bool) -> None:
    """End what `up` started, and nothing else. What was stored stays."""
    running = local.find(_home(home))
    ended = sorted(running.processes) if running is not None else []
    if running is not None:
        running.stop(_say)
    if as_json:
        click.echo(json.dumps({"ended": ended}))
    elif running is None:
        click.echo("Nothing runs here.")
    else:
        click.echo(f"Ended. The data stay in {running.home}.")


class _Server(uvicorn.Server):
    """Tells the held calls and streams to let go as soon as it is told to end, so that it need not wait for them."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. Runs between two steps of the loop's own thread."""
        self._app.state.wiring.stopping.set()
        super().handle_exit(sig, frame)


@click.command(hidden=True)
def serve() -> None:
    """Serve the API in this process; settings come from the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for talkative in ("httpx", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    settings = _settings()
    try:
        facility = open_facility(settings)
    except LabCommonsError as refusal:
        raise _Refused(f"{refusal.detail}\n{refusal.remedy}") from None
    try:
        app = create_app(facility)
        config = uvicorn.Config(
            app,
            host=settings.server.host,
            port=settings.server.port,
            log_config=None,
            access_log=False,
            server_header=False,
            # Above the long poll, so that a node's connection outlives each of its calls.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, settings.server.shutdown_ms // 1000),
        )
        _Server(config, app).run()
    finally:
        facility.close()


@click.group()
def admin() -> None:
    """For those who keep a facility: its schema, its books, its people."""


@admin.command("migrate", epilog="Example: labcommons admin migrate")
@_home_option
def admin_migrate(home: Path | None) -> None:
    """Bring the database's schema to the newest revision."""
    settings = _settings(home=_home(home))
    engine = make_engine(settings.database_url, busy_ms=settings.storage.busy_ms)
    try:
        before = current(engine)
        migrate(engine)
        click.echo(f"{before or 'empty'} -> {head()}")
    finally:
        engine.dispose()


@admin.command("check", epilog="Example: labcommons admin check")
@_home_option
@_json_option
def admin_check(home: Path | None, as_json: bool) -> None:
    """Check every invariant of the books. Exit code 1 if one does not hold."""
    settings = _settings(home=_home(home))
    if settings.storage.url is None and not (settings.home_path / "facility").exists():
        raise _Refused(f"There is no facility in {settings.home_path}: start one with `labcommons up`, or give --home.")
    engine, work = open_books(settings)
    try:
        if current(engine) != head():
            raise _Refused("The database's schema is not this version's: run `labcommons admin migrate` first.")
        with work.read() as uow:
            broken = invariants.broken(uow)
    finally:
        engine.dispose()
    if as_json:
        click.echo(json.dumps({"broken": broken}))
    else:
        click.echo("\n".join(broken) or "The books are right.")
    if broken:
        raise SystemExit(_Failed.exit_code)


@admin.command("people", epilog="Example: labcommons admin people")
@_home_option
@_json_option
def admin_people(home: Path | None, as_json: bool) -> None:
    """The demo people and their passwords, as `up` made them."""
    found = read_people(Layout(_home(home)).people_file)
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            "\n".join(f"{one['username']:<6} {one['password']:<18} {one['about']}" for one in found) or "Nobody yet."
        )


@click.group()
def main() -> None:
    """The facility's own commands."""


for _command in (up, down, admin, serve):
    main.add_command(_command)

if __name__ == "__main__":
    main()
