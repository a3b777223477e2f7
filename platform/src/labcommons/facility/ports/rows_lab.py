"""Rows of the room *lab*: labs, their people, nodes, instruments and what nodes told us."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from labcommons.core.ids import InstrumentId, JournalId, LabId, NodeId, PersonId, SessionId

__all__ = [
    "EntryRow",
    "InstrumentRow",
    "JournalRow",
    "LabMemberRow",
    "LabRow",
    "ManifestRow",
    "NodeRow",
    "NodeSessionRow",
    "TokenRow",
]


@dataclass(frozen=True)
class LabRow:
    """A partner lab. ``time_scale``: lab time per wall time, exact decimal as text; ``time_zone``: an IANA name."""

    id: LabId
    name: str
    title: str
    time_zone: str
    created_at: datetime
    time_scale: str = "1"
    simulated: bool = False
    ror: str | None = None
    version: int = 1


@dataclass(frozen=True)
class LabMemberRow:
    """A person who works for a lab; key (lab, person). ``role``: operator."""

    lab: LabId
    person: PersonId
    role: str
    created_at: datetime


@dataclass(frozen=True)
class NodeRow:
    """A lab's agent. ``state``: pending | active | quarantined | revoked. ``public_jwk``: the key it logs in with.

    ``call`` and ``next_call``: the highest call numbers of ``session``, of any call and of ``next``. ``epoch``: the
    last one that it journalled. ``tokens``: the unused ready tokens of the newest call, by instrument name; a held call
    may be older than they are. ``silence``: ``heard`` | ``lost`` (past the lease); its deadlines count from
    ``lease_from``, the last call or the platform's own restart. ``reason``: of a quarantine or revocation.
    """

    id: NodeId
    lab: LabId
    created_at: datetime
    state: str = "active"
    public_jwk: dict[str, Any] | None = None
    session: SessionId | None = None
    call: int = 0
    next_call: int = 0
    tokens: dict[str, Any] = field(default_factory=dict)
    journal: JournalId | None = None
    epoch: int = 0
    wire: int | None = None
    software: str | None = None
    ray_cluster: str | None = None
    last_seen_at: datetime | None = None
    lease_from: datetime | None = None
    silence: str = "heard"
    reason: str | None = None
    version: int = 1


@dataclass(frozen=True)
class NodeSessionRow:
    """A life of an agent; key (node, session). ``state``: current | past, where a past one is heard no more."""

    node: NodeId
    session: SessionId
    journal: JournalId
    first_seen_at: datetime
    state: str = "current"
    version: int = 1


@dataclass(frozen=True)
class JournalRow:
    """A journal file of a node; key (node, journal). ``state``: current | retired | broken.

    ``seq`` and ``hash``: its last entry that is read and committed, the cursor.
    """

    node: NodeId
    journal: JournalId
    first_seen_at: datetime
    state: str = "current"
    seq: int = 0
    hash: str = "0" * 64
    version: int = 1


@dataclass(frozen=True)
class EntryRow:
    """A journal entry as it was read; key (node, journal, seq). ``applied``: what it did, in a word."""

    node: NodeId
    journal: JournalId
    seq: int
    at: str
    kind: str
    session: str
    previous: str
    hash: str
    received_at: datetime
    attempt: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    applied: str = ""


@dataclass(frozen=True)
class InstrumentRow:
    """An instrument; ``name`` is unique in its node, ``type`` is what the ledger counts by.

    ``state``: idle | busy | paused | error | maintenance | local | unknown (never heard). ``manifest``: hash of the
    document that describes it. ``fence``: of the last grant, +1 each. ``lock``: why the bench is locked out, if it is.
    """

    id: InstrumentId
    lab: LabId
    node: NodeId
    name: str
    type: str
    created_at: datetime
    state: str = "unknown"
    detail: str = ""
    manifest: str | None = None
    simulated: bool = False
    fence: int = 0
    lock: str | None = None
    version: int = 1


@dataclass(frozen=True)
class ManifestRow:
    """A lab's manifest by the sha256 of its bytes."""

    hash: str
    lab: LabId
    node: NodeId
    document: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class TokenRow:
    """A ready token; key (node, session, instrument, number). ``attempt``: the one that used it."""

    node: NodeId
    session: SessionId
    instrument: InstrumentId
    number: int
    created_at: datetime
    attempt: str | None = None
    version: int = 1
