"""One authenticated call to the facility: token, time limits, size limits, and what its answer is worth."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from labcommons.node.identity import IdentityRefused, IdentityUnreachable, TokenSource

__all__ = ["Backoff", "Caller", "LinkError"]

#: An answer past this is not read to its end: it is not one of ours.
ANSWER_BYTES = 16 * 1024 * 1024
_CHUNK = 256 * 1024


class LinkError(Exception):
    """A call came to nothing. ``code``: the problem's stable word, or ``unreachable``, ``corrupt``, ``identity``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Backoff:
    """Pauses after failures: from a quarter of a second to half a minute, doubled, with jitter; none after success."""

    def __init__(self, first_s: float = 0.25, longest_s: float = 30.0) -> None:
        self._first, self._longest = first_s, longest_s
        self.failures = 0

    def succeeded(self) -> None:
        """Start anew."""
        self.failures = 0

    def failed(self) -> float:
        """Seconds to pause now."""
        pause = min(self._longest, self._first * 2.0 ** min(self.failures, 20))
        self.failures += 1
        # Labs that lost the same facility must not come back in the same instant.
        return pause * (0.5 + secrets.randbelow(1000) / 2000)


class Caller:
    """Calls with a bearer token, renewed once when the facility does not take it."""

    def __init__(self, http: httpx.AsyncClient, tokens: TokenSource) -> None:
        self._http = http
        self._tokens = tokens

    async def post(self, path: str, body: bytes, timeout_s: float) -> bytes:
        """The answer's bytes. Raises ``LinkError``."""
        return await self._call("POST", path, body, "application/json", timeout_s)

    async def put(self, path: str, source: bytes | Path, timeout_s: float = 60.0) -> bytes:
        """Send bytes, or a file as a stream. ``timeout_s`` is between two pieces. Raises ``LinkError``, ``OSError``."""
        return await self._call("PUT", path, source, "application/octet-stream", timeout_s)

    async def _call(self, method: str, path: str, source: bytes | Path, media: str, timeout_s: float) -> bytes:
        for last in (False, True):
            try:
                token = await self._tokens.token()
            except IdentityRefused as error:
                raise LinkError("identity", str(error)) from error
            except IdentityUnreachable as error:
                raise LinkError("unreachable", str(error)) from error
            status, answer = await self._exchange(method, path, source, media, token, timeout_s)
            if status == 401 and not last:
                self._tokens.reject(token)
                continue
            if 200 <= status < 300:
                return answer
            raise LinkError(*_problem(status, answer))
        raise AssertionError("the second turn returns or raises")

    async def _exchange(
        self, method: str, path: str, source: bytes | Path, media: str, token: str, timeout_s: float
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": media, "Accept": "application/json"}
        content: bytes | AsyncIterator[bytes]
        if isinstance(source, Path):
            headers["Content-Length"] = str(os.stat(source).st_size)
            content = _stream(source)
        else:
            content = source
        try:
            async with self._http.stream(
                method, path, content=content, headers=headers, timeout=httpx.Timeout(timeout_s, connect=10.0)
            ) as response:
                received = bytearray()
                async for piece in response.aiter_bytes():
                    received += piece
                    if len(received) > ANSWER_BYTES:
                        raise LinkError("corrupt", f"an answer of more than {ANSWER_BYTES} bytes")
                return response.status_code, bytes(received)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LinkError("unreachable", f"{type(error).__name__} {error}".strip()) from error


async def _stream(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _problem(status: int, answer: bytes) -> tuple[str, str]:
    try:
        body = json.loads(answer)
        return str(body["type"]), f"{status} {body.get('detail', '')} {body.get('remedy', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return f"http_{status}", answer[:300].decode("utf-8", "replace")
