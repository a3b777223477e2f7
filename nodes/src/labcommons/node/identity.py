"""How a node proves who it is: client credentials by ``private_key_jwt`` (ES256), with a key that never leaves it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

__all__ = [
    "ASSERTION_SECONDS",
    "Identity",
    "IdentityRefused",
    "IdentityUnreachable",
    "TokenSource",
    "check_url",
    "http_client",
    "load_identity",
]

#: The issuer takes a minute at most; less leaves room for clocks that differ.
ASSERTION_SECONDS = 50
#: A token is renewed this long before it ends, so that no call carries one that ends on the way.
_EARLY_SECONDS = 30
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class IdentityRefused(Exception):
    """The node's identity is missing, unsafe, or the issuer does not take it; the message says what to do."""


class IdentityUnreachable(Exception):
    """The issuer does not answer, or answers nothing that can be used; try again."""


@dataclass(frozen=True)
class Identity:
    """Who this node is: ``client_id`` (its ``nod_`` id), its lab, and its private key."""

    client_id: str
    lab: str
    key: ECKey


def check_url(url: str) -> str:
    """``url`` without a trailing slash. Plain http is refused off loopback. Raises ``IdentityRefused``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise IdentityRefused(f"{url!r} is no address of a facility: give https://host, or http://127.0.0.1:port")
    if parts.scheme == "http" and not is_loopback(url):
        raise IdentityRefused(f"{url}: plain http is for loopback alone, anyone on the way could read it: use https")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this very machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_identity(state: Path) -> Identity:
    """Read ``identity.json`` and ``node-key.pem`` of the state folder. Raises ``IdentityRefused``."""
    about, key_file = state / "identity.json", state / "node-key.pem"
    try:
        names = json.loads(about.read_text(encoding="utf-8"))
        client_id, lab = str(names["client_id"]), str(names["lab"])
        mode = key_file.stat().st_mode & 0o777
        if mode & 0o077:
            raise IdentityRefused(f"{key_file} can be read by others (mode {mode:04o}): chmod 600 {key_file}")
        key = ECKey.import_key(key_file.read_bytes())
    except FileNotFoundError as error:
        raise IdentityRefused(
            f"{error.filename} is missing: this node is not enrolled. An operator of the lab enrols it; "
            "`labcommons-node try` and `check` need no enrolment"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityRefused(f"{about} or {key_file} cannot be read: {error}") from error
    if not key.is_private or key.curve_name != "P-256":
        raise IdentityRefused(f"{key_file} is not a private P-256 key")
    return Identity(client_id, lab, key)


def http_client(
    url: str, authority: Path | None, *, timeout_s: float = 30.0, connections: int = 8
) -> httpx.AsyncClient:
    """A client for the facility at ``url`` that trusts ``authority`` alone where one is named.

    On loopback no proxy of the environment is asked.
    """
    verify: ssl.SSLContext | bool = True
    if authority is not None:
        verify = ssl.create_default_context(cafile=str(authority))
    return httpx.AsyncClient(
        base_url=url,
        verify=verify,
        trust_env=not is_loopback(url),
        timeout=httpx.Timeout(timeout_s, connect=10.0),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
    )


class TokenSource:
    """Access tokens of one node, kept until shortly before they end. ``now``: wall seconds since 1970."""

    def __init__(self, identity: Identity, http: httpx.AsyncClient, url: str, now: Callable[[], float]) -> None:
        self._identity = identity
        self._http = http
        self._url = check_url(url)
        self._now = now
        self._token: str | None = None
        self._ends = 0.0
        self._endpoint: tuple[str, str] | None = None
        self._gate = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good for some time yet. Raises ``IdentityRefused`` or ``IdentityUnreachable``."""
        async with self._gate:
            if self._token is None or self._now() >= self._ends:
                self._token, self._ends = await self._fetch()
            return self._token

    def reject(self, token: str) -> None:
        """The facility answered 401 to ``token``: the next call gets a fresh one."""
        if token == self._token:
            self._token = None

    def assertion(self, audience: str) -> str:
        """A signed statement of who we are, for ``audience`` alone, good for one use within a minute."""
        now = int(self._now())
        claims = {
            "iss": self._identity.client_id,
            "sub": self._identity.client_id,
            "aud": audience,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": secrets.token_urlsafe(24),
        }
        header = {"alg": "ES256", "typ": "JWT", "kid": self._identity.key.thumbprint()}
        return jwt.encode(header, claims, self._identity.key, algorithms=["ES256"])

    async def _fetch(self) -> tuple[str, float]:
        try:
            issuer, endpoint = await self._discover()
            answer = await self._http.post(
                endpoint,
                data={
                    "grant_type": "client_credentials",
                    "client_id": self._identity.client_id,
                    "client_assertion_type": _ASSERTION_TYPE,
                    "client_assertion": self.assertion(issuer),
                },
            )
        except httpx.HTTPError as error:
            self._endpoint = None
            raise IdentityUnreachable(f"the issuer does not answer: {type(error).__name__} {error}") from error
        if answer.status_code in (400, 401, 403):
            self._endpoint = None
            raise IdentityRefused(
                f"the issuer does not take {self._identity.client_id} ({answer.status_code}: {answer.text[:300]}): "
                "is it enrolled there with this key, and does this machine's clock hold?"
            )
        try:
            body = answer.raise_for_status().json()
            token, lives = str(body["access_token"]), float(body.get("expires_in", 300))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            self._endpoint = None
            raise IdentityUnreachable(f"the issuer's answer cannot be used: {error}") from error
        return token, self._now() + max(1.0, lives - _EARLY_SECONDS)

    async def _discover(self) -> tuple[str, str]:
        if self._endpoint is None:
            answer = await self._http.get(f"{self._url}/oidc/.well-known/openid-configuration")
            try:
                body = answer.raise_for_status().json()
                issuer, endpoint = str(body["issuer"]), check_url(str(body["token_endpoint"]))
            except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
                raise IdentityUnreachable(f"the issuer's description cannot be used: {error}") from error
            self._endpoint = (issuer, endpoint)
        return self._endpoint
