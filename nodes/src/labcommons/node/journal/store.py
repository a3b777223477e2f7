"""The journal's file: SQLite, WAL, ``synchronous=FULL``, one writer, a hash chain.

An entry that is returned by ``append`` is durable. What may follow what is decided by ``decisions.legal``, inside the
transaction, so that two wishes about one attempt cannot both be written.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from labcommons.core.errors import LabCommonsError
from labcommons.core.ids import JournalId
from labcommons.core.times import to_text
from labcommons.federation.chain import GENESIS, entry_hash, first_break
from labcommons.federation.wire import ENTRY_BYTES, Entry, EntryKind, Grant
from labcommons.node.decisions import legal
from labcommons.protocols.canonical import canonical, digest

__all__ = [
    "Draft",
    "DraftRefused",
    "EntryTooLarge",
    "IllegalEntry",
    "Journal",
    "JournalBroken",
    "JournalError",
    "JournalReader",
    "Position",
]

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    attempt TEXT,
    session TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX entries_of_attempt ON entries (attempt, seq) WHERE attempt IS NOT NULL;
-- What was granted, whole; the chain holds its digest. The columns are those that rule 4 compares.
CREATE TABLE grants (
    attempt TEXT PRIMARY KEY,
    instrument TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX grants_of_instrument ON grants (instrument, epoch, fence);
"""
_COLUMNS = "seq, at, kind, attempt, session, detail, previous, hash"


class JournalError(Exception):
    """Base of what the journal raises."""


class JournalBroken(JournalError):
    """The file cannot be taken for this node's journal: its chain does not hold, or it is no journal."""


class IllegalEntry(JournalError):
    """The attempt's entries do not allow this one: somebody else was first. ``history``: its kinds, oldest first."""

    def __init__(self, attempt: str, history: Sequence[EntryKind], wanted: EntryKind, why: str = "") -> None:
        story = " -> ".join(history) or "nothing"
        super().__init__(f"{attempt}: {wanted} may not follow {story}{': ' + why if why else ''}")
        self.attempt = attempt
        self.history = tuple(history)
        self.wanted = wanted


class DraftRefused(JournalError):
    """What the draft holds has no form that the journal can keep, at this try or any other."""


class EntryTooLarge(DraftRefused):
    """The entry passes 256 KiB: its weight belongs into an object."""


@dataclass(frozen=True)
class Draft:
    """An entry to be. ``grant`` comes with the first entry of an attempt that a grant brought."""

    kind: EntryKind
    attempt: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    grant: Grant | None = None


@dataclass(frozen=True)
class Position:
    """A place in the chain: ``seq`` 0 and 64 zeros before the first entry."""

    seq: int = 0
    hash: str = GENESIS


def _entry(row: Sequence[Any]) -> Entry:
    seq, at, kind, attempt, session, detail, previous, hash_ = row
    return Entry(
        seq=seq,
        at=at,
        kind=EntryKind(kind),
        attempt=attempt,
        session=session,
        detail=json.loads(detail),
        previous=previous,
        hash=hash_,
    )


class JournalReader:
    """Reading, beside a writer of another process or thread. Close it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise JournalBroken(f"{path}: there is no journal here; it is made by the first `labcommons-node run`")
        self.path = path
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None)
        try:
            self.id = str(self._meta("journal"))
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise JournalBroken(f"{path}: this is no journal: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _meta(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def entries(self, after: int = 0, limit: int = -1) -> Iterator[Entry]:
        """Entries past ``after``, oldest first, at most ``limit``."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
        return map(_entry, rows)

    def verify(self) -> str | None:
        """Why the chain does not hold, or ``None``."""
        try:
            found = first_break(self.id, self.entries())
        except (sqlite3.DatabaseError, ValueError) as error:
            return f"an entry cannot be read: {error}"
        if found is not None:
            return f"at entry {found.seq}: {found.why}"
        for attempt, told, document in self._db.execute(
            "SELECT e.attempt, json_extract(e.detail, '$.grant'), g.document FROM entries e"
            " JOIN grants g ON g.attempt = e.attempt WHERE json_extract(e.detail, '$.grant') IS NOT NULL"
        ):
            if digest(json.loads(document)) != told:
                return f"the grant kept for {attempt} is not the one whose digest the chain holds"
        return None

    def last(self) -> Position:
        """The newest place in the chain."""
        row = self._db.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return Position() if row is None else Position(int(row[0]), str(row[1]))

    def at(self, seq: int) -> Position | None:
        """The place of entry ``seq``, ``None`` where there is no such entry."""
        if seq == 0:
            return Position()
        row = self._db.execute("SELECT hash FROM entries WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else Position(seq, str(row[0]))

    def session(self) -> str | None:
        """The newest session."""
        row = self._db.execute("SELECT session FROM entries WHERE kind = 'SESSION' ORDER BY seq DESC LIMIT 1")
        found = row.fetchone()
        return None if found is None else str(found[0])

    def epoch(self) -> int:
        """The last epoch journalled, 0 before the first."""
        row = self._db.execute("SELECT detail FROM entries WHERE kind = 'EPOCH' ORDER BY seq DESC LIMIT 1").fetchone()
        return 0 if row is None else int(json.loads(row[0])["epoch"])

    def history(self, attempt: str) -> tuple[EntryKind, ...]:
        """The kinds of an attempt's entries, oldest first; empty for an id never heard of."""
        rows = self._db.execute("SELECT kind FROM entries WHERE attempt = ? ORDER BY seq", (attempt,))
        return tuple(EntryKind(kind) for (kind,) in rows)

    def story(self, attempt: str) -> list[Entry]:
        """An attempt's entries, oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE attempt = ? ORDER BY seq",
            (attempt,),
        )
        return list(map(_entry, rows))

    def fence(self, instrument: str) -> tuple[int, int]:
        """The highest (epoch, fence) that a grant for ``instrument`` brought."""
        row = self._db.execute(
            "SELECT epoch, fence FROM grants WHERE instrument = ? ORDER BY epoch DESC, fence DESC LIMIT 1",
            (instrument,),
        ).fetchone()
        return (-1, -1) if row is None else (int(row[0]), int(row[1]))

    def grant(self, attempt: str) -> Grant | None:
        """What was granted under this id, if a grant brought it."""
        row = self._db.execute("SELECT document FROM grants WHERE attempt = ?", (attempt,)).fetchone()
        return None if row is None else Grant.model_validate_json(row[0])

    def open_attempts(self) -> list[tuple[str, tuple[EntryKind, ...]]]:
        """Attempts whose last entry is not an end, oldest first, with the kinds of their entries."""
        rows = self._db.execute(
            "SELECT e.attempt, group_concat(e.kind, ' ') FROM (SELECT attempt, kind FROM entries"
            " WHERE attempt IS NOT NULL ORDER BY seq) e GROUP BY e.attempt"
            " HAVING sum(e.kind IN ('UPLOADED', 'TOMBSTONE', 'BARRED')) = 0"
            " ORDER BY (SELECT min(seq) FROM entries f WHERE f.attempt = e.attempt)"
        )
        return [(attempt, tuple(EntryKind(kind) for kind in kinds.split())) for attempt, kinds in rows]

    def acknowledged(self) -> Position:
        """The last acknowledgement that was kept; an older one than the newest costs a repetition, nothing else."""
        seq, hash_ = self._meta("acknowledged_seq"), self._meta("acknowledged_hash")
        return Position() if seq is None or hash_ is None else Position(int(seq), hash_)


class Journal(JournalReader):
    """The one writer. ``now`` gives the wall clock for the entries' ``at``."""

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        """Open it and check its chain. Raises ``JournalBroken``: a node does not run on books that do not hold."""
        super().__init__(path)
        self._db.close()
        self._now = now
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        broken = self.verify()
        if broken is not None:
            self._db.close()
            raise JournalBroken(
                f"{path}: the chain does not hold, {broken}. This node does not run on it. Look at it with "
                "`labcommons-node journal verify`, keep the file for the facility's staff, and report the node"
            )
        self._tail = self.last()
        self._session = self.session() or ""

    @classmethod
    def create(cls, path: Path, now: Callable[[], datetime], id_: JournalId) -> Journal:
        """A new journal with its own id. Raises ``FileExistsError``."""
        if path.exists():
            raise FileExistsError(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        building = path.with_suffix(".new")
        building.unlink(missing_ok=True)
        db = sqlite3.connect(building, isolation_level=None)
        db.executescript("PRAGMA synchronous = FULL; BEGIN;" + _SCHEMA + "COMMIT;")
        db.execute("INSERT INTO meta VALUES ('journal', ?), ('form', '1')", (id_,))
        db.close()
        # Under its name only when whole: a half-made journal would be a new identity at each try.
        building.rename(path)
        return cls(path, now)

    def remember_acknowledged(self, position: Position) -> None:
        """Keep an acknowledgement, with the next commit of ``append`` or on its own outside one."""
        self._db.executemany(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [("acknowledged_seq", str(position.seq)), ("acknowledged_hash", position.hash)],
        )

    def append(
        self, drafts: Sequence[Draft], acknowledged: Position | None = None
    ) -> list[Entry | IllegalEntry | DraftRefused]:
        """Write ``drafts`` in one synced commit; each is taken or refused on its own, in order.

        Returns for each its entry, or why it was refused. Raises ``sqlite3.Error`` when the commit failed: then
        nothing of it is written.
        """
        tail, session = self._tail, self._session
        self._db.execute("BEGIN IMMEDIATE")
        try:
            done: list[Entry | IllegalEntry | DraftRefused] = []
            for draft in drafts:
                try:
                    done.append(self._write(draft))
                except (IllegalEntry, DraftRefused) as refusal:
                    done.append(refusal)
                except (LabCommonsError, ValueError, TypeError, KeyError) as error:
                    # The others of this commit, and the thread that writes, are not to suffer for one that is no JSON.
                    what = f"{draft.kind} of {draft.attempt}: {type(error).__name__}: {error}"
                    done.append(DraftRefused(ascii(what)[1:500]))
            if acknowledged is not None:
                self.remember_acknowledged(acknowledged)
            self._db.execute("COMMIT")
        except BaseException:
            self._tail, self._session = tail, session
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return done

    def _write(self, draft: Draft) -> Entry:
        session = self._session
        if draft.kind is EntryKind.SESSION:
            session = str(draft.detail["session"])
        elif draft.attempt is not None:
            self._check(draft, draft.attempt)
        entry = self._next(draft, session)
        size = len(canonical(entry.model_dump(mode="json")))
        if size > ENTRY_BYTES:
            raise EntryTooLarge(f"{draft.kind} of {draft.attempt}: {size} bytes, at most {ENTRY_BYTES}")
        self._insert(entry, draft.grant)
        self._tail, self._session = Position(entry.seq, entry.hash), session
        return entry

    def _next(self, draft: Draft, session: str) -> Entry:
        """``draft`` as the next link of the chain."""
        detail = {name: value for name, value in draft.detail.items() if name != "session"}
        if draft.grant is not None:
            detail = {**_told(draft.grant), **detail}
        entry = Entry(
            seq=self._tail.seq + 1,
            at=to_text(self._now()),
            kind=draft.kind,
            attempt=draft.attempt,
            session=session,
            detail=detail,
            previous=self._tail.hash,
            hash=GENESIS,
        )
        return entry.model_copy(update={"hash": entry_hash(self.id, entry)})

    def _insert(self, entry: Entry, grant: Grant | None) -> None:
        # Both texts are made before the first row: what cannot be written down leaves no half of itself.
        document = None if grant is None else grant.model_dump_json()
        columns = entry.model_dump(include={"seq", "at", "attempt", "session", "previous", "hash"})
        columns |= {"kind": entry.kind.value, "detail": canonical(entry.detail).decode()}
        self._db.execute(
            f"INSERT INTO entries ({_COLUMNS})"
            " VALUES (:seq, :at, :kind, :attempt, :session, :detail, :previous, :hash)",
            columns,
        )
        if grant is not None:
            self._db.execute(
                "INSERT INTO grants VALUES (?, ?, ?, ?, ?)",
                (grant.attempt, grant.instrument, grant.epoch, grant.fence, document),
            )

    def _check(self, draft: Draft, attempt: str) -> None:
        history = self.history(attempt)
        if not legal(history, draft.kind):
            raise IllegalEntry(attempt, history, draft.kind)
        if draft.kind is EntryKind.INTENT:
            # The compare-and-swap of rule 6: the permission must be this very session's.
            grant = self.grant(attempt)
            if grant is None or grant.session != self._session:
                raise IllegalEntry(attempt, history, draft.kind, f"its grant is not of session {self._session}")


def _told(grant: Grant) -> dict[str, Any]:
    """What the chain tells of a grant: its digest, and what a reader of the journal looks for."""
    return {
        "grant": digest(grant.model_dump(mode="json")),
        "instrument": grant.instrument,
        "action": grant.action,
        "epoch": grant.epoch,
        "fence": grant.fence,
        "token": grant.token,
    }
