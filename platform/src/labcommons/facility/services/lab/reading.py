"""Reading a node's journal: in order, once, by its hash chain, and each entry through the attempts' machine.

The cursor is (journal, seq, hash). What lies before it was read; what leaves a gap waits until it is sent in order;
what does not continue the chain puts the node into quarantine, and then only what proves that something ran still
counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from labcommons.core.errors import InvalidInput, TooLarge
from labcommons.core.ids import SessionId
from labcommons.core.times import from_text
from labcommons.facility.ports import AttemptRow, EntryRow, JournalRow, NodeRow, NodeSessionRow, UnitOfWork
from labcommons.facility.services.lab import heads
from labcommons.facility.services.run import lifecycle
from labcommons.federation.chain import entry_hash
from labcommons.federation.wire import ENTRY_BYTES, Entry, EntryKind, ResultDetail, SessionDetail, reason_of
from labcommons.scheduler import events

__all__ = ["Read", "read"]

_POSITIVE = frozenset({EntryKind.STARTED, EntryKind.RESULT})
#: Audited for each entry that counted though no chain holds it; a repetition is recognised by its hash.
_BEYOND = "node.entry_beyond_chain"


@dataclass(frozen=True)
class Read:
    """The node and the journal after reading. ``whole``: every entry that was sent is read, in an unbroken chain."""

    node: NodeRow
    journal: JournalRow
    whole: bool


def read(uow: UnitOfWork, node: NodeRow, journal: JournalRow, entries: Sequence[Entry]) -> Read:
    """Read what is new. Raises ``TooLarge`` or ``InvalidInput`` (``corrupt_entry``) before anything is read."""
    for entry in entries:
        _sound(journal.journal, entry)
    ordered = sorted(entries, key=lambda entry: entry.seq)
    if journal.state == "broken" or _forked(uow, node, journal, [e for e in ordered if e.seq <= journal.seq]):
        return _broken(uow, node, journal, ordered)
    seq, previous = journal.seq, journal.hash
    for place, entry in enumerate(ordered):
        if entry.seq <= seq:
            continue
        if entry.seq > seq + 1:
            # A gap: what is missing was lost or overtaken. The answer's cursor says from where to send again.
            return _advance(uow, node, journal, seq, previous, whole=False)
        if entry.previous != previous:
            done = _advance(uow, node, journal, seq, previous, whole=False)
            return _broken(uow, done.node, done.journal, ordered[place:])
        _take(uow, node, journal, entry)
        seq, previous = entry.seq, entry.hash
    return _advance(uow, node, journal, seq, previous, whole=journal.state == "current")


def _sound(journal: str, entry: Entry) -> None:
    """Refuse an entry that is too large or was changed on its way. The node sends it again."""
    size = len(entry.model_dump_json().encode())
    if size > ENTRY_BYTES:
        raise TooLarge(
            f"entry {entry.seq} has {size} bytes; {ENTRY_BYTES} are allowed",
            field="/entries",
            remedy="put what is large into an object and name it in the entry",
        )
    if entry.hash != entry_hash(journal, entry):
        raise InvalidInput(
            f"entry {entry.seq} does not have the hash that it carries",
            code="corrupt_entry",
            field="/entries",
            remedy="send the entry again as it stands in the journal",
        )


def _forked(uow: UnitOfWork, node: NodeRow, journal: JournalRow, repeated: Sequence[Entry]) -> bool:
    """Whether an entry that comes again is another than the one read in its place: the journal was set back."""
    if not repeated:
        return False
    seqs = [entry.seq for entry in repeated]
    known = {row.seq: row.hash for row in uow.lab.entries.find(node=node.id, journal=journal.journal, seq=seqs)}
    return any(known.get(entry.seq) != entry.hash for entry in repeated)


def _advance(uow: UnitOfWork, node: NodeRow, journal: JournalRow, seq: int, last_hash: str, *, whole: bool) -> Read:
    if seq != journal.seq:
        journal = uow.lab.journals.save(replace(journal, seq=seq, hash=last_hash))
    current = uow.lab.nodes.get(node.id) or node
    return Read(current, journal, whole)


def _broken(uow: UnitOfWork, node: NodeRow, journal: JournalRow, entries: Sequence[Entry]) -> Read:
    """The chain is broken: quarantine, and of what follows only positive evidence counts."""
    if journal.state != "broken":
        journal = uow.lab.journals.save(replace(journal, state="broken"))
        node = heads.quarantine(uow, node, f"journal {journal.journal} does not continue what was acknowledged")
    for entry in _unread(uow, node, journal, [entry for entry in entries if entry.kind in _POSITIVE]):
        _attempt_entry(uow, node, entry, source=None, unbroken=False)
        uow.audit(node.id, _BEYOND, entry.attempt or node.id, {"journal": journal.journal, "hash": entry.hash})
    return Read(uow.lab.nodes.get(node.id) or node, journal, whole=False)


def _unread(uow: UnitOfWork, node: NodeRow, journal: JournalRow, entries: Sequence[Entry]) -> list[Entry]:
    """The entries that were not taken before, whatever stands in their place: a repetition is known by its hash."""
    if not entries:
        return []
    seqs, subjects = [entry.seq for entry in entries], [entry.attempt or node.id for entry in entries]
    taken = {row.hash for row in uow.lab.entries.find(node=node.id, journal=journal.journal, seq=seqs)}
    taken |= {row.detail["hash"] for row in uow.run.audit.find(action=_BEYOND, subject=subjects)}
    return [entry for entry in {entry.hash: entry for entry in entries}.values() if entry.hash not in taken]


def _take(uow: UnitOfWork, node: NodeRow, journal: JournalRow, entry: Entry) -> None:
    """One entry in its place: applied, then kept with what it did."""
    unbroken = journal.state == "current"
    applied = "kept"
    if entry.kind is EntryKind.SESSION:
        _session(uow, node, journal, entry)
    elif entry.kind is not EntryKind.EPOCH:
        applied = _attempt_entry(uow, node, entry, source=(journal.journal, entry.seq), unbroken=unbroken)
    uow.lab.entries.add(
        EntryRow(
            node=node.id,
            journal=journal.journal,
            seq=entry.seq,
            at=entry.at,
            kind=str(entry.kind),
            session=entry.session,
            previous=entry.previous,
            hash=entry.hash,
            received_at=uow.now,
            attempt=entry.attempt,
            detail=dict(entry.detail),
            applied=applied,
        )
    )


def _session(uow: UnitOfWork, node: NodeRow, journal: JournalRow, entry: Entry) -> None:
    """A life of the agent, as its journal tells it. One that never called is of the past already."""
    current = uow.lab.nodes.get(node.id) or node
    if entry.session != current.session:
        if uow.lab.sessions.get(node.id, entry.session) is None:
            row = NodeSessionRow(node.id, SessionId(entry.session), journal.journal, uow.now, "past")
            uow.lab.sessions.add(row)
        return
    try:
        detail = SessionDetail.model_validate(entry.detail)
    except ValidationError as error:
        uow.audit(node.id, "node.bad_entry", node.id, {"seq": entry.seq, "errors": error.error_count()})
        return
    software = ", ".join(f"{name} {version}" for name, version in sorted(detail.versions.items())) or None
    uow.lab.nodes.save(replace(current, ray_cluster=detail.ray_cluster, software=software))


# --- entries of attempts ----------------------------------------------------------------------------------------------


def _attempt_entry(
    uow: UnitOfWork, node: NodeRow, entry: Entry, *, source: events.Source | None, unbroken: bool
) -> str:
    """Let an entry happen to its attempt; in a word what it did."""
    row = None if entry.attempt is None else uow.run.attempts.get(entry.attempt)
    if row is None or row.node != node.id:
        word = "unknown_attempt" if row is None else "foreign_attempt"
        detail = {"attempt": entry.attempt, "seq": entry.seq, "kind": str(entry.kind)}
        uow.audit(node.id, f"node.{word}", node.id, detail)
        return word
    if entry.kind is EntryKind.UPLOADED:
        if row.stored and not row.uploaded:
            uow.run.attempts.save(replace(row, uploaded=True))
        return "uploaded"
    before = row.state
    for event, facts in _events(uow, row, entry, source=source, unbroken=unbroken):
        row = lifecycle.happen(uow, row, event, actor=node.id, **facts)
    return row.state if row.state != before else "kept"


def _events(
    uow: UnitOfWork, row: AttemptRow, entry: Entry, *, source: events.Source | None, unbroken: bool
) -> list[tuple[events.Event, dict[str, Any]]]:
    """What an entry says, as events, with the fields that come along."""
    now, said_at = uow.now, from_text(entry.at)
    match entry.kind:
        case EntryKind.RECEIVED:
            return [(events.Received(now, source), {})]
        case EntryKind.INTENT:
            return [(events.Intended(now, source), {})]
        case EntryKind.STARTED:
            return [(events.Started(now, source), {"started_at": row.started_at or said_at})]
        case EntryKind.RESULT:
            return _result(uow, row, entry, source)
        case EntryKind.TOMBSTONE if source is not None and source[0] != row.journal:
            # It will not start any more, but what it did before is in the journal that was lost.
            return [(events.Barred(now, reason_of(entry), source), {})]
        case EntryKind.TOMBSTONE:
            return [(events.Tombstoned(now, reason_of(entry), unbroken, source), {})]
        case EntryKind.BARRED:
            return [(events.Barred(now, reason_of(entry), source), {})]
        case EntryKind.UNKNOWN:
            return [(events.UnknownReported(now, reason_of(entry), source), {})]
        case _:
            return []


def _result(
    uow: UnitOfWork, row: AttemptRow, entry: Entry, source: events.Source | None
) -> list[tuple[events.Event, dict[str, Any]]]:
    now, said_at = uow.now, from_text(entry.at)
    try:
        detail = ResultDetail.model_validate(entry.detail)
    except ValidationError as error:
        # It ran, and how it ended cannot be read: that is for a person, not a reason to stop the node's journal.
        uow.audit(row.node, "node.bad_entry", row.id, {"seq": entry.seq, "errors": error.error_count()})
        started = {"started_at": row.started_at or said_at}
        return [(events.Started(now, source), started), (events.UnknownReported(now, "garbage"), {})]
    named = frozenset(item.sha256 for item in detail.objects)
    durable = frozenset(obj.sha256 for obj in uow.run.objects.find(sha256=named)) if named else frozenset()
    fault = events.fault_of(detail.outcome, detail.error.code if detail.error else None, tuple(detail.flags))
    event = events.ResultRead(now, detail.outcome, detail.used_ms, named, durable, fault, source)
    if row.outcome is not None:
        # A second RESULT is the machine's to judge; what the first one said stays.
        return [(event, {})]
    facts = {
        "received_at": now,
        "ended_at": said_at,
        "started_at": row.started_at or said_at,
        "result": detail.model_dump(mode="json"),
        "fraction": None,
    }
    return [(event, facts)]
