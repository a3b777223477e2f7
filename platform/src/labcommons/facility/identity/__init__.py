"""Who is who: the verifier of tokens of any OIDC issuer, and the embedded issuer for loopback.

``verifier.OidcVerifier`` is the ``TokenVerifier`` port for the embedded issuer and for Keycloak alike; ``denylist``
makes a revocation count before a token's ``exp``; ``issuer`` is the embedded issuer; ``demo_people`` fills it.
"""
