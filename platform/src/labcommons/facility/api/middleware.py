"""What every request passes before anything of ours reads it: a trace, limits, headers, a last net.

Plain ASGI, since the framework's own middleware class would sit between a streaming answer and its reader.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labcommons.facility.api.problems import internal, problem_response
from labcommons.facility.settings import LOOPBACK, Settings

_log = logging.getLogger(__name__)

#: Answers of an API: nobody frames them, nothing guesses their type, nothing keeps them.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

#: A body over its limit is read on and thrown away up to this many bytes, so that the sender, still busy sending,
#: reads our answer and not a reset connection. Past it the connection is simply closed.
LINGER_BYTES = 16 << 20


class Guard:
    """Outermost: draws the trace, checks the Host, adds headers, turns a defect into a 500 that says nothing."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = LOOPBACK | {urlsplit(settings.url).hostname or ""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = secrets.token_hex(8)
        scope.setdefault("state", {})["trace"] = trace
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["Trace-Id"] = trace
            await send(message)

        refusal = self._wrong_host(scope, trace)
        if refusal is not None:
            await refusal(scope, receive, sending)
            return
        try:
            await self._app(scope, receive, sending)
        except Exception:
            _log.exception("trace %s: %s %s failed", trace, scope["method"], scope["path"])
            if started:
                raise  # half an answer cannot be mended; the server cuts the connection, which the reader notices
            await internal(trace)(scope, receive, sending)

    def _wrong_host(self, scope: Scope, trace: str) -> Response | None:
        """A page of the web that makes its own name point at us (DNS rebinding) shows itself by that name."""
        host = urlsplit("//" + Headers(scope=scope).get("host", "")).hostname or ""
        if host in self._hosts:
            return None
        members = {
            "type": "wrong_host",
            "title": "This facility does not go by that name",
            "status": 421,
            "detail": "The Host header names another server.",
            "field": "",
            "remedy": "call the facility by the URL that `labcommons up` prints",
            "trace": trace,
        }
        return problem_response(421, members)


class BodyLimit:
    """Stops reading a body that passes the limit of its address."""

    def __init__(self, app: ASGIApp, limit: Callable[[str], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        if size > limit:
            if size <= LINGER_BYTES:
                await _drain(receive, LINGER_BYTES)
            await _too_large(scope, limit)(scope, receive, send)
            return
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    await _drain(receive, LINGER_BYTES)
                    # An HTTPException passes FastAPI's body reader as it is; any other would become a 400.
                    raise HTTPException(413, f"more than {limit} bytes", headers={"Connection": "close"})
            return message

        await self._app(scope, counting, send)


async def _drain(receive: Receive, most: int) -> None:
    """Read and forget what is still on its way, `most` bytes at the utmost."""
    while most > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        most -= len(message.get("body", b""))


def _too_large(scope: Scope, limit: int) -> Response:
    members = {
        "type": "too_large",
        "title": "The message is too large",
        "status": 413,
        "detail": f"{scope['method']} {scope['path']} takes {limit} bytes at most.",
        "field": "",
        "remedy": "send less in one call; split a long list over several calls",
        "trace": scope["state"]["trace"],
        "limit_bytes": limit,
    }
    return problem_response(413, members, {"Connection": "close"})


def limits_by_path(settings: Settings) -> Callable[[str], int]:
    """How many bytes the body of a call to a path may have."""
    table: Iterable[tuple[str, int]] = (
        ("/v1/node/objects/", settings.objects.maximum_bytes),
        ("/v1/node/", settings.limits.node_body_bytes),
    )

    def limit(path: str) -> int:
        return next((most for prefix, most in table if path.startswith(prefix)), settings.limits.body_bytes)

    return limit
