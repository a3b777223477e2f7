"""Reading: labs, instruments, protocols, list, show, why, result, ledger, status."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from labcommons.client import requests
from labcommons.client.commands.common import EXIT_FAILED, EXIT_PERSON, Console, command
from labcommons.client.commands.run import read_document
from labcommons.client.results import ENDED, Experiment, Record, Study
from labcommons.client.tables import duration_text, value_text, when_text

__all__ = ["COMMANDS"]


@command("status", example="labcommons status")
def status(console: Console) -> None:
    """Say whether the facility is there, its version, and what its labs are doing."""
    with console.facility() as lab:
        version = lab.transport.send(requests.Request("GET", "/version"))
        labs, instruments = lab.labs(), lab.instruments()
        data = {"url": lab.url, "version": version, "labs": labs, "instruments": instruments}
        lines = [f"{lab.url}  version {version.get('version')}"]
        lines += [f"lab {one['name']}: {one['state']}, {len(one['instruments'])} instruments" for one in labs]
        lines += [f"  {one['name']} ({one['type']}): {one['state']}, {one['running'] or 'free'}" for one in instruments]
        console.document(data, "\n".join(lines))


@command("labs", example="labcommons labs")
def labs(console: Console) -> None:
    """List the labs of the federation."""
    with console.facility() as lab:
        console.table(
            lab.labs(),
            ["id", "name", "state", "instruments", "simulated", "time scale=time_scale"],
            "No lab has joined yet. A lab starts with: labcommons-node --help",
        )


@command("instruments", example="labcommons instruments")
def instruments(console: Console) -> None:
    """List the instruments, their type and state."""
    with console.facility() as lab:
        names = {} if console.as_json else lab.names()
        found = [{**one, "lab": names.get(one["lab"], one["lab"])} for one in lab.instruments()]
        console.table(
            found,
            ["id", "name", "type", "state", "lab", "running", "simulated"],
            "No instrument is known yet. A lab's node tells of its own when it connects.",
        )


@click.argument("name", required=False)
@click.option("--add", "file", metavar="FILE", help="Hand a protocol document (YAML or JSON) to the facility.")
@command("protocols", example="labcommons protocols compression-toughness")
def protocols(console: Console, name: str | None, file: str | None) -> None:
    """List the protocols, show one with its parameters, or add one."""
    with console.facility() as lab:
        if file is not None:
            made = lab.transport.send(requests.store_protocol(read_document(file), key=secrets.token_urlsafe(18)))
            console.document(made, f"{made['id']} is {made['hash']}")
        elif name is None:
            console.table(
                lab.protocols(), ["id", "title", "hash"], "No protocol yet. Add one: labcommons protocols --add FILE"
            )
        else:
            _show_protocol(console, lab.protocol(name))


def _show_protocol(console: Console, protocol: dict[str, Any]) -> None:
    document = protocol["document"]
    lines = [f"{protocol['id']}: {protocol['title']}", protocol["hash"], document.get("intent") or "", "parameters:"]
    for name, one in document.get("parameters", {}).items():
        bounds = f"{one['min']} to {one['max']} " if one.get("min") is not None and one.get("max") is not None else ""
        default = f", default {value_text(one['default'])}" if one.get("default") is not None else ""
        lines.append(f"  {name}: {one['kind']} {bounds}{one.get('unit') or ''}{default}".rstrip())
    console.document(protocol, "\n".join(line for line in lines if line))


@click.option("--project", metavar="PRJ")
@click.option("--study", metavar="STD")
@click.option("--state", metavar="STATE", help="waiting, running, needs_person, succeeded, failed or cancelled.")
@command("list", example="labcommons list --state running")
def list_experiments(console: Console, project: str | None, study: str | None, state: str | None) -> None:
    """List experiments, newest studies included."""
    with console.facility() as lab:
        found = [one.data for one in lab.experiments(project=project, study=study, state=state)]
        console.table(
            [{**one, "when": when_text(one["submitted_at"])} for one in found] if not console.as_json else found,
            ["id", "label", "protocol=protocol_id", "state", "place", "submitted=when"],
            "No experiment matches. Submit one: labcommons submit --help",
        )


@click.argument("identifier")
@command("show", example="labcommons show exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")
def show(console: Console, identifier: str) -> None:
    """Show an experiment or a study: states, steps, attempts."""
    with console.facility() as lab:
        thing = lab.attach(identifier)
        if console.as_json:
            console.document(thing.data, "")
        elif isinstance(thing, Study):
            states = ", ".join(f"{number} {state}" for state, number in thing.data["states"].items())
            click.echo(f"{thing.id}  {thing.data['name']}: {states}")
        else:
            click.echo(_experiment_text(thing, lab.names()))


def _experiment_text(one: Experiment, names: Mapping[str, str]) -> str:
    data = one.data
    lines = [
        f"{one.id}  {data['state']}  {data.get('label') or ''}".rstrip(),
        f"  protocol {data['protocol_id']} {data['protocol']}",
    ]
    lines += [f"  {name} = {value_text(value)}" for name, value in data["arguments"].items()]
    for step in data["steps"]:
        charged = f", charged {duration_text(step['charged_ms'])}" if step.get("charged_ms") is not None else ""
        held = f"held at most {duration_text(step['hold_ms'])}"
        lines.append(f"  step {step['step']}: {step['state']} ({held}{charged})  {step.get('reason') or ''}".rstrip())
        lines += [
            f"    {each['attempt']}  {each['state']}  {names.get(each['instrument'], each['instrument'])} of "
            f"{names.get(each['lab'], each['lab'])}  {each.get('reason') or ''}".rstrip()
            for each in step["attempts"]
        ]
    return "\n".join(lines)


@click.argument("experiment")
@command("why", example="labcommons why exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")
def why(console: Console, experiment: str) -> None:
    """Say why an experiment waits, and what would have to change."""
    with console.facility() as lab:
        thing = lab.attach(experiment)
        if isinstance(thing, Study):
            raise click.BadParameter("a study has many reasons; give one of its experiments, exp_...")
        answer = thing.why()
        lines = [f"step {one['step']}: {one['code']}: {one['text']}" for one in answer["reasons"]]
        console.document(answer, "\n".join(lines) or f"{experiment} is {answer['state']}; nothing holds it back.")


@click.argument("identifier")
@click.option("--files", "folder", metavar="FOLDER", help="Also save the files of the records there.")
@command("result", example="labcommons result std_01J8Z3V5Q2M4T6W8Y0A1B3C5D7")
def result(console: Console, identifier: str, folder: str | None) -> None:
    """Print results with units and uncertainty, and the identifier to cite each by."""
    with console.facility() as lab:
        thing = lab.attach(identifier)
        experiments = thing.experiments if isinstance(thing, Study) else [thing]
        records = list(thing.records())
        if folder is not None:
            for record in records:
                _save(console, record, Path(folder))
        if console.as_json:
            console.document([record.data for record in records], "")
        else:
            columns = ["label", "output", "value", "run", "lab", "simulated", "cite"]
            over = all(one.state in ENDED for one in experiments)
            empty = "Nothing ran, so there is no result." if over else f"No result yet: labcommons watch {identifier}"
            console.table(_result_rows(records, lab.names()), columns, empty)
    if any(one.state == "needs_person" for one in experiments):
        sys.exit(EXIT_PERSON)
    if any(one.state in {"failed", "cancelled"} for one in experiments):
        sys.exit(EXIT_FAILED)


def _result_rows(records: Sequence[Record], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each output, and one for a run that gave none: what failed is part of what was found."""
    rows = []
    for record in records:
        about = {
            "label": record.data.get("label"),
            "lab": names.get(record.data["lab"], record.data["lab"]),
            "simulated": record.data["simulated"],
            "cite": record.ark,
        }
        # What failed is marked where it is read: its numbers are kept, they are no measurement to build on.
        error = record.data.get("error") or {}
        ended = str(record.data["outcome"]) + (f": {error.get('code')}" if error else "")
        rows += [
            {**about, "output": name, "value": value_text(value), "run": ended}
            for name, value in record.outputs.items()
        ]
        if not record.outputs:
            rows.append({**about, "value": error.get("message") or "no outputs", "run": ended})
    return rows


def _save(console: Console, record: Record, folder: Path) -> None:
    target = folder / record.id
    for thing in record.data["objects"]:
        target.mkdir(parents=True, exist_ok=True)
        # A lab chose the name: only its last part may choose the file.
        path = target / (Path(thing["name"]).name or thing["sha256"])
        path.write_bytes(record.download(thing["name"]))
        console.note(f"saved {path}")


@click.option("--project", metavar="PRJ")
@command("ledger", example="labcommons ledger")
def ledger(console: Console, project: str | None) -> None:
    """Print a project's statement: what was granted, is held, was charged, is left."""
    with console.facility() as lab:
        statement = lab.statement(project)
        lines = []
        for one in statement["allocations"]:
            lines.append(f"{one['allocation']}  {one['instrument_type']}")
            lines += [
                f"  {word:<10} {duration_text(one[word + '_ms']):>14}  ({one[word + '_ms']} ms)"
                for word in ("granted", "charged", "refunded", "held", "available")
            ]
        lines.append(f"{len(statement['entries'])} entries; all of them: labcommons export ledger")
        console.document(statement, "\n".join(lines))


COMMANDS = [status, labs, instruments, protocols, list_experiments, show, why, result, ledger]
