"""The state folder's small files: who runs here, whether the lab works LOCAL, what the agent last said of itself."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["AlreadyRunning", "StateFolder"]


class AlreadyRunning(Exception):
    """Another agent works on this state folder: two would make two sessions of one journal."""


class StateFolder:
    """Paths and small files of one node."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.sqlite"
        self.objects = path / "objects"
        self.manifests = path / "manifests"
        self.instruments = path / "instruments"
        self.ray = path / "ray"
        self._local = path / "local.json"
        self._status = path / "status.json"
        self._lock = path / "agent.lock"

    def local(self) -> str:
        """The reason why the lab works LOCAL, empty when it does not. The file decides, at every start anew."""
        if not os.path.exists(self._local):
            return ""
        try:
            said = json.loads(self._local.read_text(encoding="utf-8"))
            reason = str(said.get("reason") or "") if isinstance(said, dict) else ""
        except (OSError, ValueError):
            # A file that cannot be read is still somebody's wish to be left alone.
            reason = ""
        return "the lab works in LOCAL mode" + (f": {reason}" if reason else "")

    def set_local(self, on: bool, reason: str = "", since: str = "") -> None:
        """Enter or leave LOCAL mode, durably."""
        if on:
            _write(self._local, {"reason": reason, "since": since}, durable=True)
        else:
            self._local.unlink(missing_ok=True)

    def tell(self, status: Mapping[str, Any]) -> None:
        """Leave word for `labcommons-node status`."""
        _write(self._status, status, durable=False)

    def told(self) -> dict[str, Any] | None:
        """What the agent last said of itself, if anything can be read."""
        try:
            said = json.loads(self._status.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def running_pid(self) -> int | None:
        """The pid of the agent that works here now."""
        try:
            with self._lock.open("r+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or 0) or None
        except (OSError, ValueError):
            return None
        return None

    def only_agent(self) -> _Lock:
        """A context in which this process is the one agent here. Raises ``AlreadyRunning``."""
        self.path.mkdir(parents=True, exist_ok=True)
        return _Lock(self._lock)


class _Lock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a+", encoding="utf-8")

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise AlreadyRunning(
                f"{self._path}: an agent already works on this state folder; end it first, or give this node its own"
            ) from None
        # The lock ends with the process, however it ends; the pid in it is for those who look.
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _write(path: Path, body: Mapping[str, Any], *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(f".{os.getpid()}")
    with building.open("w", encoding="utf-8") as file:
        json.dump(body, file, indent=1)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    building.rename(path)
