"""The node's journal: what it promised and what became of it, in one file that only grows.

``store`` is the file: one writer, synced, each entry with the hash of the one before. ``writer`` is the way to it from
the event loop: drafts that come together are committed together.
"""

from labcommons.node.journal.store import (
    Draft,
    DraftRefused,
    EntryTooLarge,
    IllegalEntry,
    Journal,
    JournalBroken,
    JournalError,
    JournalReader,
    Position,
)
from labcommons.node.journal.writer import JournalUnavailable, JournalWriter

__all__ = [
    "Draft",
    "DraftRefused",
    "EntryTooLarge",
    "IllegalEntry",
    "Journal",
    "JournalBroken",
    "JournalError",
    "JournalReader",
    "JournalUnavailable",
    "JournalWriter",
    "Position",
]
