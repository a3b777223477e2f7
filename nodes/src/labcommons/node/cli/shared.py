"""What the commands share: options, exit codes, and how a refusal is told."""

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
from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused
from labcommons.node.identity import IdentityRefused
from labcommons.node.journal import JournalError
from labcommons.node.runtime.port import RuntimeFailed
from labcommons.node.settings import NodeSettings, load

__all__ = [
    "EXIT_FAILED",
    "EXIT_PERSON",
    "EXIT_REFUSED",
    "EXIT_USAGE",
    "end",
    "print_json",
    "settings_and_state",
    "told",
    "with_config",
    "with_json",
]

EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_PERSON = 1, 2, 3, 5
_Command = TypeVar("_Command", bound=Callable[..., Any])

with_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, and nothing else there.")


def with_config(command: _Command) -> _Command:
    """`--config` and `--json`, as every command of the agent takes them."""
    config = click.option(
        "--config", type=click.Path(path_type=Path), default=Path("node.yaml"), show_default=True, help="node.yaml."
    )
    return config(with_json(command))


def settings_and_state(config: Path) -> tuple[NodeSettings, StateFolder]:
    """The lab's settings and its state folder. Raises ``InvalidInput``."""
    settings = load(config)
    return settings, StateFolder(settings.state)


def print_json(document: Any) -> None:
    """One document on one line."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


@contextmanager
def told(as_json: bool, *, usage: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What can go wrong, in words, with its exit code; with `--json` as a problem document.

    ``usage``: errors that at this command mean wrong words of its caller.
    """
    try:
        yield
    except usage as error:
        end(as_json, EXIT_USAGE, {"type": "usage", "detail": str(error)})
    except LabCommonsError as error:
        problem = {
            "type": error.word,
            "title": error.title,
            "detail": error.detail,
            "field": error.field,
            "remedy": error.remedy,
        }
        where = f"{error.field}: " if error.field else ""
        end(as_json, EXIT_REFUSED, problem, f"{where}{error.detail}. {error.remedy}")
    except InstrumentRefused as error:
        refusal = {"type": error.code, "detail": error.message, "retryable": error.retryable}
        end(as_json, EXIT_REFUSED, refusal, f"the instrument refused, and nothing moved: {error}")
    except InstrumentLost as error:
        end(as_json, EXIT_FAILED, {"type": "lost", "detail": error.reason}, f"no answer: {error.reason}")
    except (IdentityRefused, AlreadyRunning) as error:
        end(as_json, EXIT_REFUSED, {"type": _word(error), "detail": str(error)})
    except (JournalError, RuntimeFailed) as error:
        end(as_json, EXIT_FAILED, {"type": _word(error), "detail": str(error)})


def _word(error: Exception) -> str:
    name = type(error).__name__
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


def end(as_json: bool, code: int, problem: dict[str, Any], text: str = "") -> NoReturn:
    """Say what is wrong on stderr (``text``, else the problem's detail), and end with ``code``."""
    if as_json:
        print_json(problem)
    click.echo(text or problem["detail"], err=True)
    sys.exit(code)
