"""Access and ID tokens with Keycloak's claims, signed ES256."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet

from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.models import Client, SignedIn
from labcommons.facility.ports import Clock

__all__ = ["ALGORITHM", "TokenMint", "profile"]

ALGORITHM = "ES256"
NODE_ROLE = "node"


def profile(signed_in: SignedIn, scope: str) -> dict[str, Any]:
    """What ``scope`` lets a client know of a person, in the words of OpenID Connect."""
    person, words = signed_in.person, scope.split()
    claims: dict[str, Any] = {"sub": person.sub}
    if "profile" in words:
        given, _, family = person.name.rpartition(" ")
        claims |= {"name": person.name, "preferred_username": person.username}
        claims |= {"given_name": given or family, "family_name": family if given else ""}
    if "email" in words and person.email is not None:
        claims |= {"email": person.email, "email_verified": False}
    return claims


class TokenMint:
    """Authlib's token generator: makes the answer of the token endpoint."""

    def __init__(self, config: IssuerConfig, keys: KeySet, clock: Clock) -> None:
        self._config = config
        self._keys = keys
        self._clock = clock

    @property
    def seconds(self) -> int:
        """The present time, in whole seconds since 1970."""
        return int(self._clock.now().timestamp())

    def __call__(
        self,
        grant_type: str,
        client: Client,
        user: SignedIn | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        """The answer of the token endpoint, without the ID token."""
        scope = client.get_allowed_scope(scope)
        now = self.seconds
        expires_at = now + self._config.access_token_s
        if user is not None:
            # No token outlives the session.
            expires_at = min(expires_at, user.expires_at)
        answer: dict[str, Any] = {
            "access_token": self.sign(self._access_claims(client, user, scope, now, expires_at)),
            "token_type": "Bearer",
            "expires_in": expires_at - now,
            "scope": scope,
        }
        if user is not None and include_refresh_token:
            answer["refresh_token"] = secrets.token_urlsafe(32)
            answer["refresh_expires_in"] = user.expires_at - now
            answer["session_state"] = user.sid
        return answer

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A signed token with these claims."""
        header = {"alg": ALGORITHM, "kid": self._keys.keys[0].kid}
        return jwt.encode(header, dict(claims), self._keys, algorithms=[ALGORITHM])

    def _access_claims(
        self, client: Client, user: SignedIn | None, scope: str, now: int, expires_at: int
    ) -> dict[str, Any]:
        claims: dict[str, Any] = {
            "exp": expires_at,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "iss": self._config.url,
            "aud": self._config.audience,
            "typ": "Bearer",
            "azp": client.client_id,
            "acr": "1",
            "resource_access": {},
            "scope": scope,
        }
        if user is None:
            name = f"service-account-{client.client_id.lower()}"
            roles = [NODE_ROLE] if client.is_node else []
            claims |= {"sub": name, "preferred_username": name, "client_id": client.client_id}
            return claims | {"realm_access": {"roles": roles}}
        claims |= profile(user, scope)
        return claims | {
            "auth_time": user.auth_time,
            "sid": user.sid,
            "realm_access": {"roles": list(user.person.roles)},
        }
