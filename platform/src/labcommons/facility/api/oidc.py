"""Where the embedded issuer hangs in the facility's own application."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.types import ASGIApp

__all__ = ["PREFIX", "EmbeddedIssuer", "mount_issuer"]

PREFIX = "/oidc"


class EmbeddedIssuer(Protocol):
    """What the application needs of the issuer: something to call. Built in ``bootstrap``, in ``identity``."""

    @property
    def app(self) -> ASGIApp:
        """The issuer's endpoints, relative to its own URL."""
        ...


def mount_issuer(app: FastAPI, issuer: EmbeddedIssuer) -> None:
    """Serve ``issuer`` below ``/oidc``. Its routes are no part of ``/openapi.json``: discovery describes them."""
    app.mount(PREFIX, issuer.app, name="oidc")
