"""People, clients, codes and refresh tokens, with the methods by which Authlib asks them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from labcommons.core.errors import InvalidInput
from labcommons.core.ids import NodeId
from labcommons.facility.identity.published import is_loopback

__all__ = ["SCOPES", "Client", "Code", "Person", "RefreshToken", "SignedIn", "check_redirect"]

SCOPES = ("openid", "profile", "email")
_ANY_PORT = "http://127.0.0.1:*/"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can log in. ``sub`` is the person's identifier (``per_``)."""

    sub: str
    username: str
    name: str
    email: str | None
    roles: tuple[str, ...]
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person in one session; ``auth_time`` and ``expires_at`` are seconds since 1970."""

    person: Person
    sid: str
    auth_time: int
    expires_at: int

    def get_user_id(self) -> str:
        """For Authlib."""
        return self.person.sub


@dataclass(frozen=True, slots=True)
class Client:
    """A program that asks for tokens: for people (it has redirect addresses) or for itself (a node)."""

    client_id: str
    jwks: Mapping[str, Any] | None
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...] = ()
    enabled: bool = True

    @property
    def public(self) -> bool:
        """Whether it has no key, so that PKCE alone ties its code to it."""
        return self.jwks is None

    @property
    def is_node(self) -> bool:
        """Whether it is a lab's node."""
        return self.client_id.startswith(NodeId.prefix + "_")

    @property
    def client_metadata(self) -> dict[str, Any]:
        """For Authlib's end-session endpoint."""
        return {"post_logout_redirect_uris": list(self.post_logout_redirect_uris)}

    def get_client_id(self) -> str:
        """For Authlib."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: an address must always be named, so that the code is bound to it."""

    def get_allowed_scope(self, scope: str | None) -> str:
        """The scopes given for those asked; ``profile email`` always, as Keycloak does by default."""
        asked = set((scope or "").split())
        return " ".join(word for word in SCOPES if word in asked or word != "openid")

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Letter for letter; a loopback address of a program may have any port (RFC 8252)."""
        return any(_meets(redirect_uri, registered) for registered in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        """Never: no client here has a secret."""
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """A client with a key proves it holds the key; one without proves nothing."""
        return method == ("none" if self.public else "private_key_jwt")

    def check_response_type(self, response_type: str) -> bool:
        """Only codes."""
        return response_type == "code" and bool(self.redirect_uris)

    def check_grant_type(self, grant_type: str) -> bool:
        """Codes and renewal for people; its own credentials for a node."""
        if self.redirect_uris:
            return grant_type in ("authorization_code", "refresh_token")
        return grant_type == "client_credentials" and not self.public


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code that was just taken: it cannot be taken again."""

    client_id: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str
    signed_in: SignedIn
    code_challenge_method: str = "S256"

    def get_redirect_uri(self) -> str:
        """For Authlib."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """For Authlib."""
        return self.scope

    def get_nonce(self) -> str | None:
        """For Authlib."""
        return self.nonce

    def get_auth_time(self) -> int:
        """For Authlib."""
        return self.signed_in.auth_time

    def get_acr(self) -> str:
        """For Authlib; Keycloak's word for an ordinary login."""
        return "1"

    def get_amr(self) -> list[str]:
        """For Authlib."""
        return ["pwd"]


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token that was just taken: it cannot be taken again."""

    client_id: str
    scope: str
    signed_in: SignedIn

    def check_client(self, client: Client) -> bool:
        """For Authlib."""
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        """For Authlib."""
        return self.scope


def check_redirect(uri: str, field: str) -> None:
    """Raise ``InvalidInput`` (``bad_redirect``) for an address to which no code should ever be sent."""
    plain = uri.replace(_ANY_PORT, "http://127.0.0.1:1/", 1) if uri.startswith(_ANY_PORT) else uri
    try:
        parts = urlsplit(plain)
        good = bool(parts.hostname) and (parts.scheme == "https" or is_loopback(plain)) and parts.port != 0
    except ValueError:
        good = False
    else:
        good = good and not parts.fragment and "@" not in parts.netloc and "*" not in plain and plain.isascii()
    if not good or not uri.isprintable() or " " in uri:
        raise InvalidInput(
            f"{uri[:80]!r} cannot be a redirect address",
            code="bad_redirect",
            field=field,
            remedy="give a whole https URL, or an http URL on loopback; `http://127.0.0.1:*/callback` allows any port",
        )


def _meets(uri: str, registered: str) -> bool:
    if not registered.startswith(_ANY_PORT):
        return uri == registered
    found = re.fullmatch(r"http://127\.0\.0\.1:([1-9][0-9]{0,4})/(.*)", uri, re.ASCII)
    return found is not None and int(found[1]) < 1 << 16 and found[2] == registered.removeprefix(_ANY_PORT)
