"""The demo acts as its users do: through the commands, as processes, reading what they print as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CommandFailed", "Commands"]


class CommandFailed(Exception):
    """A command ended otherwise than the story allows; carries what it printed."""


class Commands:
    """Runs `labcommons` and `labcommons-node` of this very installation in one LABCOMMONS_HOME."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._bin = Path(sys.executable).parent
        self._environment = dict(environment)

    def run(self, *words: str, stdin: str = "", allow: Sequence[int] = (0,)) -> str:
        """What the command printed on stdout. Raises ``CommandFailed`` for an exit code that is not in ``allow``."""
        done = subprocess.run(
            [str(self._bin / words[0]), *words[1:]],
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in allow:
            raise CommandFailed(f"`{' '.join(words)}` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def document(self, *words: str, stdin: str = "", allow: Sequence[int] = (0,)) -> Any:
        """The JSON document that the command prints with ``--json``."""
        return json.loads(self.run(*words, "--json", stdin=stdin, allow=allow))

    def lines(self, *words: str) -> list[dict[str, Any]]:
        """The JSON lines that the command prints."""
        return [json.loads(line) for line in self.run(*words).splitlines() if line]

    def follow(self, *words: str) -> subprocess.Popen[bytes]:
        """A command that shows its progress on this terminal while we go on."""
        return subprocess.Popen(
            [str(self._bin / words[0]), *words[1:]], env=self._environment, stdout=subprocess.DEVNULL
        )
