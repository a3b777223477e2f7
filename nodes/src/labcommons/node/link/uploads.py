"""Objects of the node: kept by content in the state folder, synced; sent on connections of their own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from labcommons.federation.wire import ObjectRef
from labcommons.node.lines import Lines
from labcommons.node.link.calls import Backoff, Caller, LinkError

__all__ = ["BytesMissing", "ObjectFolder", "Uploads"]

_AT_ONCE = 4


class BytesMissing(Exception):
    """The node no longer has the bytes that a result names."""


class ObjectFolder:
    """Bytes by their sha256, one file each. A file that is there is whole: it is synced before it has its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the bytes of this hash are, if they are."""
        return self._folder / sha256

    def put(self, blocks: Iterable[bytes]) -> tuple[str, int]:
        """Keep the bytes durably, their folder's entry too; returns their sha256 (hex) and length. Blocks."""
        digest, size = hashlib.sha256(), 0
        building = self._folder / f".{secrets.token_hex(8)}"
        try:
            with building.open("wb") as file:
                for block in blocks:
                    digest.update(block)
                    size += len(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            building.rename(self.path(digest.hexdigest()))
        finally:
            building.unlink(missing_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return digest.hexdigest(), size

    def whole(self, sha256: str) -> bool:
        """Whether the bytes are there and still have this hash. Blocks."""
        try:
            with self.path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            return False


class Uploads:
    """Sends what results name, again and again until the facility says that it stored the attempt."""

    def __init__(self, caller: Caller, objects: ObjectFolder, lines: Lines, again_s: float = 5.0) -> None:
        self._caller = caller
        self._objects = objects
        self._lines = lines
        self._again_s = again_s
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def put(self, sha256: str) -> None:
        """One object, once. Raises ``LinkError`` or ``BytesMissing``."""
        async with self._places:
            try:
                await self._caller.put(f"/v1/node/objects/{sha256}", self._objects.path(sha256))
            except OSError as error:
                raise BytesMissing(f"{sha256}: {error}") from error
            except LinkError:
                if not await asyncio.to_thread(self._objects.whole, sha256):
                    raise BytesMissing(f"{sha256}: the file is gone or damaged") from None
                raise

    async def until_stored(
        self, attempt: str, objects: Sequence[ObjectRef], stored: asyncio.Event, uploaded: Callable[[], None]
    ) -> None:
        """Send the objects of a result until ``stored`` is set; ``uploaded`` is called after each round that came
        through, so that the facility is asked whether it has them. Raises ``BytesMissing``."""
        backoff, again = Backoff(), self._again_s
        waiting = {ref.sha256 for ref in objects}
        while not stored.is_set():
            for sha256 in sorted(waiting):
                try:
                    await self.put(sha256)
                    waiting.discard(sha256)
                except LinkError as error:
                    self._lines.warning("object not uploaded", attempt=attempt, sha256=sha256, why=error)
            if waiting:
                pause = backoff.failed()
            else:
                backoff.succeeded()
                uploaded()
                # A 200 to an upload is no acknowledgement: what is not named in time is sent again.
                pause, again = again, min(again * 2, 60.0)
                waiting = {ref.sha256 for ref in objects}
            try:
                async with asyncio.timeout(pause):
                    await stored.wait()
            except TimeoutError:
                continue
