"""Token verification and the embedded OIDC issuer."""
