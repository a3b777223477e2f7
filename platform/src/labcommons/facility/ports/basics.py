"""The small ports: time, identifiers, wake-ups, bytes by content, tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol, TypeVar

from labcommons.core.ids import Identifier

__all__ = ["Bus", "Claims", "Clock", "Ids", "ObjectStore", "TokenVerifier"]

K = TypeVar("K", bound=Identifier)


class Clock(Protocol):
    """The two clocks: one for people and the database, one for intervals."""

    def now(self) -> datetime:
        """The present time in UTC, cut to milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards."""
        ...


class Ids(Protocol):
    """The mint of identifiers."""

    def mint(self, kind: type[K]) -> K:
        """A new identifier of ``kind``; later ones sort after earlier ones of the same process."""
        ...


class Bus(Protocol):
    """Wake-ups by topic. A message has no content: whoever wakes reads the database.

    Topics in use: ``outbox`` (a commit wrote events), ``events``, ``dispatch``, ``silence``, ``node:<nod_...>``.
    No wake-up is lost: read ``seen(topic)`` *before* reading the database, then wait for a number above it.
    """

    def publish(self, topic: str) -> None:
        """Wake all who wait for ``topic``. Thread-safe, never blocks."""
        ...

    def seen(self, topic: str) -> int:
        """How often ``topic`` was published so far."""
        ...

    async def wait(self, topic: str, seen: int, within: float | None) -> int:
        """Return the topic's number as soon as it is above ``seen``, or after ``within`` seconds (``None``: never)."""
        ...


class ObjectStore(Protocol):
    """Bytes by their sha256 (64 hex characters). What ``put`` returned survives a power cut."""

    def put(self, sha256: str, chunks: Iterable[bytes], *, maximum: int | None = None) -> int:
        """Store what ``chunks`` yields and return its size in bytes; repeating it changes nothing.

        Raises ``InvalidInput`` (``hash_mismatch``) or ``TooLarge``; then nothing is kept.
        """
        ...

    def has(self, sha256: str) -> bool:
        """Whether the bytes are here."""
        ...

    def size(self, sha256: str) -> int:
        """Size in bytes. Raises ``NotFound``."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """The bytes, to be read and closed. Raises ``NotFound``."""
        ...


@dataclass(frozen=True)
class Claims:
    """What a verified token says.

    ``subject`` is the issuer's word for the holder, ``client`` its ``azp`` (a node's id for a node's token),
    ``roles`` the coarse roles, ``auth_time`` when the person last logged in.
    """

    issuer: str
    subject: str
    audience: tuple[str, ...]
    client: str
    expires_at: datetime
    username: str | None = None
    name: str | None = None
    roles: frozenset[str] = field(default_factory=frozenset)
    auth_time: datetime | None = None
    token_id: str | None = None


class TokenVerifier(Protocol):
    """Believes tokens of one issuer for one audience."""

    async def verify(self, token: str) -> Claims:
        """The claims of ``token``. Raises ``Unauthenticated`` (``token_expired``, ``audience_missing``, ...)."""
        ...
