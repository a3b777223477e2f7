"""A folder of bytes by their content. A file is there whole and synced, or it is not there."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from labcommons.core.errors import InvalidInput, NotFound, TooLarge

__all__ = ["FolderObjects"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INCOMING = "incoming"


class FolderObjects:
    """The ``ObjectStore`` port on a folder: ``ab/cd/abcd...`` and ``incoming/`` for what is being written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / _INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            # Written by a process that died: never acknowledged, so nobody counts on it.
            left.unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise InvalidInput(
                f"{sha256[:80]!r} is not a sha256",
                code="bad_hash",
                remedy="give 64 lower-case hexadecimal characters",
            )
        return self._folder / sha256[:2] / sha256[2:4] / sha256

    def put(self, sha256: str, chunks: Iterable[bytes], *, maximum: int | None = None) -> int:
        """Store the bytes; see the port. They pass through a temporary file, and file and folders are synced."""
        path = self._path(sha256)
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                size = _copy(chunks, file, sha256, maximum)
                file.flush()
                os.fsync(file.fileno())
            self._place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return size

    def _place(self, temporary: Path, path: Path) -> None:
        """Rename into place and sync every folder that gained a name.

        Also where the name is there already: whoever gave it may have ended before its folders were on the disk.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            temporary.rename(path)
        for folder in (path.parent, path.parent.parent, self._folder):
            _sync_folder(folder)

    def has(self, sha256: str) -> bool:
        """Whether the bytes are here."""
        return self._path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Size in bytes."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            raise _missing(sha256) from None

    def open(self, sha256: str) -> BinaryIO:
        """The bytes, to be read and closed."""
        try:
            return self._path(sha256).open("rb")
        except FileNotFoundError:
            raise _missing(sha256) from None


def _copy(chunks: Iterable[bytes], file: BinaryIO, sha256: str, maximum: int | None) -> int:
    """Write ``chunks`` and return their size, if they are what ``sha256`` says."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if maximum is not None and size > maximum:
            raise TooLarge(
                f"an object may have {maximum} bytes",
                remedy="send it in parts, or ask the facility to raise the limit",
            )
        digest.update(chunk)
        file.write(chunk)
    if digest.hexdigest() != sha256:
        raise InvalidInput(
            f"the bytes have the sha256 {digest.hexdigest()}, not {sha256}",
            code="hash_mismatch",
            remedy="send the bytes again, whole, under the sha256 of exactly these bytes",
        )
    return size


def _missing(sha256: str) -> NotFound:
    return NotFound(f"no object {sha256}", remedy="check the sha256; the bytes may not have been sent yet")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
