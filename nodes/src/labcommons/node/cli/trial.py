"""`labcommons-node try`: one run on the bench. It needs no facility and nobody's approval."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from labcommons.node.cli.attach import Asked, asking, fresh_id
from labcommons.node.cli.shared import EXIT_FAILED, EXIT_PERSON, print_json, told
from labcommons.node.cli.shown import show_instrument, show_status, spoken_words
from labcommons.node.drivers import UnknownDriver
from labcommons.node.drivers.contract import Action, Description, InstrumentLost, Json, Status
from labcommons.node.host import InstrumentHost

__all__ = ["try_command"]


@click.command("try")
@asking
@click.option("--look", is_flag=True, help="Describe and health only: nothing moves.")
@click.option("--timeout", "timeout_s", type=float, help="Seconds to wait (default: what the instrument describes).")
def try_command(asked: Asked, as_json: bool, look: bool, timeout_s: float | None) -> None:
    """Attach an instrument with no facility at all, run one action, print the result.

    \b
    Examples:
      labcommons-node try --driver line --address 127.0.0.1:7401
      labcommons-node try --driver simulated --option model=crossed_barrel --option 'time_scale="1000"' --arg n=9
      labcommons-node try press --config node.yaml --arg theta="40 deg"

    Exit codes: 0 done; 1 it ran and failed, or does not answer; 2 usage; 3 refused, nothing moved; 5 it may have run.
    """
    with told(as_json, usage=(UnknownDriver, ValueError)), _held(asked) as host:
        description = Description.from_json(host.describe())
        state = host.health()
        if not as_json:
            show_instrument(description, state)
        if look:
            if as_json:
                print_json({"instrument": description.to_json(), "health": state})
            return
        action, chosen = asked.choose(description)
        status = _run(host, description, action, chosen, timeout_s)
    if as_json:
        print_json({"instrument": description.to_json(), "arguments": chosen, "status": status.to_json()})
    else:
        show_status(status)
    sys.exit(0 if status.phase == "done" else EXIT_FAILED if status.terminal else EXIT_PERSON)


@contextmanager
def _held(asked: Asked) -> Iterator[InstrumentHost]:
    """The instrument, with a memory of attempts that is thrown away at the end."""
    with tempfile.TemporaryDirectory(prefix="labcommons-try-") as folder:
        attached = asked.attachment()
        host = InstrumentHost(attached.driver, attached.options, Path(folder) / "attempts")
        try:
            yield host
        finally:
            host.close()


def _run(
    host: InstrumentHost, description: Description, action: Action, arguments: Json, timeout_s: float | None
) -> Status:
    attempt = fresh_id()
    longest = action.max_ms / 1000 / float(description.time_scale)
    left = timeout_s if timeout_s is not None else longest * 1.5 + 10
    click.echo(f"start {action.name} as {attempt}: {spoken_words(arguments)}", err=True)
    try:
        status = Status.from_json(host.start(attempt, action.name, arguments))
        while status.phase in ("running", "paused") and left > 0:
            step = min(1.0, left)
            left -= step
            status = Status.from_json(host.wait(attempt, step))
            if status.fraction is not None and sys.stderr.isatty():
                click.echo(f"\r{status.phase} {status.fraction:4.0%}", err=True, nl=False)
    except InstrumentLost as lost:
        if not lost.sent:
            raise
        click.echo(f"it may have run: {lost.reason}", err=True)
        return Status("cannot_tell", error={"code": "lost", "message": lost.reason})
    return status
