"""Doing: compile, submit, watch, cancel."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from labcommons.client.commands.common import EXIT_FAILED, EXIT_PERSON, Console, command
from labcommons.client.results import AT_REST, ENDED, Experiment, Study
from labcommons.client.tables import duration_text
from labcommons.core.errors import InvalidInput

__all__ = ["COMMANDS", "ending_code", "read_document"]

_EXAMPLE = 'compression-toughness --arg n=9 --arg theta="40 deg" --arg r="2.1 mm" --arg t="1.05 mm"'


def read_document(path: str) -> dict[str, Any]:
    """A JSON or YAML document from a file, or from stdin when ``path`` is ``-``."""
    import yaml

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        found = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}", code="bad_document", remedy="name a file that is there"
        ) from None
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidInput(
            f"{path} is neither JSON nor YAML: {error}", code="bad_document", remedy="mend the file and try again"
        ) from None
    if not isinstance(found, dict):
        raise InvalidInput(
            f"{path} holds no document", code="bad_document", remedy="write names and values, as in `title: ...`"
        )
    return found


def _one_experiment(
    pairs: Sequence[str], label: str | None, labs: Sequence[str], types: Sequence[str], priority: int
) -> dict[str, Any]:
    arguments = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise click.BadParameter(f'{pair!r} is not name=value, as in theta="40 deg"', param_hint="--arg")
        if name in arguments:
            raise click.BadParameter(f"{name} is given twice", param_hint="--arg")
        arguments[name] = text
    wishes = {"label": label, "labs": list(labs), "types": list(types), "priority": priority}
    return {"arguments": arguments, **{name: value for name, value in wishes.items() if value}}


def _work(body_file: str | None, protocol: str | None, one: dict[str, Any]) -> dict[str, Any]:
    """The work asked for: the body of a file, or one experiment from the options."""
    if body_file is not None:
        if one != {"arguments": {}}:
            raise click.UsageError(
                "with --file, what is asked for stands in the file: give no --arg, --lab or the like"
            )
        body = read_document(body_file)
        if not isinstance(body.get("experiments"), list):
            raise InvalidInput(
                f"{body_file} has no list `experiments`",
                code="bad_document",
                field="/experiments",
                remedy="write project, protocol, study and experiments as the API takes them",
            )
        return body if protocol is None else {**body, "protocol": protocol}
    if protocol is None:
        raise click.UsageError("name a PROTOCOL, or give --file")
    return {"protocol": protocol, "experiments": [one]}


def _work_options(function: Any) -> Any:
    for option in (
        click.argument("protocol", required=False),
        click.option("--arg", "pairs", multiple=True, metavar="NAME=VALUE", help='An argument, as in theta="40 deg".'),
        click.option(
            "--file", "body_file", metavar="FILE", help="Take the whole body from FILE (JSON or YAML, - for stdin)."
        ),
        click.option("--project", metavar="PRJ", help="The project that pays; needed when you have several."),
        click.option("--lab", "labs", multiple=True, metavar="LAB", help="Only in this lab (may be repeated)."),
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Only on this instrument type."),
    ):
        function = option(function)
    return function


@_work_options
@command(
    "compile",
    example=f"labcommons compile {_EXAMPLE}",
)
def compile_work(
    console: Console,
    protocol: str | None,
    pairs: Sequence[str],
    body_file: str | None,
    project: str | None,
    labs: Sequence[str],
    types: Sequence[str],
) -> None:
    """Say what an experiment would do, where it could run and what it would cost. Nothing is stored."""
    work = _work(body_file, protocol, _one_experiment(pairs, None, labs, types, 0))
    with console.facility() as lab:
        items = lab.compile(work["protocol"], work["experiments"], project=project or work.get("project"))
        names = {} if console.as_json else lab.names()
    console.document({"items": items}, "\n".join(_compiled(at, item, names) for at, item in enumerate(items)))
    if any("reasons" in item for item in items):
        sys.exit(3)


def _compiled(at: int, item: dict[str, Any], names: Mapping[str, str]) -> str:
    if "reasons" in item:
        return "\n".join(
            f"experiment {at}: cannot run: {one['code']} {one.get('field') or ''} (step {one.get('step') or '-'}, "
            f"instrument {one.get('instrument') or '-'}, limit {one.get('limit') or '-'})\n  remedy: {one['remedy']}"
            for one in item["reasons"]
        )
    lines = []
    for step in item["steps"]:
        lines.append(
            f"experiment {at}: step {step['step']} ({step['action']}) on {step['instrument_type']}, "
            f"holds {duration_text(step['hold_ms'])}"
        )
        lines += [
            f"  {names.get(one['instrument'])} of {names.get(one['lab'])}: about {duration_text(one['expected_ms'])}, "
            f"at most {duration_text(one['maximum_ms'])}"
            for one in step["candidates"]
        ]
    costs = ", ".join(f"{duration_text(ms)} of {kind}" for kind, ms in item["cost_ms"].items())
    return "\n".join([*lines, f"experiment {at}: costs at most {costs} (lab time)"])


@_work_options
@click.option("--study", metavar="NAME", help="A name for the study.")
@click.option("--label", metavar="TEXT", help="A label for the experiment.")
@click.option("--priority", type=int, default=0, help="Order among your project's own work; higher goes first.")
@click.option("--key", metavar="KEY", help="Idempotency-Key: the same key and work is submitted once.")
@click.option("--wait", is_flag=True, help="Wait for the results and show progress.")
@command(
    "submit",
    example=f"labcommons submit {_EXAMPLE}",
)
def submit_work(
    console: Console,
    protocol: str | None,
    pairs: Sequence[str],
    body_file: str | None,
    project: str | None,
    labs: Sequence[str],
    types: Sequence[str],
    study: str | None,
    label: str | None,
    priority: int,
    key: str | None,
    wait: bool,
) -> None:
    """Submit one experiment, or all of a file, as one study. Taken whole or refused whole."""
    if key == "":
        raise click.BadParameter("an empty key protects nothing; leave it out, and one is drawn", param_hint="--key")
    work = _work(body_file, protocol, _one_experiment(pairs, label, labs, types, priority))
    with console.facility() as lab:
        made = lab.submit(
            work["protocol"],
            work["experiments"],
            project=project or work.get("project"),
            study=study or work.get("study"),
            key=key,
        )
        experiments = made.experiments
        ids = [one.id for one in experiments]
        console.document(
            {"study": made.id, "experiments": ids},
            "\n".join([f"study {made.id}", *(f"  {one}" for one in ids), f"watch: labcommons watch {made.id}"]),
        )
        if wait:
            lab.wait(experiments, study=made.id)
            console.note(f"results: labcommons result {made.id}")
            sys.exit(ending_code([one.state for one in experiments]))


@click.argument("identifier")
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up waiting after this long; the work goes on.")
@command("watch", example="labcommons watch std_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")
def watch(console: Console, identifier: str, timeout: float | None) -> None:
    """Watch an experiment or a study until it ended or a person must decide."""
    with console.facility() as lab:
        thing = lab.attach(identifier)
        experiments = thing.experiments if isinstance(thing, Study) else [thing]
        try:
            lab.wait(
                experiments, timeout, progress=not console.as_json, study=thing.id if isinstance(thing, Study) else None
            )
            gave_up = False
        except TimeoutError as error:
            console.note(str(error))
            gave_up = True
        for one in experiments:
            _say_ended(console, one)
        # Not 0: a script that goes on to read results must know that there may be none.
        sys.exit(ending_code([one.state for one in experiments]) or (EXIT_FAILED if gave_up else 0))


def _say_ended(console: Console, one: Experiment) -> None:
    if console.as_json:
        console.line(one.data)
    else:
        click.echo(f"{one.id}  {one.state:<12}  {one.data.get('label') or ''}".rstrip())


def ending_code(states: Sequence[str]) -> int:
    """0 all succeeded (or still on the way); 1 one failed or was cancelled; 5 one needs a person."""
    if "needs_person" in states:
        return EXIT_PERSON
    return EXIT_FAILED if any(state in AT_REST and state != "succeeded" for state in states) else 0


@click.argument("experiment")
@command("cancel", example="labcommons cancel exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")
def cancel(console: Console, experiment: str) -> None:
    """Wish that an experiment ends: at once where nothing runs, else as soon as the lab knows what happened."""
    with console.facility() as lab:
        data = lab.cancel(experiment)
        state = data.get("state")
        if state in ENDED:
            text = f"{experiment} is {state}."
        else:
            text = f"{experiment}: cancelling; it is {state} until the lab has said what ran."
        console.document(data, text)


COMMANDS = [compile_work, submit_work, watch, cancel]
