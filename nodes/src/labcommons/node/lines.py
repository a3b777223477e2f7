"""Log lines: time, level, what happened, then ``name=value`` pairs; one line each, to stderr, safe to grep."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from labcommons.core.times import from_ms, to_text

__all__ = ["Lines", "to_stderr"]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/@+")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    # Quoted as JSON where a reader could be misled: spaces, quotes, control characters.
    return text if text and set(text) <= _PLAIN else json.dumps(text[:2000])


class Lines:
    """A logger whose fields are arguments: ``lines.info("grant taken", attempt="att_...")``."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(name)

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._log.isEnabledFor(level):
            pairs = "".join(f" {name}={_value(value)}" for name, value in fields.items() if value is not None)
            self._log.log(level, "%s%s", event, pairs)

    def debug(self, event: str, **fields: Any) -> None:
        """For those who look for a defect."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What happened."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something to know of; the node goes on by itself."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something that a person must look at."""
        self._write(logging.ERROR, event, fields)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        head = f"{to_text(from_ms(int(record.created * 1000)))} {record.levelname.lower()} {record.getMessage()}"
        return f"{head}\n{self.formatException(record.exc_info)}" if record.exc_info else head


def to_stderr(level: str) -> None:
    """Send the node's lines to stderr from ``level`` (``debug``, ``info``, ``warning``) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger("labcommons")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
