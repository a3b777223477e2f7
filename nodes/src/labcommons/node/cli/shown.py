"""Instruments and their results as a person at the bench reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from labcommons.node.drivers.contract import Description, Status

__all__ = ["show_instrument", "show_status", "spoken_words"]


def show_instrument(description: Description, state: Mapping[str, Any]) -> None:
    """What the instrument says of itself, and how it is."""
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


def spoken_words(arguments: Mapping[str, Any]) -> str:
    """Arguments in one line."""
    return ", ".join(f"{name} = {_value(value)}" for name, value in arguments.items()) or "no arguments"


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and "value" in value:
        u = f" ± {value['u']}" if value.get("u") is not None else ""
        return f"{value['value']}{u} {value.get('unit')}"
    if isinstance(value, Mapping) and len(value) == 1:
        inner = next(iter(value.values()))
        return str(inner) if not isinstance(inner, Mapping) else f"{next(iter(value))} {str(inner)[:60]}"
    return str(value)[:80]


def show_status(status: Status) -> None:
    """How an attempt ended, with what came of it."""
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
