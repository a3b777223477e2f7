"""What happens to an attempt (events) and what follows from it (effects): plain frozen values.

Events come from four sides: the node's journal (evidence), time, people, and the platform itself. Effects are wishes;
the shell carries all of them out in the transaction that saves the attempt, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = [
    "AcknowledgeResult",
    "Adjudicated",
    "Alarm",
    "AttemptEnded",
    "AttemptState",
    "Audit",
    "Barred",
    "BarrierLifted",
    "Before",
    "BytesStored",
    "ChargeWanted",
    "ContactRegained",
    "Effect",
    "Event",
    "Evidence",
    "Fault",
    "Intended",
    "LeaseLapsed",
    "LiftLockOut",
    "LockOutBench",
    "NeedsPerson",
    "PlanAnewPossible",
    "PlannedAnew",
    "Quarantined",
    "Received",
    "RecordWanted",
    "RefundWanted",
    "ResultRead",
    "SendStop",
    "Source",
    "Started",
    "StopAsked",
    "StrikeCandidate",
    "SuspectExpired",
    "Tombstoned",
    "UnknownReported",
    "Verdict",
    "fault_of",
]

#: Which journal entry says it: (journal id, seq). With it the machine itself knows a repetition.
Source = tuple[str, int]


class AttemptState(StrEnum):
    """States of an attempt, as the platform knows it."""

    GRANTED = "GRANTED"
    RUNNING = "RUNNING"
    RESULT_STORED = "RESULT_STORED"
    SUCCEEDED = "SUCCEEDED"
    FAILED_RAN = "FAILED_RAN"
    REFUSED = "REFUSED"
    STOPPED = "STOPPED"
    SUSPECT = "SUSPECT"
    UNKNOWN = "UNKNOWN"
    ADJUDICATED_RAN = "ADJUDICATED_RAN"
    ADJUDICATED_NOT_RUN = "ADJUDICATED_NOT_RUN"
    SUPERSEDED = "SUPERSEDED"


class Fault(StrEnum):
    """Whose fault a failed run is. ``NONE``: nobody's but the request's own; it pays for its time."""

    NONE = "none"
    LAB = "lab"
    FACILITY = "facility"


class Verdict(StrEnum):
    """A person's word on an UNKNOWN attempt."""

    RAN = "ran"
    NOT_RUN = "not_run"


class Before(StrEnum):
    """How the steps before an adopted one stand when its attempt ends un-run."""

    DONE = "done"
    ENDED = "ended"  # at least one of them, otherwise than DONE
    OPEN = "open"


#: Error codes of a failed RESULT that are the lab's doing, not the request's (the line protocol's and the node's).
_LAB_ERRORS = frozenset({"hardware", "interlock", "out_of_supply", "aborted", "garbage", "wrong_unit", "lost"})
#: The flag by which a lab says that its own data are bad.
_MARKED_BAD = "marked_bad"


def fault_of(outcome: str, error: str | None, flags: tuple[str, ...] = ()) -> Fault:
    """Whose fault a RESULT is: the lab's for its hardware's errors and for data that it marks bad, else nobody's."""
    if outcome == "failed" and error in _LAB_ERRORS:
        return Fault.LAB
    return Fault.LAB if outcome != "stopped" and _MARKED_BAD in flags else Fault.NONE


# --- evidence: entries of the node's journal, in the order in which they were read -----------------


@dataclass(frozen=True)
class Received:
    """RECEIVED: the node has taken the grant."""

    at: datetime
    source: Source | None = None


@dataclass(frozen=True)
class Intended:
    """INTENT: the first byte may now go to the hardware."""

    at: datetime
    source: Source | None = None


@dataclass(frozen=True)
class Started:
    """STARTED: it runs, or ran."""

    at: datetime
    source: Source | None = None


@dataclass(frozen=True)
class ResultRead:
    """RESULT: how it ended at the lab.

    ``outcome``: done | failed | stopped. ``used_ms``: the node's monotonic interval, wall ms, ``None`` where none
    survived. ``objects``: sha256 of all its objects; ``durable``: those whose bytes are already durable here.
    ``fault``: see ``fault_of``. ``barrier``: the restore barrier stands, nothing may be charged now.
    """

    at: datetime
    outcome: str
    used_ms: int | None = None
    objects: frozenset[str] = frozenset()
    durable: frozenset[str] = frozenset()
    fault: Fault = Fault.NONE
    source: Source | None = None
    barrier: bool = False


@dataclass(frozen=True)
class Tombstoned:
    """TOMBSTONE: it will never start. ``unbroken``: read from a chain that continues what was acknowledged."""

    at: datetime
    reason: str
    unbroken: bool = True
    source: Source | None = None


@dataclass(frozen=True)
class Barred:
    """BARRED: the grant named another journal. It will not start from this one; of the past it proves nothing."""

    at: datetime
    reason: str = "other_journal"
    source: Source | None = None


@dataclass(frozen=True)
class UnknownReported:
    """UNKNOWN: the node cannot tell. ``reason`` of the closed list."""

    at: datetime
    reason: str
    source: Source | None = None


Evidence = Received | Intended | Started | ResultRead | Tombstoned | Barred | UnknownReported


# --- the platform, time, people --------------------------------------------------------------------


@dataclass(frozen=True)
class BytesStored:
    """The bytes of these objects (sha256) are durable here."""

    at: datetime
    objects: frozenset[str]
    barrier: bool = False


@dataclass(frozen=True)
class LeaseLapsed:
    """No call of the node's present session for the length of the lease."""

    at: datetime


@dataclass(frozen=True)
class SuspectExpired:
    """Silent still, after the time that SUSPECT is given."""

    at: datetime


@dataclass(frozen=True)
class ContactRegained:
    """The node calls again, its journal read to the head and its chain unbroken."""

    at: datetime


@dataclass(frozen=True)
class Quarantined:
    """The node's journal is new, or does not continue what was acknowledged."""

    at: datetime
    cause: str = "journal"


@dataclass(frozen=True)
class BarrierLifted:
    """Charges and releases are allowed again after a restore."""

    at: datetime


@dataclass(frozen=True)
class StopAsked:
    """A person wants it stopped. ``mode``: safe_point | now."""

    at: datetime
    by: str
    mode: str = "safe_point"


@dataclass(frozen=True)
class Adjudicated:
    """People's word, with evidence. ``people``: who agrees; ``fault``: who bears the refund of a run without data."""

    at: datetime
    verdict: Verdict
    people: tuple[str, ...]
    evidence: str
    fault: Fault = Fault.LAB
    barrier: bool = False


@dataclass(frozen=True)
class PlannedAnew:
    """A repeatable protocol's step is to be granted again although this attempt is UNKNOWN."""

    at: datetime


Event = (
    Evidence
    | BytesStored
    | LeaseLapsed
    | SuspectExpired
    | ContactRegained
    | Quarantined
    | BarrierLifted
    | StopAsked
    | Adjudicated
    | PlannedAnew
)


# --- effects ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Audit:
    """The state changed: write it to history and audit, emit ``attempt.<after>``. ``before`` is ``None`` at birth."""

    at: datetime
    subject: str
    before: str | None
    after: str
    cause: str


@dataclass(frozen=True)
class AttemptEnded:
    """The attempt is live no longer. It is an event of ``steps.step``.

    ``consumed``: a sample was used up. ``before`` and ``barrier`` are for the shell to set where they differ.
    """

    at: datetime
    attempt: str
    state: AttemptState
    fault: Fault = Fault.NONE
    consumed: bool = False
    before: Before = Before.DONE
    barrier: bool = False


@dataclass(frozen=True)
class RecordWanted:
    """Write the record. ``late``: it came after the books were closed; it changes no charge and no step."""

    attempt: str
    late: bool


@dataclass(frozen=True)
class ChargeWanted:
    """Close the step's hold with a charge for this attempt. ``used_ms``: wall ms, ``None``: estimate."""

    attempt: str
    used_ms: int | None


@dataclass(frozen=True)
class RefundWanted:
    """Give back what this attempt was charged, in the same transaction, at the cost of ``fault``."""

    attempt: str
    percent: int
    fault: Fault


@dataclass(frozen=True)
class AcknowledgeResult:
    """Entry and bytes are durable: name the attempt in ``stored``."""

    attempt: str


@dataclass(frozen=True)
class StrikeCandidate:
    """This instrument will never take this step; emitted before ``AttemptEnded``."""

    attempt: str
    reason: str


@dataclass(frozen=True)
class SendStop:
    """Tell the node to stop; repeated until an entry answers it."""

    attempt: str
    mode: str


@dataclass(frozen=True)
class NeedsPerson:
    """The attempt is UNKNOWN and only evidence or a person can end that."""

    attempt: str
    reason: str


@dataclass(frozen=True)
class PlanAnewPossible:
    """UNKNOWN, but the protocol is repeatable: ``PlannedAnew`` may follow at once."""

    attempt: str


@dataclass(frozen=True)
class LockOutBench:
    """People said "did not run" without the node's word: lock the bench, revoke the session."""

    attempt: str


@dataclass(frozen=True)
class LiftLockOut:
    """The node's TOMBSTONE or BARRED has been read: cut the driver's link once more, then unlock."""

    attempt: str


@dataclass(frozen=True)
class Alarm:
    """Evidence that contradicts what is in the books, or that may not count. Nothing was changed by it."""

    attempt: str
    code: str
    text: str


Effect = (
    Audit
    | AttemptEnded
    | RecordWanted
    | ChargeWanted
    | RefundWanted
    | AcknowledgeResult
    | StrikeCandidate
    | SendStop
    | NeedsPerson
    | PlanAnewPossible
    | LockOutBench
    | LiftLockOut
    | Alarm
)
