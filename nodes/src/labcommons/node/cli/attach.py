"""What `try` and `check` take alike: which instrument is meant, which of its actions, with which arguments."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from labcommons.core.ids import SampleId
from labcommons.node.checks.arguments import middle, spoken
from labcommons.node.cli.shared import with_json
from labcommons.node.clock import mint
from labcommons.node.drivers.contract import Action, Description, Json
from labcommons.node.drivers.line import parse_address
from labcommons.node.settings import load

__all__ = ["Asked", "Attachment", "asking", "fresh_id"]


@dataclass(frozen=True)
class Attachment:
    """Which driver, with which options, and the instrument's name for people."""

    name: str
    driver: str
    options: Json

    @property
    def address(self) -> tuple[str, int] | None:
        """Where a line instrument listens; None for other drivers."""
        return parse_address(self.options.get("address")) if self.driver == "line" else None


@dataclass(frozen=True)
class Asked:
    """The words of a person at the bench, as the command line gave them."""

    name: str | None
    config: Path | None
    driver: str | None
    address: str | None
    options: tuple[str, ...]
    action_name: str | None
    arguments: tuple[str, ...]

    def attachment(self) -> Attachment:
        """The instrument that is meant. Raises ``click.UsageError`` where none is, ``InvalidInput`` for node.yaml."""
        given = self._options()
        driver = self.driver
        if driver is None and self.address is not None and self.name is None:
            driver = "line"
        if driver is not None:
            return Attachment(self.name or driver, driver, {"name": self.name or driver, **given})
        path = self.config or Path("node.yaml")
        if self.config is None and not path.exists():
            raise click.UsageError(
                "say which instrument: --address HOST:PORT, --driver NAME, or a node.yaml with --config"
            )
        settings, name = load(path), self.name
        if name is None and len(settings.instruments) == 1:
            name = next(iter(settings.instruments))
        if name is None:
            raise click.UsageError(
                f"name one of the instruments in {path}: {', '.join(settings.instruments) or 'none'}"
            )
        return Attachment(name, settings.instrument(name).driver, {**settings.driver_options(name), **given})

    def _options(self) -> Json:
        import yaml

        given: Json = {}
        for text in self.options:
            key, equals, value = text.partition("=")
            if not equals:
                raise click.UsageError(f"--option {text}: write KEY=VALUE")
            given[key] = yaml.safe_load(value)
        return given if self.address is None else given | {"address": self.address}

    def choose(self, description: Description) -> tuple[Action, Json]:
        """The action that is meant and its arguments: those given, else the middle of each range."""
        if not description.actions:
            raise ValueError("the instrument describes no action")
        action = description.action(self.action_name) if self.action_name else description.actions[0]
        if action is None:
            known = ", ".join(a.name for a in description.actions)
            raise ValueError(f"no action is called {self.action_name!r}; the instrument has: {known}")
        return action, {**middle(action, str(mint(SampleId))), **spoken(action, self.arguments)}


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which instrument is meant: ``command`` gets them as one ``Asked``, then ``as_json``."""

    @functools.wraps(command)
    def called(**given: Any) -> None:
        command(Asked(**{one.name: given.pop(one.name) for one in fields(Asked)}), **given)

    decorated = with_json(called)
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
        )
    ):
        decorated = decorate(decorated)
    return decorated


def fresh_id() -> str:
    """An attempt's id that nobody used."""
    return f"bench-{secrets.token_hex(10)}"
