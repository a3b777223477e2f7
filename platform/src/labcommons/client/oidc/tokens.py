"""Tokens of a login, and the file that keeps them: mode 0600, one owner at a time, renewed silently."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from labcommons.client.errors import FacilityUnreachable, NotLoggedIn
from labcommons.client.oidc import clock

__all__ = ["EARLY_S", "TokenFile", "Tokens"]

EARLY_S = 30.0
"""A token is renewed this long before it ends, so that none ends on its way."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gave. ``facility``: the URL it is for; ``expires_at``: end of the access token, s since 1970."""

    facility: str
    issuer: str
    client_id: str
    token_endpoint: str
    revocation_endpoint: str
    expires_at: float
    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)


class TokenFile:
    """The tokens of one person on this machine, by facility.

    ``facility``: only tokens for this URL are given out (None: those of the last login). A token must never travel to
    another facility than the one that it was made for, so give it wherever it is known. A lock file beside it lets one
    process at a time renew: a refresh token works once, and of two renewals at once the second would end the session.
    """

    def __init__(
        self,
        path: Path,
        renew: Callable[[Tokens], Tokens],
        facility: str | None = None,
        *,
        now: Callable[[], float] = clock.now,
    ) -> None:
        self._path = path
        self._renew = renew
        self._facility = None if facility is None else facility.rstrip("/")
        self._now = now
        self._given: str | None = None

    def load(self) -> Tokens | None:
        """The tokens as they lie there, or None."""
        book = self._read()
        entry = book["logins"].get(self._facility or book["last"])
        return None if entry is None else Tokens(**entry)

    def save(self, tokens: Tokens) -> None:
        """Keep the tokens of a login; those of other facilities stay."""
        with self._locked():
            self._write(tokens)

    def clear(self) -> None:
        """Forget the tokens."""
        with self._locked():
            self._forget()

    def access_token(self) -> str | None:
        """A token that is good for some time yet, renewed if need be; None where nobody is logged in any more.

        Raises ``FacilityUnreachable`` when it has ended and the issuer does not answer.
        """
        with self._locked():
            tokens = self.load()
            if tokens is None:
                return None
            if tokens.expires_at - EARLY_S > self._now():
                self._given = tokens.access_token
                return tokens.access_token
            return self._renewed(tokens, good_until=tokens.expires_at)

    def renewed(self) -> str | None:
        """Another token than ``access_token`` gave last: the facility did not take that one. None where there is none.

        Raises ``FacilityUnreachable`` when the issuer does not answer.
        """
        with self._locked():
            tokens = self.load()
            if tokens is None:
                return None
            if self._given is not None and tokens.access_token != self._given:
                # Another process was first.
                self._given = tokens.access_token
                return tokens.access_token
            return self._renewed(tokens, good_until=0.0)

    def _renewed(self, tokens: Tokens, good_until: float) -> str | None:
        try:
            fresh = self._renew(tokens)
        except NotLoggedIn:
            self._forget()
            return None
        except FacilityUnreachable:
            if good_until > self._now():
                self._given = tokens.access_token
                return tokens.access_token
            raise
        self._write(fresh)
        self._given = fresh.access_token
        return fresh.access_token

    def _read(self) -> dict[str, Any]:
        try:
            book = json.loads(self._path.read_text(encoding="utf-8"))
            names = {one.name for one in fields(Tokens)}
            # A file of another version, or one that was half edited by hand, is as good as none: log in again.
            good = {url: one for url, one in book["logins"].items() if set(one) == names}
            return {"last": book["last"], "logins": good}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {"last": None, "logins": {}}

    def _write(self, tokens: Tokens) -> None:
        book = self._read()
        book["logins"][tokens.facility] = asdict(tokens)
        self._replace({"last": tokens.facility, "logins": book["logins"]})

    def _forget(self) -> None:
        book = self._read()
        if book["logins"].pop(self._facility or book["last"], None) is not None:
            self._replace(book)

    def _replace(self, book: dict[str, Any]) -> None:
        draft = self._path.with_name(f".{self._path.name}.new")
        draft.unlink(missing_ok=True)
        # The mode is given at creation: there is no moment at which others could open it.
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(book, file, indent=1)
            file.flush()
            # A refresh token that was used up and lost in a power cut would be a lost login.
            os.fsync(file.fileno())
        draft.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Each call opens the file anew, so the lock also keeps threads of one process apart.
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
