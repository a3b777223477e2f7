"""The public keys of an OIDC issuer, found by discovery, cached, and fetched again when a new one appears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, RSAKey, import_key

from labcommons.core.errors import Unavailable
from labcommons.facility.ports import Clock

__all__ = ["FixedKeys", "KeySource", "PublishedKeys", "is_loopback"]

_MAXIMUM_BYTES = 1 << 20
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class KeySource(Protocol):
    """Where the verifier gets public keys."""

    async def find(self, kid: str | None) -> Key | None:
        """The key named ``kid`` (or the only one, if the token names none). Raises ``Unavailable``."""
        ...


def is_loopback(url: str) -> bool:
    """Whether ``url`` is plain HTTP to this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


class FixedKeys:
    """Keys that are known already: the embedded issuer's own, for its own use."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._keys = import_keys(jwks)

    async def find(self, kid: str | None) -> Key | None:
        """The key, without any call."""
        return pick(self._keys, kid)


class PublishedKeys:
    """Discovery and JWKS of one issuer.

    Asynchronous, because the issuer may live in this very process: a blocking call would wait for itself. The keys
    are fetched again for an unknown ``kid``, but at most every ``interval_s``, so that forged tokens cannot make us
    call the issuer at will; and after ``maximum_age_s``, so that a withdrawn key stops counting. While the issuer does
    not answer, the keys that it last published still count.
    """

    def __init__(
        self,
        issuer: str,
        clock: Clock,
        *,
        interval_s: float = 5.0,
        maximum_age_s: float = 300.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._interval_s = interval_s
        self._maximum_age_s = maximum_age_s
        self._transport = transport
        self._keys: dict[str, Key] | None = None
        self._asked_at: float | None = None
        self._got_at = 0.0
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        """The key ``kid``, or None when the issuer does not publish it. Raises ``Unavailable`` if none is known."""
        if self._wanting(kid):
            async with self._lock:
                # Whoever waited for the lock finds the work done.
                if self._wanting(kid):
                    await self._refresh()
        if self._keys is None:
            raise Unavailable(
                f"the issuer {self._issuer} does not answer, so no token can be verified",
                code="issuer_unreachable",
                remedy="repeat in a few seconds; if it stays so, look at the issuer's log and at the setting "
                "LABCOMMONS_IDENTITY__ISSUER",
            )
        return pick(self._keys, kid)

    def _wanting(self, kid: str | None) -> bool:
        now = self._clock.monotonic()
        if self._asked_at is not None and now - self._asked_at < self._interval_s:
            return False
        return self._keys is None or now - self._got_at > self._maximum_age_s or pick(self._keys, kid) is None

    async def _refresh(self) -> None:
        self._asked_at = self._clock.monotonic()
        try:
            keys = await self._fetch()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return
        self._keys, self._got_at = keys, self._clock.monotonic()

    def _client(self) -> httpx.AsyncClient:
        # No proxy from the environment on loopback: it would be asked for its own 127.0.0.1.
        return httpx.AsyncClient(transport=self._transport, timeout=5.0, trust_env=not is_loopback(self._issuer))

    async def _fetch(self) -> dict[str, Key]:
        # In a thread: reading the machine's certificates takes 0.1 s, during which nothing else would be served.
        client = self._client() if self._transport is not None else await asyncio.to_thread(self._client)
        async with client as http:
            document = await _get(http, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if document["issuer"] != self._issuer:
                raise ValueError("the discovery document speaks for another issuer")
            return import_keys(await _get(http, str(document["jwks_uri"])))


async def _get(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise ValueError("plain HTTP is refused off loopback")
    body = b""
    async with http.stream("GET", url) as response:
        response.raise_for_status()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAXIMUM_BYTES:
                raise ValueError("the issuer's document is too large")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the issuer's document is no JSON object")
    return document


def import_keys(jwks: Mapping[str, Any]) -> dict[str, Key]:
    """Public signing keys by ``kid`` ('' for one without). What is not understood, or no such key, is left out."""
    keys: dict[str, Key] = {}
    for data in jwks["keys"]:
        if not isinstance(data, dict) or data.get("use", "sig") != "sig":
            continue
        try:
            key = import_key(data)
        except (JoseError, ValueError, KeyError, TypeError):
            continue
        # A symmetric key in a public set would let every reader make tokens.
        if isinstance(key, OctKey):
            continue
        keys[str(data.get("kid", ""))] = key
    return keys


def pick(keys: Mapping[str, Key], kid: str | None) -> Key | None:
    """The key named ``kid``; with no name, the only one."""
    if kid is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(kid)


def fits(key: Key, algorithm: str) -> bool:
    """Whether ``key`` is of the type that ``algorithm`` uses, and reserved for no other algorithm."""
    if key.get("alg", algorithm) != algorithm:
        return False
    return isinstance(key, ECKey if algorithm.startswith("ES") else RSAKey)
