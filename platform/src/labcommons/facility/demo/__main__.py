"""``python -m labcommons.facility.demo``: the environment variables SEED, KILL, DUMB and RUNTIME shape the story."""

from __future__ import annotations

import os
import sys

from labcommons.facility.demo.commands import CommandFailed
from labcommons.facility.demo.story import Options, tell


def main() -> int:
    """Run the demo; returns its exit code."""
    try:
        options = Options(
            seed=int(os.environ.get("SEED") or 0),
            kill=os.environ.get("KILL") not in (None, "", "0"),
            dumb=os.environ.get("DUMB") not in (None, "", "0"),
            runtime=os.environ.get("RUNTIME") or "ray",
        )
    except ValueError:
        sys.stderr.write("SEED is a whole number, as in: SEED=7 make demo\n")
        return 2
    try:
        return tell(options, os.environ, sys.stdout)
    except CommandFailed as error:
        sys.stderr.write(f"the demo stopped: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
