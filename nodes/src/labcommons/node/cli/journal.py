"""`labcommons-node journal` (show, export, verify) and `refusals`. Reading needs no agent, and disturbs none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from labcommons.federation.wire import Entry, EntryKind, reason_of
from labcommons.node.cli.shared import EXIT_FAILED, print_json, settings_and_state, told, with_config
from labcommons.node.journal import JournalReader

__all__ = ["journal_command", "refusals_command"]


@click.group("journal")
def journal_command() -> None:
    """The node's journal: what it was permitted, what it did, each entry bound to the one before.

    \b
    Example:
      labcommons-node journal show --config node.yaml
    """


@contextmanager
def _reading(config: Path) -> Iterator[JournalReader]:
    _, state = settings_and_state(config)
    reader = JournalReader(state.journal)
    try:
        yield reader
    finally:
        reader.close()


def _line(journal: str, entry: Entry) -> dict[str, Any]:
    return {
        "journal": journal,
        "session": entry.session,
        "seq": entry.seq,
        "at": entry.at,
        "attempt": entry.attempt,
        "state": entry.kind.value,
        "detail": entry.detail,
        "previous": entry.previous,
        "hash": entry.hash,
    }


@journal_command.command("show")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only entries past this number.")
@click.option("--attempt", help="Only the story of this attempt.")
@with_config
def show_command(config: Path, as_json: bool, after: int, attempt: str | None) -> None:
    """Show entries, oldest first.

    \b
    Example:
      labcommons-node journal show --attempt att_01J8Z3V5Q2M4T6W8Y0A1B3C5D7
    """
    with told(as_json), _reading(config) as reader:
        for entry in reader.entries(after):
            if attempt is not None and entry.attempt != attempt:
                continue
            if as_json:
                print_json(_line(reader.id, entry))
                continue
            word = entry.detail.get("reason") or entry.detail.get("outcome") or ""
            click.echo(f"{entry.seq:6} {entry.at} {entry.kind:10} {entry.attempt or entry.session} {word}".rstrip())


@journal_command.command("export")
@with_config
def export_command(config: Path, as_json: bool) -> None:
    """Export all entries as JSON lines, for those who check us. The form is the same with and without --json.

    \b
    Example:
      labcommons-node journal export --config node.yaml > journal.jsonl
    """
    with told(as_json), _reading(config) as reader:
        for entry in reader.entries():
            print_json(_line(reader.id, entry))


@journal_command.command("verify")
@with_config
def verify_command(config: Path, as_json: bool) -> None:
    """Check the chain from its first entry to its last. Exit code 1 when it does not hold.

    \b
    Example:
      labcommons-node journal verify --config node.yaml
    """
    with told(as_json), _reading(config) as reader:
        why, last = reader.verify(), reader.last()
        if as_json:
            print_json({"journal": reader.id, "entries": last.seq, "hash": last.hash, "holds": why is None, "why": why})
        elif why is None:
            click.echo(f"{reader.id}: {last.seq} entries, the chain holds; its head is {last.hash}")
        else:
            click.echo(f"{reader.id}: the chain does not hold, {why}")
        if why is not None:
            sys.exit(EXIT_FAILED)


@click.command("refusals")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The newest so many.")
@with_config
def refusals_command(config: Path, as_json: bool, limit: int) -> None:
    """Show the grants that this lab did not take or start, newest last, with the reason.

    \b
    Example:
      labcommons-node refusals --limit 10
    """
    with told(as_json), _reading(config) as reader:
        closed = [e for e in reader.entries() if e.kind in (EntryKind.TOMBSTONE, EntryKind.BARRED)]
        for entry in closed[-limit:]:
            grant = reader.grant(entry.attempt or "")
            row = {
                "at": entry.at,
                "attempt": entry.attempt,
                "instrument": grant.instrument if grant else None,
                "project": grant.project if grant else None,
                "protocol": (grant.protocol_id or grant.protocol) if grant else None,
                "reason": reason_of(entry),
                "text": entry.detail.get("text"),
            }
            if as_json:
                print_json(row)
            else:
                click.echo(f"{row['at']} {row['attempt']} {row['instrument']} {row['reason']}: {row['text']}")
