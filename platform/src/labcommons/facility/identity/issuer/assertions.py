"""``private_key_jwt``: how a node proves at the token endpoint that it holds its key.

Stock Authlib takes any algorithm that the key can do, any life, several audiences, and breaks on a client without keys.
Here: ES256 alone, ``exp`` required and 60 s away at most, exactly one audience, ``jti`` once.
"""

from __future__ import annotations

import math
from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc7523.client import JWTBearerClientAssertion
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.models import Client
from labcommons.facility.identity.issuer.request import Request
from labcommons.facility.identity.issuer.store.sessions import Sessions
from labcommons.facility.identity.issuer.tokens import ALGORITHM
from labcommons.facility.ports import Clock

__all__ = ["NodeAssertion"]


class NodeAssertion(JWTBearerClientAssertion):  # type: ignore[misc]  # Authlib has no types
    """Client authentication by a signed assertion."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, config: IssuerConfig, sessions: Sessions, clock: Clock) -> None:
        super().__init__(leeway=config.leeway_s)
        self._config = config
        self._sessions = sessions
        self._clock = clock

    def __call__(self, query_client: Any, request: Request) -> Client | None:
        """The client that signed the assertion; None when there is no assertion. Raises ``InvalidClientError``."""
        try:
            client: Client | None = super().__call__(query_client, request)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # Whatever is wrong with the bytes is the sender's affair, and no reason to fail here.
            raise InvalidClientError(description="The assertion cannot be read.") from None
        named = request.payload.client_id
        if client is not None and named is not None and named != client.client_id:
            raise InvalidClientError(description="'client_id' is not the client of the assertion.")
        return client

    def get_audiences(self) -> list[str]:
        """The issuer itself, or its token endpoint, as Keycloak takes both."""
        return [self._config.url, f"{self._config.url}/token"]

    def resolve_client_public_key(self, client: Client) -> KeySet:
        """The client's registered keys; a client without any cannot prove anything."""
        if client.jwks is None or not client.jwks.get("keys"):
            raise InvalidClientError(description="No key is registered for this client.")
        return KeySet.import_key_set({"keys": list(client.jwks["keys"])})

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        """The claims, once signature and all else are right; only then is ``jti`` spent."""
        # One key needs no name; of several, the header's `kid` picks (a roll-over).
        key = resolve_key.keys[0] if len(resolve_key.keys) == 1 else resolve_key
        try:
            token = jwt.decode(assertion, key, registry=jws.JWSRegistry(algorithms=[ALGORITHM]))
        except JoseError:
            raise InvalidClientError(description="The assertion's signature is wrong.") from None
        self.verify_claims(token.claims)
        return token.claims

    def verify_claims(self, claims: dict[str, Any]) -> None:
        """Raise ``InvalidClientError`` unless the claims are exactly what a node of ours says."""
        client_id = claims.get("sub")
        if claims.get("iss") != client_id:
            raise InvalidClientError(description="Issuer and subject of the assertion must both be the client.")
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        if not isinstance(audience, str) or audience not in self.get_audiences():
            raise InvalidClientError(description="The assertion must be for this issuer, and for nobody else.")
        expires_at = self._check_life(claims)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 8 <= len(jti) <= 256:
            raise InvalidClientError(description="The assertion needs a 'jti' of 8 to 256 characters.")
        if not self._sessions.use_assertion_id(str(client_id), jti, expires_at):
            raise InvalidClientError(description="The assertion was used before.")

    def _check_life(self, claims: dict[str, Any]) -> float:
        """``exp`` in seconds, if it lies ahead and no further than the longest life."""
        now, leeway = self._clock.now().timestamp(), self._config.leeway_s
        times: dict[str, float] = {}
        for name in ("exp", "iat", "nbf"):
            value = claims.get(name, 0)
            # bool is an int, and NaN compares false with everything: neither may pass for a time.
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InvalidClientError(description="The assertion's times are not numbers.")
            times[name] = value
        expires_at = times["exp"]
        if expires_at + leeway <= now:
            raise InvalidClientError(description="The assertion has expired, or does not say when.")
        # From now, not from `iat`: what a thief could still use is what counts.
        if expires_at > now + self._config.assertion_s + leeway:
            raise InvalidClientError(description=f"The assertion may live {self._config.assertion_s} s at most.")
        if max(times["nbf"], times["iat"]) > now + leeway:
            raise InvalidClientError(description="The assertion lies in the future.")
        return expires_at
