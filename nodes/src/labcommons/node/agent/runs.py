"""One attempt in the hands of this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from labcommons.federation.wire import EntryKind, Grant
from labcommons.node.decisions import Close

__all__ = ["Run"]


@dataclass
class Run:
    """What is known of an attempt that is not closed.

    ``history``: kinds of its entries, those submitted and not yet synced included, so that two coroutines never wish
    for contradicting ones. ``recovered``: an earlier life of the agent left it. ``start_sent``: this very process sent
    the start. ``began``: the loop's time then, for ``used_ms``.
    """

    attempt: str
    instrument: str
    grant: Grant | None
    history: list[EntryKind]
    action: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    recovered: bool = False
    start_sent: bool = False
    began: float | None = None
    intent_seq: int = 0
    followed_since: float = 0.0
    phase: str = ""
    fraction: float | None = None
    ended_by: str = ""
    asked_to_stop: set[str] = field(default_factory=set)
    barred: Close | None = None
    bar_rings: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> EntryKind | None:
        """The kind of its newest entry; ``None`` when not even the first could be written."""
        return self.history[-1] if self.history else None

    @property
    def closed(self) -> bool:
        """Whether nothing more is to be done at the instrument for it."""
        return EntryKind.RESULT in self.history or self.last in (None, EntryKind.TOMBSTONE, EntryKind.BARRED)

    @property
    def in_doubt(self) -> bool:
        """Whether a start may be on its way, or its run under way, for all that the journal says."""
        return not self.closed and not (self.last in (EntryKind.RECEIVED, EntryKind.INTENT) and not self.may_have_sent)

    @property
    def may_have_sent(self) -> bool:
        """Whether a start went out, or an earlier life of the agent may have sent one."""
        return self.start_sent or (self.recovered and self.last is not EntryKind.RECEIVED)

    def bar(self, close: Close) -> None:
        """It must not start: whoever is about to send the start journals ``close`` in its place."""
        if self.barred is None:
            self.barred = close
            self.bar_rings.set()
