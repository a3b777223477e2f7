"""What every command shares: ``--json``, ``--api-url``, exit codes, and how results and refusals are printed."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import click

from labcommons.client.errors import FacilityRefused, FacilityUnreachable
from labcommons.client.facility import Facility
from labcommons.core.errors import LabCommonsError

__all__ = ["EXIT_FAILED", "EXIT_PERSON", "EXIT_REFUSED", "EXIT_UNREACHABLE", "Console", "command", "exit_code_of"]

#: Nobody refused anything: nobody was reached, or nobody asked.
_NOT_A_REFUSAL = frozenset({"unreachable", "not_logged_in", "no_result"})

EXIT_FAILED = 1
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_PERSON = 5


class Console:
    """Where a command's words go: results to stdout, everything else to stderr."""

    def __init__(self, *, as_json: bool, api_url: str | None) -> None:
        self.as_json = as_json
        self.api_url = api_url

    def facility(self) -> Facility:
        """The facility that was named. Raises ``FacilityUnreachable`` where none is."""
        return Facility(self.api_url)

    def note(self, text: str) -> None:
        """Progress and advice, for people."""
        click.echo(text, err=True)

    def document(self, data: Any, text: str) -> None:
        """The command's result: ``data`` as one JSON document, or ``text`` for people."""
        click.echo(json.dumps(data, ensure_ascii=False) if self.as_json else text)

    def line(self, data: Mapping[str, Any]) -> None:
        """One JSON line of a stream."""
        click.echo(json.dumps(data, ensure_ascii=False))

    def table(self, data: Iterable[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
        """A list as a table of ``columns`` ("key" or "title=key"); ``empty`` says the next step without rows."""
        rows = list(data)
        if self.as_json:
            click.echo(json.dumps(rows, ensure_ascii=False))
        elif rows:
            click.echo(_aligned(rows, columns))
        else:
            self.note(empty)


def _aligned(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    titles = [column.partition("=")[0] for column in columns]
    keys = [column.partition("=")[2] or column for column in columns]
    cells = [[_cell(row.get(key)) for key in keys] for row in rows]
    widths = [max(len(title), *(len(line[at]) for line in cells)) for at, title in enumerate(titles)]
    lines = [titles, *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    if isinstance(value, list):
        return ", ".join(_cell(item.get("name") if isinstance(item, Mapping) else item) for item in value)
    return str(value)


def exit_code_of(error: LabCommonsError) -> int:
    """4 where the facility cannot be reached, else 3: it, or we, refused."""
    return EXIT_UNREACHABLE if isinstance(error, FacilityUnreachable) else EXIT_REFUSED


def _fail(console: Console, error: LabCommonsError) -> NoReturn:
    problem = error.problem if isinstance(error, FacilityRefused) else _as_problem(error)
    if console.as_json:
        click.echo(json.dumps(problem, ensure_ascii=False))
    else:
        click.echo(_words(problem), err=True)
    sys.exit(exit_code_of(error))


def _as_problem(error: LabCommonsError) -> dict[str, Any]:
    return {
        "type": error.word,
        "title": error.title,
        "detail": error.detail,
        "field": error.field,
        "remedy": error.remedy,
    }


def _words(problem: Mapping[str, Any]) -> str:
    word = "cannot go on" if problem.get("type") in _NOT_A_REFUSAL else "refused"
    lines = [f"{word} ({problem.get('type')}): {problem.get('detail') or problem.get('title')}"]
    if problem.get("field"):
        lines.append(f"  where:  {problem['field']}")
    if problem.get("remedy"):
        lines.append(f"  remedy: {problem['remedy']}")
    lines += [
        f"  also:   {one.get('code')} {one.get('field') or ''} {one.get('remedy') or ''}".rstrip()
        for one in list(problem.get("reasons") or [])[1:]
    ]
    if problem.get("trace"):
        lines.append(f"  trace:  {problem['trace']}")
    return "\n".join(lines)


def command(name: str, *, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A click command whose function takes a ``Console`` first; adds ``--json``, ``--api-url`` and the example.

    Errors of ours become words and exit codes 3 and 4; Ctrl-C ends with 130 as shells expect.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else.")
        @click.option("--api-url", metavar="URL", help="The facility's address (else LABCOMMONS_URL).")
        @functools.wraps(function)
        def run(as_json: bool, api_url: str | None, **options: Any) -> None:
            console = Console(as_json=as_json, api_url=api_url)
            try:
                function(console, **options)
            except LabCommonsError as error:
                _fail(console, error)
            except KeyboardInterrupt:
                sys.exit(130)

        help_text = f"{function.__doc__ or ''}\n\n\b\nExample:\n  {example}"
        return click.command(name, help=help_text)(run)

    return decorate
