"""Where things are in this repository, for the tests that look at the repository itself."""

import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ROOTS = tuple(REPO / part / "src" for part in ("nodes", "scheduler", "platform", "courses"))
"""The four source roots; each holds one portion of the namespace package `labcommons`."""


def tracked_files() -> list[Path]:
    """Return every file git knows or would add, as paths relative to the repository.

    Raises `CalledProcessError` outside a git checkout.
    """
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    )
    return [Path(name) for name in sorted(set(listing.stdout.split("\0"))) if name and (REPO / name).is_file()]
