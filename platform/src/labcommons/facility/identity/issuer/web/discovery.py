"""What the issuer says of itself."""

from __future__ import annotations

from typing import Any

from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.models import SCOPES
from labcommons.facility.identity.issuer.tokens import ALGORITHM
from labcommons.facility.identity.issuer.web.logout import PATH as LOGOUT_PATH

__all__ = ["discovery_document"]


def discovery_document(config: IssuerConfig) -> dict[str, Any]:
    """The OpenID Connect discovery document."""
    url = config.url
    return {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "jwks_uri": f"{url}/jwks",
        "userinfo_endpoint": f"{url}/userinfo",
        "revocation_endpoint": f"{url}/revoke",
        "end_session_endpoint": f"{url}{LOGOUT_PATH}",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "subject_types_supported": ["public"],
        "scopes_supported": list(SCOPES),
        "claims_supported": ["sub", "iss", "auth_time", "name", "preferred_username", "email", "sid"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": [ALGORITHM],
        "revocation_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": [ALGORITHM],
        "prompt_values_supported": ["none", "login"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }
