"""From a token's payload to ``Claims``: which words must be there, of which form, and what they mean.

Pure: the payload and the time come in. Signature and key are the verifier's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from labcommons.core.errors import InvalidInput, Unauthenticated
from labcommons.core.ids import NodeId
from labcommons.facility.ports import Claims

__all__ = ["Expectation", "VerifiedClaims", "read_claims", "refusal"]

_LOG_IN = "log in again (`labcommons login`) and repeat the call"
_MAXIMUM_TEXT = 512


@dataclass(frozen=True)
class VerifiedClaims(Claims):
    """``Claims`` and what else the token said.

    ``session`` is Keycloak's ``sid`` (nodes have none); ``node`` is the node's id if and only if the token was given
    to a node for itself, never to a person.
    """

    email: str | None = None
    scopes: frozenset[str] = field(default_factory=frozenset)
    session: str | None = None
    issued_at: datetime | None = None
    node: NodeId | None = None

    @property
    def is_node(self) -> bool:
        """Whether a lab's node holds this token."""
        return self.node is not None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a token must say to be believed here. ``leeway_s``: how far clocks may differ, in seconds."""

    issuer: str
    audience: str
    leeway_s: float = 5.0


def refusal(code: str, detail: str, remedy: str = _LOG_IN) -> Unauthenticated:
    """The error for a token that is not believed. Never holds the token."""
    return Unauthenticated(detail, code=code, remedy=remedy)


def read_claims(payload: Mapping[str, Any], expected: Expectation, now: datetime) -> VerifiedClaims:
    """The claims of ``payload``, whose signature is verified already. Raises ``Unauthenticated``."""
    check_issuer(payload, expected)
    issued_at, expires_at = _times(payload, expected, now)
    audience = _audience(payload, expected)
    subject, client = _text(payload, "sub"), _text(payload, "azp")
    if payload.get("typ") not in (None, "Bearer"):
        raise refusal("token_invalid", "this is not an access token (claim `typ` is not Bearer)")
    roles = payload.get("realm_access")
    return VerifiedClaims(
        issuer=expected.issuer,
        subject=subject,
        audience=audience,
        client=client,
        expires_at=expires_at,
        username=_optional(payload, "preferred_username"),
        name=_optional(payload, "name"),
        roles=_words(roles.get("roles")) if isinstance(roles, Mapping) else frozenset(),
        auth_time=_moment(payload["auth_time"], "auth_time") if "auth_time" in payload else None,
        # Without it a token could not be revoked.
        token_id=_text(payload, "jti"),
        email=_optional(payload, "email"),
        scopes=frozenset((_optional(payload, "scope") or "").split()),
        session=_optional(payload, "sid"),
        issued_at=issued_at,
        node=_node(payload, client),
    )


def check_issuer(payload: Mapping[str, Any], expected: Expectation) -> None:
    """Raise ``Unauthenticated`` (``issuer_unknown``) unless ``iss`` is, letter for letter, the issuer."""
    if payload.get("iss") != expected.issuer:
        raise refusal(
            "issuer_unknown",
            "the token comes from an issuer that this facility does not believe",
            f"log in at {expected.issuer}",
        )


def _times(payload: Mapping[str, Any], expected: Expectation, now: datetime) -> tuple[datetime, datetime]:
    present = now.timestamp()
    if "exp" not in payload or "iat" not in payload:
        raise refusal("token_invalid", "the token does not say when it was issued and when it expires")
    issued_at, expires_at = _moment(payload["iat"], "iat"), _moment(payload["exp"], "exp")
    if expires_at.timestamp() + expected.leeway_s <= present:
        raise refusal("token_expired", "the token has expired", "renew it, or log in again (`labcommons login`)")
    starts = _moment(payload["nbf"], "nbf") if "nbf" in payload else issued_at
    if max(starts, issued_at).timestamp() - expected.leeway_s > present:
        raise refusal(
            "token_not_yet_valid",
            "the token is not valid yet (`nbf` or `iat` lies in the future)",
            "set the clocks of this machine and of the issuer right (NTP), then log in again",
        )
    return issued_at, expires_at


def _audience(payload: Mapping[str, Any], expected: Expectation) -> tuple[str, ...]:
    value = payload.get("aud")
    audience = (value,) if isinstance(value, str) else value
    if audience is None or audience in ("", [], ("",)):
        raise refusal(
            "audience_missing",
            "the token does not say whom it is for (no `aud`)",
            f"have the issuer put {expected.audience!r} into `aud` (in Keycloak: an audience mapper on the client)",
        )
    if not isinstance(audience, (list, tuple)) or not all(isinstance(word, str) for word in audience):
        raise refusal("token_invalid", "the token's `aud` is neither a word nor a list of words")
    if expected.audience not in audience:
        raise refusal("audience_wrong", "the token was made for another service", "log in at this facility")
    return tuple(audience)


def _node(payload: Mapping[str, Any], client: str) -> NodeId | None:
    """The node that the token speaks for: a client named like a node that got the token for itself.

    Keycloak's service-account tokens say ``client_id`` and have the (lower-cased) user name ``service-account-...``.
    """
    if not client.startswith(NodeId.prefix + "_"):
        return None
    try:
        node = NodeId.parse(client)
    except InvalidInput:
        raise refusal("token_invalid", "the token's `azp` looks like a node's and is none") from None
    own_name = str(payload.get("preferred_username", "")).lower() == f"service-account-{client.lower()}"
    if not own_name and payload.get("client_id") != client:
        raise refusal("token_invalid", "a person's token came through a node's client")
    return node


def _moment(value: object, name: str) -> datetime:
    # bool is an int, and NaN compares false with everything: neither may pass for a time.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise refusal("token_invalid", f"the token's `{name}` is not a time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise refusal("token_invalid", f"the token's `{name}` is not a time") from None


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = _optional(payload, name)
    if not value:
        raise refusal("token_invalid", f"the token has no `{name}`")
    return value


def _optional(payload: Mapping[str, Any], name: str) -> str | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _MAXIMUM_TEXT:
        raise refusal("token_invalid", f"the token's `{name}` is not a text of {_MAXIMUM_TEXT} characters at most")
    return value


def _words(value: object) -> frozenset[str]:
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()
