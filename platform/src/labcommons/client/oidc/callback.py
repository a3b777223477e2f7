"""The loopback address to which the browser brings the issuer's answer (RFC 8252)."""

from __future__ import annotations

import os
import sys
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from labcommons.client.errors import NotLoggedIn
from labcommons.client.oidc import clock

__all__ = ["Callback", "open_browser", "to_stderr"]

_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><h1>{title}</h1><p>{text}</p></html>"
)


class Callback:
    """A server on 127.0.0.1 and a free port that waits for one answer."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()

    @property
    def redirect_uri(self) -> str:
        """The address to give to the issuer."""
        return f"http://127.0.0.1:{self._server.server_port}/callback"

    def wait(self, state: str, deadline: float) -> dict[str, str]:
        """The parameters of the answer that carries ``state``; others are turned away. Raises ``NotLoggedIn``.

        ``deadline`` is a time of ``clock.monotonic``.
        """
        self._server.state = state
        while self._server.answer is None:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise NotLoggedIn(
                    "nobody logged in in time", code="login_timeout", remedy="run `labcommons login` again"
                )
            self._server.timeout = left
            self._server.handle_request()
        return self._server.answer


class _Server(HTTPServer):
    state: str = ""
    answer: dict[str, str] | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up early is no reason to print a traceback."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # A connection that says nothing must not hold up the one that matters.
    timeout = 5.0

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        answer = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path != "/callback":
            self._say(404, "Nothing here", "This address waits for a login, and for nothing else.")
        elif answer.get("state") != self.server.state:
            self._say(400, "Another login", "This answer does not belong to the login that waits here.")
        elif "code" in answer:
            self.server.answer = answer
            self._say(200, "Logged in", "You can close this page and go back to where you came from.")
        else:
            self.server.answer = answer
            self._say(200, "Not logged in", "You can close this page and go back to where you came from.")

    def _say(self, status: int, title: str, text: str) -> None:
        body = _PAGE.format(title=title, text=text).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        # The address holds the code: it must not travel on to anywhere.
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the line would hold the code."""


def open_browser(address: str) -> None:
    """Open ``address`` in a browser with a window; on a machine without a screen, nothing happens.

    There a text browser would take over the terminal.
    """
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def to_stderr(text: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
