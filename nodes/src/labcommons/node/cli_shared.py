"""What the agent's commands share: options, exit codes, and how a refusal is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from labcommons.core.errors import LabCommonsError
from labcommons.node.agent.local import AlreadyRunning, StateFolder
from labcommons.node.identity import IdentityRefused
from labcommons.node.journal import JournalError
from labcommons.node.runtime.port import RuntimeFailed
from labcommons.node.settings import NodeSettings, load

__all__ = ["EXIT_FAILED", "EXIT_REFUSED", "print_json", "settings_and_state", "told", "with_config"]

EXIT_FAILED, EXIT_REFUSED = 1, 3
_Command = TypeVar("_Command", bound=Callable[..., Any])


def with_config(command: _Command) -> _Command:
    """`--config` and `--json`, as every command of the agent takes them."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="JSON on stdout, and nothing else there."),
        click.option(
            "--config", type=click.Path(path_type=Path), default=Path("node.yaml"), show_default=True, help="node.yaml."
        ),
    ):
        command = decorate(command)
    return command


def settings_and_state(config: Path) -> tuple[NodeSettings, StateFolder]:
    """The lab's settings and its state folder. Raises ``InvalidInput``."""
    settings = load(config)
    return settings, StateFolder(settings.state)


def print_json(document: Any) -> None:
    """One document on one line."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


@contextmanager
def told(as_json: bool) -> Iterator[None]:
    """What can go wrong, in words, with its exit code; with `--json` as a problem document."""
    try:
        yield
    except LabCommonsError as error:
        where = f"{error.field}: " if error.field else ""
        problem = {
            "type": error.word,
            "title": error.title,
            "detail": error.detail,
            "field": error.field,
            "remedy": error.remedy,
        }
        _end(as_json, EXIT_REFUSED, problem, f"{where}{error.detail}. {error.remedy}")
    except (IdentityRefused, AlreadyRunning) as error:
        _end(as_json, EXIT_REFUSED, {"type": _word(error), "detail": str(error)}, str(error))
    except (JournalError, RuntimeFailed) as error:
        _end(as_json, EXIT_FAILED, {"type": _word(error), "detail": str(error)}, str(error))


def _word(error: Exception) -> str:
    name = type(error).__name__
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


def _end(as_json: bool, code: int, problem: dict[str, Any], text: str) -> NoReturn:
    if as_json:
        print_json(problem)
    click.echo(text, err=True)
    sys.exit(code)
