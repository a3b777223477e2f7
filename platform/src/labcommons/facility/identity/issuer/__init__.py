"""The embedded OIDC issuer: loopback only, nothing to install, the claims of Keycloak.

Authlib's framework-neutral server does the protocol; ours are the store, the login page, and the small subclasses
that close what stock Authlib leaves open.
"""

from labcommons.facility.identity.issuer.config import IssuerConfig, PasswordCost
from labcommons.facility.identity.issuer.models import Client, Person
from labcommons.facility.identity.issuer.service import CLI_CLIENT, CLI_REDIRECT, Issuer, create_issuer

__all__ = [
    "CLI_CLIENT",
    "CLI_REDIRECT",
    "Client",
    "Issuer",
    "IssuerConfig",
    "PasswordCost",
    "Person",
    "create_issuer",
]
