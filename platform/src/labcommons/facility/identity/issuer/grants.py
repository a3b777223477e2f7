"""The three grants of the token endpoint, each with what stock Authlib leaves to its user."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.errors import AccessDeniedError, InvalidGrantError, InvalidRequestError
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode

from labcommons.facility.identity.issuer.models import Client, Code, RefreshToken, SignedIn
from labcommons.facility.identity.issuer.request import Request
from labcommons.facility.identity.issuer.store.sessions import Sessions
from labcommons.facility.identity.issuer.tokens import ALGORITHM, TokenMint, profile

__all__ = ["CodeGrant", "IdToken", "NodeGrant", "Pkce", "RefreshGrant"]

_METHODS = ["private_key_jwt", "none"]


def _sessions(grant: Any) -> Sessions:
    return cast(Sessions, grant.server.sessions)


class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]  # Authlib has no types
    """Authorization code for a person who has just shown who they are."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    def create_authorization_response(self, redirect_uri: str, grant_user: Any) -> Any:
        """Redirect to the client with a new code."""
        login = cast(Request, self.request).login
        data = self.request.payload.data
        code = login and _sessions(self).add_code(
            login,
            client_id=self.request.client.client_id,
            redirect_uri=redirect_uri,
            scope=self.request.scope,
            nonce=data.get("nonce"),
            challenge=data["code_challenge"],
        )
        if not code:
            # Logged out, or disabled, between the page and its button.
            raise AccessDeniedError(redirect_uri=redirect_uri)
        self._code = code
        return super().create_authorization_response(redirect_uri, grant_user)

    def generate_authorization_code(self) -> str:
        """The code that was made with its session."""
        return self._code

    def save_authorization_code(self, code: str, request: Request) -> None:
        """Nothing: it was saved when it was made."""

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """Consumed here, at look-up: whatever fails afterwards, the code is spent."""
        return _sessions(self).take_code(code, client.client_id)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Nothing: used codes are kept, so that a second use is seen."""

    def authenticate_user(self, authorization_code: Code) -> SignedIn:
        """Who the code was given for."""
        return authorization_code.signed_in


class RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]  # Authlib has no types
    """Renewal with rotation: each refresh token works once."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
        """Consumed here, at look-up."""
        return _sessions(self).take_refresh_token(refresh_token)

    def authenticate_user(self, refresh_token: RefreshToken) -> SignedIn:
        """Who the session belongs to."""
        return refresh_token.signed_in

    def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
        """Nothing: it was consumed at look-up."""


class NodeGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]  # Authlib has no types
    """A node's token for itself; never with a refresh token."""

    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ["private_key_jwt"]


class Pkce(CodeChallenge):  # type: ignore[misc]  # Authlib has no types
    """PKCE with S256, of every client, confidential ones too."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar[list[str]] = ["S256"]
    CODE_CHALLENGE_METHODS: ClassVar[dict[str, Any]] = {"S256": CodeChallenge.CODE_CHALLENGE_METHODS["S256"]}

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Raise ``InvalidRequestError`` unless there is a challenge and its method is, by name, S256."""
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with 'code_challenge_method=S256' is required of every client.")
        if data.get("response_mode", "query") != "query":
            raise InvalidRequestError("Only 'response_mode=query' is supported.")
        if "request" in data or "request_uri" in data:
            raise InvalidRequestError("Request objects are not supported.")
        super().validate_code_challenge(grant, redirect_uri)
        # S256 gives 43 characters; another length can only be a plain verifier in disguise.
        if len(data["code_challenge"]) != 43:
            raise InvalidRequestError("Invalid 'code_challenge'")

    def validate_code_verifier(self, grant: Any, result: Any) -> None:
        """Raise unless the verifier is there and fits."""
        if not grant.request.form.get("code_verifier"):
            raise InvalidGrantError("Missing 'code_verifier'")
        super().validate_code_verifier(grant, result)


class IdToken(OpenIDCode):  # type: ignore[misc]  # Authlib has no types
    """ID tokens with Keycloak's claims, at login and at each renewal."""

    def __init__(self, mint: TokenMint, issuer: str, keys: Any) -> None:
        super().__init__(require_nonce=False)
        self._mint = mint
        self._issuer = issuer
        self._keys = keys

    def exists_nonce(self, nonce: str, request: Request) -> bool:
        """False: the nonce is the client's means to recognise its own login; codes cannot be replayed anyway."""
        return False

    def resolve_client_private_key(self, client: Client) -> Any:
        """The set of the one key."""
        return self._keys

    def get_client_algorithm(self, client: Client) -> str:
        """ES256, whatever a client would like."""
        return ALGORITHM

    def get_encode_header(self, client: Client) -> dict[str, str]:
        """The header of an ID token."""
        return {"alg": ALGORITHM, "kid": self._keys.keys[0].kid}

    def get_compatible_claims(self, request: Request) -> dict[str, Any]:
        """The claims besides the person's."""
        signed_in, now = cast(SignedIn, request.user), self._mint.seconds
        return {
            "iss": self._issuer,
            "aud": request.client.client_id,
            "azp": request.client.client_id,
            "typ": "ID",
            "iat": now,
            "exp": min(now + 300, signed_in.expires_at),
            "auth_time": signed_in.auth_time,
            "acr": "1",
            "sid": signed_in.sid,
        }

    def generate_user_info(self, user: SignedIn, scope: str) -> dict[str, Any]:
        """What the scope lets the client know of the person."""
        return profile(user, scope)
