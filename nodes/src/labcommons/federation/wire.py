"""The messages between a node and its facility, wire version 1.

A node calls ``POST /v1/node/report`` and ``POST /v1/node/next``; both carry a ``Head`` and are answered by an
``Answer``. What the facility reads refuses unknown fields (``Inbound``); what a node reads ignores them (``Outbound``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

__all__ = [
    "ENTRY_BYTES",
    "MAX_WAIT_MS",
    "NEGATIVE_REASONS",
    "Answer",
    "Cursor",
    "Entry",
    "EntryKind",
    "Grant",
    "Head",
    "Health",
    "Live",
    "NextCall",
    "ObjectRef",
    "ReportCall",
    "ResultDetail",
    "SessionDetail",
    "Stop",
    "WireError",
    "reason_of",
]

#: An entry longer than this (its JSON, in bytes) must put its weight into an object.
ENTRY_BYTES = 256 * 1024
#: The longest hold of a ``next`` call.
MAX_WAIT_MS = 25_000

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Millis = Annotated[int, Field(ge=0, le=10**13)]

#: Reasons of TOMBSTONE, BARRED and UNKNOWN: a closed list.
NEGATIVE_REASONS = frozenset(
    {
        # it never started
        "not_allowed",  # the lab's allow-list, hours or LOCAL mode speaks against it
        "bad_request",
        "unsupported",
        "out_of_range",
        "stale_grant",  # session, journal, epoch, fence or token are not the present ones
        "restart",  # received, and the agent restarted before it meant to start
        "stopped",  # a stop came before the start
        "local",
        "busy",
        "not_ready",
        "out_of_supply",
        "interlock",
        "hardware",
        "voided",
        "other_journal",
        # nobody can tell
        "link_lost",
        "agent_died",
        "instrument_forgot",
        "garbage",
        "timeout",
        "bytes_missing",
    }
)


class Inbound(BaseModel):
    """Read by the facility: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Outbound(BaseModel):
    """Read by a node: unknown fields are ignored, since a newer facility never sends what decides something."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class EntryKind(StrEnum):
    """Kinds of journal entries."""

    SESSION = "SESSION"
    EPOCH = "EPOCH"
    RECEIVED = "RECEIVED"
    INTENT = "INTENT"
    STARTED = "STARTED"
    RESULT = "RESULT"
    UPLOADED = "UPLOADED"
    TOMBSTONE = "TOMBSTONE"
    BARRED = "BARRED"
    UNKNOWN = "UNKNOWN"


class Entry(Inbound):
    """One line of a node's journal. ``at`` is the node's wall clock (for people); the chain is what counts."""

    seq: int = Field(ge=1)
    at: Instant
    kind: EntryKind
    attempt: Word | None = None
    session: Word
    detail: dict[str, JsonValue] = Field(default_factory=dict)
    previous: Sha256
    hash: Sha256


class Health(Inbound):
    """State of an instrument as its driver tells it."""

    state: Literal["idle", "busy", "paused", "error", "maintenance", "local"]
    detail: str = Field(default="", max_length=500)


class Live(Inbound):
    """Progress of a running attempt: lossy, decides nothing. ``fraction`` of 1."""

    attempt: Word
    phase: Word
    fraction: float | None = Field(default=None, ge=0, le=1)


class Head(Inbound):
    """What both calls begin with.

    ``tokens``: per instrument name, the numbers whose grant has not arrived; ``manifests``: per instrument name, the
    sha256 of the manifest that describes it (its bytes are an object); ``epoch``: the last one journalled.
    """

    wire: int
    speaks: list[int] = Field(min_length=1, max_length=8)
    session: Word
    call: int = Field(ge=1)
    journal: Word
    epoch: int = Field(ge=0)
    tokens: dict[Name, list[Annotated[int, Field(ge=1)]]] = Field(default_factory=dict, max_length=256)
    manifests: dict[Name, Sha256] = Field(default_factory=dict, max_length=256)
    health: dict[Name, Health] = Field(default_factory=dict, max_length=256)
    live: list[Live] = Field(default_factory=list, max_length=1024)


class ReportCall(Head):
    """``POST /v1/node/report``: the journal since the last acknowledged entry."""

    entries: list[Entry] = Field(default_factory=list, max_length=1000)


class NextCall(Head):
    """``POST /v1/node/next``: held until there is something to do, ``wait_ms`` at most."""

    wait_ms: int = Field(default=MAX_WAIT_MS, ge=0, le=MAX_WAIT_MS)


class Cursor(Outbound):
    """What the facility has read and committed of a journal; ``seq`` 0 and 64 zeros when nothing."""

    journal: str
    seq: int
    hash: str


class Stop(Outbound):
    """A person's word to end an attempt."""

    attempt: str
    mode: Literal["safe_point", "now"] = "safe_point"


class Grant(Outbound):
    """Permission to perform one step once on one instrument. Durations are lab time.

    ``arguments`` are ``Value`` in the JSON forms of the line protocol, in the units of the manifest. ``protocol`` is
    the document's hash; ``protocol_id`` its name, for allow-lists that match names.
    """

    attempt: str
    experiment: str
    step: str
    project: str
    protocol: str
    protocol_id: str | None = None
    instrument: str
    manifest: str
    action: str
    arguments: dict[str, Any]
    expected_ms: int
    maximum_ms: int
    timeout_ms: int
    repeatable: bool = False
    on_partition: Literal["continue", "safe_point"] = "continue"
    session: str
    journal: str
    epoch: int
    fence: int
    token: int


class Answer(Outbound):
    """Answer to both calls. ``stops`` and ``grants`` come with ``next`` alone and repeat until an entry answers."""

    wire: int
    epoch: int
    cursor: Cursor
    stored: list[str] = Field(default_factory=list)
    stops: list[Stop] = Field(default_factory=list)
    grants: list[Grant] = Field(default_factory=list)


class SessionDetail(Inbound):
    """Detail of a SESSION entry. ``ray_cluster`` is ``None`` for a node without Ray."""

    node: str
    versions: dict[str, str] = Field(default_factory=dict)
    ray_cluster: str | None = None


class WireError(Inbound):
    """Why an attempt failed: a code of the line protocol, or ``timeout``, ``garbage``, ``wrong_unit``, ``lost``."""

    code: Word
    message: str = Field(default="", max_length=2000)


class ObjectRef(Inbound):
    """Bytes by content."""

    name: str = Field(min_length=1, max_length=200)
    media_type: str = Field(min_length=1, max_length=200)
    bytes: int = Field(ge=0)
    sha256: Sha256


class ResultDetail(Inbound):
    """Detail of a RESULT entry.

    ``outputs``: ``Value`` by name. ``used_ms``: the node's monotonic interval from start to end in wall time, ``None``
    where none survived. ``calibration``: the instrument's word. ``flags``: what a reader of the data must know.
    """

    outcome: Literal["done", "failed", "stopped"]
    outputs: dict[str, JsonValue] = Field(default_factory=dict)
    objects: list[ObjectRef] = Field(default_factory=list, max_length=256)
    error: WireError | None = None
    used_ms: Millis | None = None
    calibration: str | None = None
    flags: list[Word] = Field(default_factory=list, max_length=32)


def reason_of(entry: Entry) -> str:
    """The closed-list reason of a TOMBSTONE, BARRED or UNKNOWN entry; any other word reads as ``unlisted``.

    An unlisted reason decides no more than that the attempt will not start: it strikes no candidate.
    """
    reason = entry.detail.get("reason")
    return reason if isinstance(reason, str) and reason in NEGATIVE_REASONS else "unlisted"
