"""Authlib's framework-neutral authorization server, joined to our store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from authlib.oauth2.rfc6749 import AuthorizationServer
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oidc.rpinitiated.end_session import EndSessionEndpoint, EndSessionRequest
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from labcommons.facility.identity.issuer.assertions import NodeAssertion
from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.grants import CodeGrant, IdToken, NodeGrant, Pkce, RefreshGrant
from labcommons.facility.identity.issuer.models import SCOPES, Client
from labcommons.facility.identity.issuer.request import Reply, Request
from labcommons.facility.identity.issuer.store.registry import Registry
from labcommons.facility.identity.issuer.store.sessions import Sessions
from labcommons.facility.identity.issuer.tokens import ALGORITHM, TokenMint
from labcommons.facility.ports import Clock

__all__ = ["Server"]


class Server(AuthorizationServer):  # type: ignore[misc]  # Authlib has no types
    """The protocol's decisions; blocking, called from worker threads."""

    def __init__(
        self, config: IssuerConfig, keys: KeySet, registry: Registry, sessions: Sessions, clock: Clock
    ) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.config = config
        self.keys = keys
        self.registry = registry
        self.sessions = sessions
        mint = TokenMint(config, keys, clock)
        id_token = IdToken(mint, config.url, keys)
        self.register_token_generator("default", mint)
        self.register_client_auth_method("private_key_jwt", NodeAssertion(config, sessions, clock))
        self.register_grant(CodeGrant, [id_token, Pkce(required=True)])
        self.register_grant(RefreshGrant, [id_token])
        self.register_grant(NodeGrant)
        self.register_endpoint(_Revocation)
        self.register_endpoint(_EndSession)

    def query_client(self, client_id: str) -> Client | None:
        """The client, if it is enabled."""
        client = self.registry.client(client_id)
        return client if client is not None and client.enabled else None

    def save_token(self, token: Mapping[str, Any], request: Request) -> None:
        """Keep the refresh token; access tokens are believed by their signature."""
        if "refresh_token" in token:
            self.sessions.add_refresh_token(
                token["refresh_token"],
                sid=request.user.sid,
                client_id=request.client.client_id,
                scope=token["scope"],
            )

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: Request) -> Request:
        """Ours is one already."""
        return request

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Reply:
        """What is to be sent."""
        return Reply(status, body, tuple(headers))


class _Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib has no types
    """A refresh token takes its session with it; an access token goes on the denylist by its id."""

    CLIENT_AUTH_METHODS: ClassVar[list[str]] = ["private_key_jwt", "none"]

    def check_params(self, request: Request, client: Client) -> None:
        """The token must be there; an unknown hint is only a hint."""
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Revocable | None:
        found = self.server.sessions.find_refresh_token(token_string)
        if found is not None:
            return _Revocable(client_id=found[1], sid=found[0])
        claims = _own_claims(token_string, self.server.keys)
        if claims is None or claims.get("typ") != "Bearer":
            # RFC 7009: an unknown token is as good as revoked.
            return None
        return _Revocable(client_id=str(claims.get("azp")), jti=str(claims["jti"]))

    def revoke_token(self, token: _Revocable, request: Request) -> None:
        if token.sid is not None:
            self.server.sessions.end_session(token.sid)
        elif token.jti is not None:
            self.server.sessions.deny_token(token.jti)


class _Revocable:
    """A token that somebody wants revoked."""

    def __init__(self, *, client_id: str, sid: str | None = None, jti: str | None = None) -> None:
        self.client_id = client_id
        self.sid = sid
        self.jti = jti

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id


class _EndSession(EndSessionEndpoint):  # type: ignore[misc]  # Authlib has no types
    """Log-out that a client starts."""

    def _validate_id_token_hint(self, id_token_hint: str) -> dict[str, Any]:
        claims = _own_claims(id_token_hint, self.server.keys)
        # Only an ID token: an access token in its place would let any service that saw one log its holder out.
        if claims is None or claims.get("typ") != "ID":
            raise InvalidRequestError("The 'id_token_hint' is not an ID token of this issuer.")
        return claims

    def end_session(self, end_session_request: EndSessionRequest) -> None:
        claims = end_session_request.id_token_claims
        if claims is not None:
            self.server.sessions.end_logout(str(claims["sid"]))


def _own_claims(token: str, keys: KeySet) -> dict[str, Any] | None:
    """The claims of a token that we signed, expired or not; else None."""
    try:
        found = jws.deserialize_compact(token.encode("ascii"), keys, algorithms=[ALGORITHM])
        claims = json.loads(found.payload or b"")
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return claims if isinstance(claims, dict) else None
