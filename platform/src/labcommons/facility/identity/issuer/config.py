"""What the embedded issuer is told when it is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from labcommons.core.errors import InvalidInput
from labcommons.facility.identity.published import is_loopback

__all__ = ["IssuerConfig", "PasswordCost"]


@dataclass(frozen=True, slots=True)
class PasswordCost:
    """scrypt's cost: ``n`` rounds of ``r`` blocks, ``p`` times; 16 MiB and about 0.2 s as it stands."""

    n: int = 1 << 14
    r: int = 8
    p: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerConfig:
    """Settings of the embedded issuer; durations are seconds.

    ``url`` is the issuer's own URL (``http://127.0.0.1:8310/oidc``), on loopback or not at all; ``folder`` holds its
    database, its denylist and its signing key. Raises ``InvalidInput`` (``issuer_not_loopback``).
    """

    url: str
    folder: Path
    audience: str = "labcommons"
    access_token_s: int = 300
    session_s: int = 12 * 3600
    code_s: int = 60
    assertion_s: int = 60
    leeway_s: int = 5
    # Wrong passwords for one user name before it is locked, and for how long first; each further one doubles it.
    guesses: int = 5
    lock_s: int = 30
    lock_maximum_s: int = 900
    cost: PasswordCost = PasswordCost()

    def __post_init__(self) -> None:
        if not is_loopback(self.url) or self.url.endswith("/") or urlsplit(self.url).query:
            raise InvalidInput(
                f"the embedded issuer serves on loopback only, and {self.url!r} is not an http URL on 127.0.0.1, ::1 "
                "or localhost without a slash at the end",
                code="issuer_not_loopback",
                remedy="listen on 127.0.0.1, or set LABCOMMONS_IDENTITY__ISSUER to an OIDC issuer such as Keycloak",
            )

    @property
    def cookie_path(self) -> str:
        """The only path that the issuer's cookies travel to: cookies do not know ports, so paths must part them."""
        return f"{urlsplit(self.url).path}/authorize"

    @property
    def cookie_suffix(self) -> str:
        """Keeps the cookies of two facilities on one machine apart."""
        return str(urlsplit(self.url).port or 80)
