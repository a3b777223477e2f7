"""One verifier of bearer tokens for any OIDC issuer, the ``TokenVerifier`` port.

Checked, in this order: form and size; the algorithm against the allow-list; the header's ``typ``; ``iss``; the key
by ``kid`` (discovery and JWKS); the signature; ``exp``, ``iat``, ``nbf``; ``aud``; ``sub``, ``azp``, ``jti``; the
denylist.

Codes of ``Unauthenticated``: ``token_invalid``, ``token_expired``, ``token_not_yet_valid``, ``token_revoked``,
``issuer_unknown``, ``audience_missing``, ``audience_wrong``. ``Unavailable`` (``issuer_unreachable``) when no key of
the issuer could ever be read.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import httpx
from joserfc import jws
from joserfc.errors import JoseError

from labcommons.facility.identity.claims import Expectation, VerifiedClaims, check_issuer, read_claims, refusal
from labcommons.facility.identity.denylist import Denylist
from labcommons.facility.identity.published import KeySource, PublishedKeys, fits
from labcommons.facility.ports import Clock

__all__ = ["ASYMMETRIC", "OidcVerifier", "create_verifier"]

ASYMMETRIC = frozenset({"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
"""The algorithms that may be allowed. Never ``none``; never HS*, where the verifier's key would make tokens."""

_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_MAXIMUM_CHARACTERS = 16_384


class OidcVerifier:
    """Believes the tokens of one issuer for one audience."""

    def __init__(
        self,
        expected: Expectation,
        keys: KeySource,
        clock: Clock,
        denylist: Denylist,
        *,
        algorithms: Sequence[str] = ("ES256",),
    ) -> None:
        if not algorithms or not ASYMMETRIC.issuperset(algorithms):
            raise ValueError(f"the algorithms must be some of {', '.join(sorted(ASYMMETRIC))}, not {list(algorithms)}")
        self._expected = expected
        self._keys = keys
        self._clock = clock
        self._denylist = denylist
        self._algorithms = frozenset(algorithms)
        # Not strict about headers that it does not know: other issuers add some, and none of them is acted upon.
        self._registry = jws.JWSRegistry(algorithms=sorted(algorithms), strict_check_header=False)

    async def verify(self, token: str) -> VerifiedClaims:
        """The claims of ``token``. Raises ``Unauthenticated`` or ``Unavailable``."""
        header, payload = self._open(token)
        algorithm = self._header(header)
        # Before any key is looked for: a foreign token shall not make us call our issuer.
        check_issuer(payload, self._expected)
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise refusal("token_invalid", "the token's `kid` is not a text")
        key = await self._keys.find(kid)
        if key is None or not fits(key, algorithm):
            raise refusal("token_invalid", "the token is signed with a key that its issuer does not publish")
        try:
            jws.deserialize_compact(token.encode("ascii"), key, registry=self._registry)
        except (JoseError, ValueError, TypeError):
            raise refusal("token_invalid", "the token's signature is wrong") from None
        claims = read_claims(payload, self._expected, self._clock.now())
        if self._denylist.denies(claims):
            raise refusal("token_revoked", "the token has been revoked")
        return claims

    def _open(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and payload, not yet verified."""
        parts = token.split(".")
        if len(token) > _MAXIMUM_CHARACTERS or len(parts) != 3 or not token.isascii():
            raise refusal("token_invalid", "this is not a signed token")
        return _object(parts[0]), _object(parts[1])

    def _header(self, header: dict[str, Any]) -> str:
        algorithm, kind = header.get("alg"), header.get("typ")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise refusal("token_invalid", "the token is signed by an algorithm that is not allowed here")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise refusal("token_invalid", "the token's header does not say that it is an access token")
        if "crit" in header:
            raise refusal("token_invalid", "the token asks for extensions that are not understood here")
        return algorithm


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refusal("token_invalid", "this is not a signed token")
    return value


def create_verifier(
    issuer: str,
    clock: Clock,
    denylist: Denylist,
    *,
    audience: str = "labcommons",
    algorithms: Sequence[str] = ("ES256",),
    leeway_s: float = 5.0,
    transport: httpx.AsyncBaseTransport | None = None,
) -> OidcVerifier:
    """A verifier that finds the keys of ``issuer`` by discovery.

    ``transport``: how to reach the issuer (None: the network; in tests ``httpx.ASGITransport``).
    """
    keys = PublishedKeys(issuer, clock, transport=transport)
    return OidcVerifier(Expectation(issuer, audience, leeway_s), keys, clock, denylist, algorithms=algorithms)
