"""Where a client keeps its state and finds its facility: ``LABCOMMONS_HOME`` and ``LABCOMMONS_URL``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from labcommons.client.errors import FacilityUnreachable

__all__ = ["facility_url", "home_folder", "token_file"]


def home_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of local state: ``LABCOMMONS_HOME``, else ``~/.local/state/labcommons``."""
    env = os.environ if environment is None else environment
    named = env.get("LABCOMMONS_HOME")
    return Path(named) if named else Path.home() / ".local" / "state" / "labcommons"


def token_file(home: Path) -> Path:
    """The file with the tokens of this home (mode 0600)."""
    return home / "tokens.json"


def facility_url(home: Path, given: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The facility's address: as given, else ``LABCOMMONS_URL``, else what ``labcommons up`` wrote down.

    Raises ``FacilityUnreachable`` where none of them says.
    """
    env = os.environ if environment is None else environment
    url = given or env.get("LABCOMMONS_URL")
    if url:
        return url.rstrip("/")
    try:
        return str(json.loads((home / "facility.json").read_text(encoding="utf-8"))["url"]).rstrip("/")
    except (OSError, ValueError, KeyError):
        raise FacilityUnreachable(
            "no facility is named",
            remedy="run `labcommons up`, or set LABCOMMONS_URL (or --api-url) to your facility's address",
        ) from None
