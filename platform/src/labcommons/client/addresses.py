"""Addresses that a token or password may be sent to: https anywhere, plain http on this machine alone."""

from __future__ import annotations

from urllib.parse import urlsplit

from labcommons.client.errors import NotLoggedIn

__all__ = ["checked", "is_loopback"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(url: str) -> bool:
    """Whether it is plain http to this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


def checked(url: object) -> str:
    """``url`` if secrets may be sent there. Raises ``NotLoggedIn`` (``insecure_transport``)."""
    if not isinstance(url, str) or not (urlsplit(url).scheme == "https" or is_loopback(url)):
        raise NotLoggedIn(
            f"{url!r} is not reached by https, so no password or token is sent there",
            code="insecure_transport",
            remedy="use the facility's https address",
        )
    return url
