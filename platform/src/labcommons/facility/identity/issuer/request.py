"""From raw HTTP to what Authlib reads, with everything that it would stumble over refused first.

Authlib builds some of its messages from the request's words and breaks on characters that OAuth forbids in messages; a
parameter that is given twice could be read once by one check and once by another. Neither gets that far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload, OAuth2Request

__all__ = ["MAXIMUM_BYTES", "BadParameters", "Reply", "Request", "read_parameters"]

MAXIMUM_BYTES = 65_536
_MAXIMUM_PARAMETERS = 40
_MAXIMUM_VALUE = 8_192
#: What only travels back to the client may hold all that RFC 6749 allows there.
_OPAQUE = frozenset({"state", "nonce"})
#: People's own words, which never reach Authlib.
_HUMAN = frozenset({"username", "password"})


class BadParameters(ValueError):
    """The parameters are not what any client of ours would send; the message is fit to be shown."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What Authlib wants sent: ``body`` is a JSON object or a text."""

    status: int
    body: Mapping[str, Any] | str
    headers: tuple[tuple[str, str], ...]

    @property
    def location(self) -> str | None:
        """Where it redirects to."""
        return next((value for name, value in self.headers if name.lower() == "location"), None)


class Request(OAuth2Request):  # type: ignore[misc]  # Authlib has no types
    """One call of an endpoint, its parameters read already."""

    def __init__(self, method: str, uri: str, parameters: Mapping[str, str]) -> None:
        super().__init__(method, uri)
        self.payload = BasicOAuth2Payload(dict(parameters))
        self.login: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the body; for Authlib."""
        return dict(self.payload.data)

    @property
    def args(self) -> dict[str, str]:
        """The parameters of the address; for Authlib."""
        return dict(self.payload.data)


def read_parameters(raw: bytes) -> dict[str, str]:
    """The parameters of a query or of a form's body. Raises ``BadParameters``."""
    if len(raw) > MAXIMUM_BYTES:
        raise BadParameters("the request is too long")
    if not raw:
        return {}
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAXIMUM_PARAMETERS,
        )
    except ValueError:
        raise BadParameters("the parameters are not application/x-www-form-urlencoded") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise BadParameters("a parameter is given more than once")
        _check(name, value)
        found[name] = value
    # An empty parameter counts as one that was left out (RFC 6749, section 3.1).
    return {name: value for name, value in found.items() if value or name in _HUMAN}


def _check(name: str, value: str) -> None:
    if not name.isascii() or not name.isprintable() or len(name) > 64:
        raise BadParameters("a parameter has a name that is none of ours")
    if len(value) > _MAXIMUM_VALUE:
        raise BadParameters(f"the parameter {name} is too long")
    if name in _HUMAN:
        return
    allowed = value.isascii() and value.isprintable()
    if not allowed or (name not in _OPAQUE and ('"' in value or "\\" in value)):
        raise BadParameters("a parameter holds characters that have no place in it")
