"""Commands for the bench: `try`, `check`, `new-driver`. They need no facility and nobody's approval."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from labcommons.core.errors import LabCommonsError
from labcommons.core.ids import SampleId
from labcommons.node.checks import Finding, Probe, run_checks
from labcommons.node.checks.arguments import middle, spoken
from labcommons.node.clock import mint
from labcommons.node.drivers import UnknownDriver, load, open_driver
from labcommons.node.drivers.contract import Action, Description, InstrumentLost, InstrumentRefused, Json, Status
from labcommons.node.drivers.line import parse_address
from labcommons.node.host import InstrumentHost
from labcommons.node.scaffold import write_driver
from labcommons.node.settings import NodeSettings
from labcommons.node.settings import load as load_settings

__all__ = ["COMMANDS"]

EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_PERSON = 1, 2, 3, 5
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Attachment:
    """Which driver, with which options, and the instrument's name for people."""

    name: str
    driver: str
    options: Json

    @property
    def address(self) -> tuple[str, int] | None:
        return parse_address(self.options.get("address")) if self.driver == "line" else None


def _attaching(command: _Command) -> _Command:
    """The options that say which instrument is meant."""
    for decorate in reversed(
        (
            click.argument("name", required=False),
            click.option(
                "--config", type=click.Path(path_type=Path), help="The lab's node.yaml (default: ./node.yaml)."
            ),
            click.option("--driver", help="A driver by name, with no node.yaml: line, simulated, or one of your own."),
            click.option("--address", help="host:port of an instrument that speaks the line protocol."),
            click.option(
                "--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the driver (YAML)."
            ),
            click.option("--action", "action_name", help="The instrument's action (default: its first)."),
            click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help='Such as theta="40 deg".'),
            click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
        )
    ):
        command = decorate(command)
    return command


def _attach(
    name: str | None, config: Path | None, driver: str | None, address: str | None, options: tuple[str, ...]
) -> _Attachment:
    import yaml

    given: Json = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--option {text}: write KEY=VALUE")
        given[key] = yaml.safe_load(value)
    if address is not None:
        given["address"] = address
    if driver is None and address is not None and name is None:
        driver = "line"
    if driver is not None:
        return _Attachment(name or driver, driver, {"name": name or driver, **given})
    path = config or Path("node.yaml")
    if config is None and not path.exists():
        raise click.UsageError("say which instrument: --address HOST:PORT, --driver NAME, or a node.yaml with --config")
    settings = load_settings(path)
    if name is None and len(settings.instruments) == 1:
        name = next(iter(settings.instruments))
    if name is None:
        raise click.UsageError(f"name one of the instruments in {path}: {', '.join(settings.instruments) or 'none'}")
    return _Attachment(name, settings.instrument(name).driver, {**settings.driver_options(name), **given})


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """What can go wrong, in words, with its exit code."""
    try:
        yield
    except (UnknownDriver, ValueError) as error:
        _end(as_json, EXIT_USAGE, {"type": "usage", "detail": str(error)}, str(error))
    except LabCommonsError as error:
        problem = {"type": error.word, "detail": error.detail, "field": error.field, "remedy": error.remedy}
        _end(
            as_json, EXIT_REFUSED, problem, f"{error.field + ': ' if error.field else ''}{error.detail}. {error.remedy}"
        )
    except InstrumentRefused as refusal:
        refused: Json = {"type": refusal.code, "detail": refusal.message, "retryable": refusal.retryable}
        _end(as_json, EXIT_REFUSED, refused, f"the instrument refused, and nothing moved: {refusal}")
    except InstrumentLost as lost:
        _end(as_json, EXIT_FAILED, {"type": "lost", "detail": lost.reason}, f"no answer: {lost.reason}")


def _end(as_json: bool, code: int, problem: Json, text: str) -> NoReturn:
    if as_json:
        print(json.dumps(problem))
    click.echo(text, err=True)
    sys.exit(code)


def _choose(description: Description, action_name: str | None, words: tuple[str, ...]) -> tuple[Action, Json]:
    """The action that is meant and its arguments: those given, else the middle of each range."""
    if not description.actions:
        raise ValueError("the instrument describes no action")
    action = description.action(action_name) if action_name else description.actions[0]
    if action is None:
        known = ", ".join(a.name for a in description.actions)
        raise ValueError(f"no action is called {action_name!r}; the instrument has: {known}")
    return action, {**middle(action, str(mint(SampleId))), **spoken(action, words)}


def _fresh_id() -> str:
    return f"bench-{secrets.token_hex(10)}"


@click.command("try")
@_attaching
@click.option("--look", is_flag=True, help="Describe and health only: nothing moves.")
@click.option("--timeout", "timeout_s", type=float, help="Seconds to wait (default: what the instrument describes).")
def try_command(
    name: str | None,
    config: Path | None,
    driver: str | None,
    address: str | None,
    options: tuple[str, ...],
    action_name: str | None,
    arguments: tuple[str, ...],
    as_json: bool,
    look: bool,
    timeout_s: float | None,
) -> None:
    """Attach an instrument with no facility at all, run one action, print the result.

    \b
    Examples:
      labcommons-node try --driver line --address 127.0.0.1:7401
      labcommons-node try --driver simulated --option model=crossed_barrel --option 'time_scale="1000"' --arg n=9
      labcommons-node try press --config node.yaml --arg theta="40 deg"

    Exit codes: 0 done; 1 it ran and failed, or does not answer; 2 usage; 3 refused, nothing moved; 5 it may have run.
    """
    with _told(as_json), tempfile.TemporaryDirectory(prefix="labcommons-try-") as folder:
        attached = _attach(name, config, driver, address, options)
        host = InstrumentHost(attached.driver, attached.options, Path(folder) / "attempts")
        try:
            description = Description.from_json(host.describe())
            state = host.health()
            if not as_json:
                _show(description, state)
            if look:
                if as_json:
                    print(json.dumps({"instrument": description.to_json(), "health": state}))
                return
            action, chosen = _choose(description, action_name, arguments)
            status = _run(host, description, action, chosen, timeout_s)
        finally:
            host.close()
    if as_json:
        print(json.dumps({"instrument": description.to_json(), "arguments": chosen, "status": status.to_json()}))
    else:
        _show_status(status)
    sys.exit(0 if status.phase == "done" else EXIT_FAILED if status.terminal else EXIT_PERSON)


def _run(
    host: InstrumentHost, description: Description, action: Action, arguments: Json, timeout_s: float | None
) -> Status:
    attempt = _fresh_id()
    longest = action.max_ms / 1000 / float(description.time_scale)
    left = timeout_s if timeout_s is not None else longest * 1.5 + 10
    click.echo(f"start {action.name} as {attempt}: {_words(arguments)}", err=True)
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


def _show(description: Description, state: Mapping[str, Any]) -> None:
    about = description.instrument
    click.echo(f"{about.get('name')} ({about.get('manufacturer')} {about.get('model')}, serial {about.get('serial')})")
    remembers = "remembers attempts" if description.remembers_attempts else "remembers no attempts"
    click.echo(
        f"  {'simulated' if description.simulated else 'real'}; {remembers}; "
        f"{'can' if description.can_void else 'cannot'} void; on a lost link: {description.on_disconnect}; "
        f"time scale {description.time_scale}; {state['state']}{' ' if state['detail'] else ''}{state['detail']}"
    )
    for action in description.actions:
        click.echo(f"  {action.name}: {action.expected_ms} ms of lab time expected, {action.max_ms} ms at most")
        for name, spec in action.parameters.items():
            click.echo(f"    {name}: {_spec(spec)}")
        for name, spec in action.outputs.items():
            click.echo(f"    -> {name}: {_spec(spec)}")


def _spec(spec: Mapping[str, Any]) -> str:
    words = [str(spec.get("kind"))]
    if spec.get("min") is not None or spec.get("max") is not None:
        words.append(f"{spec.get('min', '')} to {spec.get('max', '')}")
    if spec.get("values"):
        words.append(", ".join(map(str, spec["values"])))
    if spec.get("unit"):
        words.append(str(spec["unit"]))
    return " ".join(words)


def _words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_value(value)}" for name, value in arguments.items()) or "no arguments"


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and "value" in value:
        u = f" ± {value['u']}" if value.get("u") is not None else ""
        return f"{value['value']}{u} {value.get('unit')}"
    if isinstance(value, Mapping) and len(value) == 1:
        inner = next(iter(value.values()))
        return str(inner) if not isinstance(inner, Mapping) else f"{next(iter(value))} {str(inner)[:60]}"
    return str(value)[:80]


def _show_status(status: Status) -> None:
    click.echo(status.phase)
    if status.error is not None:
        click.echo(f"  {status.error.get('code')}: {status.error.get('message')}")
    for flag in status.flags:
        click.echo(f"  flagged: {flag}")
    result = status.result or {}
    for output, value in (result.get("outputs") or {}).items():
        click.echo(f"  {output} = {_value(value)}")
    for entry in result.get("files") or ():
        click.echo(f"  file {entry.get('name')} ({entry.get('media_type')}) sha256 {str(entry.get('sha256'))[:16]}...")


@click.command("check")
@_attaching
@click.option("--no-motion", is_flag=True, help="Only the rules that start nothing.")
@click.option("--patience", "patience_s", type=float, default=600, show_default=True, help="Seconds for one run.")
@click.option("--reply-timeout", "reply_s", type=float, default=3, show_default=True, help="Seconds for one reply.")
def check_command(
    name: str | None,
    config: Path | None,
    driver: str | None,
    address: str | None,
    options: tuple[str, ...],
    action_name: str | None,
    arguments: tuple[str, ...],
    as_json: bool,
    no_motion: bool,
    patience_s: float,
    reply_s: float,
) -> None:
    """Does this instrument keep the contract? A line for each rule, with a remedy for each breach.

    Unless --no-motion is given it starts the instrument several times, with the arguments given or the middle of
    each range.

    \b
    Examples:
      labcommons-node check --driver line --address 127.0.0.1:7401
      labcommons-node check press --config node.yaml --no-motion --json

    Exit codes: 0 kept; 1 a breach; 2 usage.
    """
    with _told(as_json), tempfile.TemporaryDirectory(prefix="labcommons-check-") as folder:
        attached = _attach(name, config, driver, address, options)
        opened = {"memory": str(Path(folder) / "instrument"), **attached.options}
        if attached.driver == "line":
            opened |= {"reply_timeout_s": reply_s, "connect_timeout_s": reply_s, "stop_timeout_s": patience_s}
        load(attached.driver)
        probe = Probe(
            lambda: open_driver(attached.driver, opened),
            attached.address,
            _fresh_id,
            reply_s=reply_s,
            patience_s=patience_s,
            motion=not no_motion,
            action_name=action_name,
        )

        def prepare(found: Probe) -> None:
            action, found.arguments = _choose(found.description, action_name, arguments)
            if found.motion:
                click.echo(f"it will be started several times: {action.name}, {_words(found.arguments)}", err=True)

        findings = []
        try:
            for finding in run_checks(probe, prepare):
                findings.append(finding)
                if not as_json:
                    _show_finding(finding)
        finally:
            probe.close()
    broken = [f for f in findings if f.outcome == "fail"]
    if as_json:
        document = {"instrument": attached.name, "kept": not broken, "checks": [f.to_json() for f in findings]}
        print(json.dumps(document))
    else:
        passed = sum(f.outcome == "pass" for f in findings)
        verdict = f"{len(broken)} broken" if broken else "the contract is kept"
        click.echo(
            f"{verdict}: {passed} pass, {len(broken)} fail, {len(findings) - passed - len(broken)} not applicable"
        )
    sys.exit(EXIT_FAILED if broken else 0)


def _show_finding(finding: Finding) -> None:
    click.echo(f"{finding.outcome:4}  {finding.check}" + (f": {finding.detail}" if finding.detail else ""))
    if finding.outcome == "fail":
        click.echo(f"        rule:   {finding.words}")
        click.echo(f"        remedy: {finding.remedy}")


@click.command("new-driver")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path(), help="Folder to write into (default: here).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def new_driver_command(name: str, into: Path, as_json: bool) -> None:
    """Write a working driver to start from: a package of its own, with a test.

    \b
    Example:
      labcommons-node new-driver balance --into .
      pip install -e labcommons-balance
      labcommons-node check --driver balance
    """
    try:
        root, files = write_driver(name, into)
    except ValueError as error:
        _end(as_json, EXIT_USAGE, {"type": "usage", "detail": str(error)}, str(error))
    except FileExistsError as error:
        _end(as_json, EXIT_REFUSED, {"type": "exists", "detail": str(error)}, str(error))
    if as_json:
        print(json.dumps({"folder": str(root), "files": files}))
        return
    for file in files:
        click.echo(root / file)
    click.echo(f"next: pip install -e {root} && labcommons-node check --driver {name}", err=True)


def _instrument_status(settings: NodeSettings, name: str) -> Json:
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
    return row | {"state": health.state, "detail": health.detail}


COMMANDS: list[click.Command] = [try_command, check_command, new_driver_command]
"""What `labcommons-node` takes from here."""
