"""The embedded issuer as others see it: people, clients, an application to mount."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from starlette.types import ASGIApp

from labcommons.core.errors import NotFound
from labcommons.facility.identity.claims import Expectation
from labcommons.facility.identity.denylist import SqliteDenylist
from labcommons.facility.identity.issuer.config import IssuerConfig
from labcommons.facility.identity.issuer.keys import load_signing_key
from labcommons.facility.identity.issuer.models import Client, Person
from labcommons.facility.identity.issuer.server import Server
from labcommons.facility.identity.issuer.store.database import Database
from labcommons.facility.identity.issuer.store.lockout import Lockout
from labcommons.facility.identity.issuer.store.registry import Registry
from labcommons.facility.identity.issuer.store.sessions import Sessions
from labcommons.facility.identity.issuer.web.app import create_app
from labcommons.facility.identity.published import FixedKeys
from labcommons.facility.identity.verifier import OidcVerifier
from labcommons.facility.ports import Clock

__all__ = ["CLI_CLIENT", "CLI_REDIRECT", "Issuer", "create_issuer"]

CLI_CLIENT = "labcommons-cli"
CLI_REDIRECT = "http://127.0.0.1:*/callback"


class Issuer:
    """The embedded OIDC issuer. Its methods block; call them from worker threads. ``close`` it in the end."""

    def __init__(self, config: IssuerConfig, clock: Clock) -> None:
        self._config = config
        self._keys = load_signing_key(config.folder / "signing-key.pem")
        self._database = Database(config.folder / "issuer.sqlite")
        keep = timedelta(seconds=config.access_token_s + 2 * config.leeway_s + 60)
        self.denylist = SqliteDenylist(config.folder / "denylist.sqlite", clock, keep=keep)
        self._registry = Registry(self._database, config.cost)
        self._sessions = Sessions(self._database, self._registry, self.denylist, clock, config)
        server = Server(config, self._keys, self._registry, self._sessions, clock)
        own = OidcVerifier(
            Expectation(config.url, config.audience, config.leeway_s), FixedKeys(self.jwks), clock, self.denylist
        )
        self.app: ASGIApp = create_app(config, server, Lockout(self._database, clock, config), own, clock)
        """To be mounted at the path of ``config.url``."""
        if self._registry.client(CLI_CLIENT) is None:
            self.add_client(CLI_CLIENT, redirect_uris=[CLI_REDIRECT])

    @property
    def url(self) -> str:
        """The issuer's URL, the ``iss`` of its tokens."""
        return self._config.url

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys, as a JSON Web Key Set."""
        return dict(self._keys.as_dict(private=False))

    def close(self) -> None:
        """Close the files."""
        self._database.close()
        self.denylist.close()

    def add_person(
        self, username: str, name: str, password: str, roles: Iterable[str], sub: str, email: str | None = None
    ) -> Person:
        """A new person; with the ``sub`` of one who exists, everything else is replaced and the person enabled.

        ``sub`` is the person's identifier (``per_...``) and stands in every token. Raises ``InvalidInput``
        (``weak_password``) or ``Conflict`` (``username_taken``).
        """
        return self._registry.add_person(username, name, password, roles, sub, email)

    def people(self) -> list[Person]:
        """All who can log in or could, by user name."""
        return self._registry.people()

    def disable_person(self, username: str) -> None:
        """No more logins; tokens in flight are denied at once. Raises ``NotFound``."""
        self._sessions.end_all_of_person(self._registry.enable_person(username, False).sub)

    def enable_person(self, username: str) -> None:
        """Logins again. Raises ``NotFound``."""
        self._registry.enable_person(username, True)

    def remove_person(self, username: str) -> None:
        """As ``disable_person``, and forget the person. Raises ``NotFound``."""
        self.disable_person(username)
        self._registry.remove_person(username)

    def add_client(
        self,
        client_id: str,
        *,
        jwks: Mapping[str, Any] | None = None,
        redirect_uris: Sequence[str] = (),
        post_logout_redirect_uris: Sequence[str] = (),
    ) -> Client:
        """A new client, or one that exists with everything replaced.

        With ``redirect_uris`` it logs people in (code with PKCE, refresh tokens), by ``jwks`` if it has a key, else as
        a public client; without, it gets tokens for itself with ``private_key_jwt`` (a node: its id is ``nod_...``).
        ``jwks``: ``{"keys": [public EC P-256 JWK, ...]}``. Raises ``InvalidInput``.
        """
        return self._registry.add_client(
            client_id, jwks=jwks, redirect_uris=redirect_uris, post_logout_redirect_uris=post_logout_redirect_uris
        )

    def client(self, client_id: str) -> Client:
        """The client. Raises ``NotFound``."""
        found = self._registry.client(client_id)
        if found is None:
            raise NotFound(f"there is no client {client_id!r}", remedy="register it first")
        return found

    def disable_client(self, client_id: str) -> None:
        """No more tokens; those in flight are denied at once (a revoked node). Raises ``NotFound``."""
        self._registry.enable_client(client_id, False)
        self._sessions.end_all_of_client(client_id)

    def enable_client(self, client_id: str) -> None:
        """Tokens again. Raises ``NotFound``."""
        self._registry.enable_client(client_id, True)

    def remove_client(self, client_id: str) -> None:
        """As ``disable_client``, and forget the client. Raises ``NotFound``."""
        self.disable_client(client_id)
        self._registry.remove_client(client_id)


def create_issuer(config: IssuerConfig, clock: Clock) -> Issuer:
    """Build the embedded issuer; its state lies in ``config.folder`` and is made at the first start.

    The public client of the command line (``labcommons-cli``) is registered by itself. Mount ``.app`` at the path of
    ``config.url``; verify with ``verifier.create_verifier(issuer.url, clock, issuer.denylist)``.
    """
    return Issuer(config, clock)
