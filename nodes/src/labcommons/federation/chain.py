"""The hash chain of a node's journal.

An entry's hash is sha256 over the RFC 8785 form of ``{journal, seq, at, kind, attempt, session, detail, previous}``;
``previous`` is the hash of the entry before, or 64 zeros for the first. Whoever knows one hash can check all that
follows, and nothing before it can change unseen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labcommons.federation.wire import Entry
from labcommons.protocols.canonical import digest

__all__ = ["GENESIS", "Break", "entry_hash", "first_break"]

GENESIS = "0" * 64


def entry_hash(journal: str, entry: Entry) -> str:
    """The hash that ``entry`` must carry in ``journal`` (64 hex characters)."""
    body = entry.model_dump(mode="json", exclude={"hash"})
    return digest({**body, "journal": journal})


@dataclass(frozen=True)
class Break:
    """Where a chain stops being one, and why."""

    seq: int
    why: str


def first_break(journal: str, entries: Iterable[Entry], *, seq: int = 0, previous: str = GENESIS) -> Break | None:
    """The first entry that does not continue ``(seq, previous)``, or ``None`` when all of them do."""
    for entry in entries:
        if entry.seq != seq + 1:
            return Break(entry.seq, f"entry {entry.seq} follows {seq}")
        if entry.previous != previous:
            return Break(entry.seq, "it names another entry as the one before it")
        if entry.hash != entry_hash(journal, entry):
            return Break(entry.seq, "its content does not have the hash that it carries")
        seq, previous = entry.seq, entry.hash
    return None
