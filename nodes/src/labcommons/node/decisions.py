"""What the node decides about attempts: plain functions of plain values, with no clock, file, link or instrument.

The shell (``agent``) asks here, journals the answer, and only then acts. The rules are those of the delivery
contract: a permission is used once, nothing is claimed without evidence, and time alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from labcommons.federation.wire import NEGATIVE_REASONS, EntryKind, Grant
from labcommons.node.drivers.contract import TERMINAL, Status

__all__ = [
    "LEGAL",
    "OPEN",
    "TOKENS",
    "AskNext",
    "Close",
    "Follow",
    "Known",
    "Standing",
    "Take",
    "Tokens",
    "answer_stop",
    "judge",
    "legal",
    "overdue",
    "questions",
    "refused",
    "verdict",
]

RECEIVED, INTENT, STARTED, RESULT, UPLOADED = (
    EntryKind.RECEIVED,
    EntryKind.INTENT,
    EntryKind.STARTED,
    EntryKind.RESULT,
    EntryKind.UPLOADED,
)
TOMBSTONE, BARRED, UNKNOWN = EntryKind.TOMBSTONE, EntryKind.BARRED, EntryKind.UNKNOWN

#: Last entry of an attempt -> what may follow. ``legal`` adds what the entries before it forbid.
LEGAL: Mapping[EntryKind | None, frozenset[EntryKind]] = {
    None: frozenset({RECEIVED, TOMBSTONE, BARRED}),
    # STARTED without INTENT: the journal lost it, and the instrument, asked to void the id, named a phase.
    RECEIVED: frozenset({INTENT, TOMBSTONE, STARTED, UNKNOWN}),
    INTENT: frozenset({STARTED, TOMBSTONE, UNKNOWN}),
    STARTED: frozenset({RESULT, UNKNOWN}),
    # UNKNOWN after RESULT says that the bytes are lost; it never undoes the result.
    RESULT: frozenset({UPLOADED, UNKNOWN}),
    UNKNOWN: frozenset({STARTED, RESULT, TOMBSTONE, UPLOADED}),
    UPLOADED: frozenset(),
    TOMBSTONE: frozenset(),
    BARRED: frozenset(),
}

#: Last entries of attempts that this node still owes something.
OPEN = frozenset({RECEIVED, INTENT, STARTED, RESULT, UNKNOWN})

#: Unconsumed ready tokens an instrument and session, counting grants that wait as RECEIVED.
TOKENS = 2


def legal(history: Sequence[EntryKind], new: EntryKind) -> bool:
    """Whether an attempt with these entries (oldest first) may get ``new`` next."""
    if new not in LEGAL[history[-1] if history else None]:
        return False
    if new is TOMBSTONE:
        return STARTED not in history
    if new is RESULT:
        return STARTED in history and RESULT not in history
    if new is STARTED:
        return RESULT not in history
    if new is UPLOADED:
        return RESULT in history
    return True


# --- grants -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Take:
    """Journal RECEIVED; the instrument may take it."""


@dataclass(frozen=True)
class Known:
    """Its id has an entry already: nothing to do, the entry is its answer."""


@dataclass(frozen=True)
class Close:
    """Journal ``kind`` (TOMBSTONE, BARRED or UNKNOWN) with a reason of the closed list and a sentence for people."""

    kind: EntryKind
    reason: str
    text: str

    def __post_init__(self) -> None:
        if self.reason not in NEGATIVE_REASONS:
            raise ValueError(f"{self.reason!r} is not in the closed list of reasons")


@dataclass(frozen=True)
class Standing:
    """What a grant is held against: the node's present names, and what one instrument has seen.

    ``tokens``: numbers of this session whose grant has not arrived; ``fence``: the highest (epoch, fence) seen.
    """

    session: str
    epoch: int
    tokens: frozenset[int]
    fence: tuple[int, int]


def judge(grant: Grant, known: bool, journal: str, standing: Standing | None) -> Take | Known | Close:
    """Rule 4. ``journal``: the present one; ``standing`` is ``None`` for an instrument that this node does not have."""
    if known:
        return Known()
    if grant.journal != journal:
        # Before anything else: of what another journal held, this one can say nothing, not even that it never started.
        return Close(BARRED, "other_journal", f"granted to journal {grant.journal}, this one is {journal}")
    if standing is None:
        return Close(TOMBSTONE, "bad_request", f"this node has no instrument called {grant.instrument!r}")
    stale = _stale(grant, standing)
    return Close(TOMBSTONE, "stale_grant", stale) if stale else Take()


def _stale(grant: Grant, standing: Standing) -> str:
    if grant.session != standing.session:
        return f"granted to session {grant.session}, the present one is {standing.session}"
    if grant.epoch != standing.epoch:
        return f"granted in epoch {grant.epoch}, the present one is {standing.epoch}"
    if grant.token not in standing.tokens:
        return f"ready token {grant.token} is used or was never given"
    if (grant.epoch, grant.fence) <= standing.fence:
        return f"fence {(grant.epoch, grant.fence)} is not above {standing.fence}"
    return ""


@dataclass(frozen=True)
class Tokens:
    """Ready tokens of one instrument in one session. ``out``: given, and their grant has not arrived."""

    last: int = 0
    out: frozenset[int] = frozenset()

    def refill(self, received: int) -> Tokens:
        """As many new ones as are due beside ``received`` grants that wait as RECEIVED."""
        missing = max(0, TOKENS - len(self.out) - received)
        fresh = range(self.last + 1, self.last + 1 + missing)
        return Tokens(self.last + missing, self.out | frozenset(fresh))

    def consume(self, number: int) -> Tokens:
        """Without ``number``: its grant arrived, whatever became of it."""
        return Tokens(self.last, self.out - {number})

    def restore(self, number: int) -> Tokens:
        """With ``number`` again: nothing could be journalled of its grant, which will come once more."""
        return Tokens(self.last, self.out | {number})


# --- stops --------------------------------------------------------------------------------------------------------


def answer_stop(history: Sequence[EntryKind], start_sent: bool) -> Literal["tombstone", "void", "stop", "nothing"]:
    """What a stop asks for. ``start_sent``: this very process sent the start, or cannot exclude that another did.

    ``tombstone``: journal that it will never start. ``stop``: the driver's stop. ``void``: in doubt, ask the
    instrument. ``nothing``: an entry answers it already.
    """
    last = history[-1] if history else None
    if last is None or last is RECEIVED:
        return "tombstone"
    if last is INTENT:
        return "stop" if start_sent else "tombstone"
    if last is STARTED:
        return "stop"
    if last is UNKNOWN and RESULT not in history:
        return "stop" if STARTED in history else "void"
    return "nothing"


# --- doubt --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Follow:
    """It ran or runs: journal STARTED (if not yet), wait for its end."""

    status: Status


@dataclass(frozen=True)
class AskNext:
    """This answer decides nothing."""


def questions(history: Sequence[EntryKind], can_void: bool, remembers: bool) -> tuple[str, ...]:
    """Words to ask an instrument about an attempt in doubt, in order, until one decides."""
    started = STARTED in history
    if can_void and not started:
        return ("void",)
    if history[-1] is RECEIVED:
        # Without INTENT no byte went out, and on an instrument without `void` INTENT was acknowledged elsewhere too.
        return ()
    return ("readback", "status") if remembers else ("status", "readback")


def verdict(
    history: Sequence[EntryKind],
    status: Status | None,
    *,
    can_void: bool,
    remembers: bool,
    restarted: bool,
    last: bool,
) -> Follow | Close | AskNext:
    """What an answer proves. ``status`` is ``None`` where nothing could be asked at all or the word was refused.

    ``restarted``: this agent did not send the start itself. ``last``: there is no further question.
    """
    phase = status.phase if status is not None else None
    started = STARTED in history
    if history[-1] is RECEIVED and phase is None and not can_void:
        # No byte went out: without `void`, INTENT would have to be acknowledged first. Where `void` exists the journal
        # may have been rolled back unseen, and a `void` that was refused proves nothing.
        return Close(TOMBSTONE, "restart", "received, and the agent ended before it meant to start")
    if phase == "voided":
        if started:
            return Close(UNKNOWN, "garbage", "the instrument says voided of an attempt that it had started")
        reason = "restart" if history[-1] is RECEIVED and restarted else "voided"
        return Close(TOMBSTONE, reason, "the instrument barred the id before it started")
    # Nothing remembered: what it says of a start that got no reply, or that another agent sent, is no evidence. Of a
    # run that it confirmed to this very agent it may still tell.
    forgetful = not remembers and (restarted or not started)
    if status is not None and (phase in TERMINAL or phase in ("running", "paused")) and not forgetful:
        return Follow(status)
    if not last:
        return AskNext()
    if forgetful:
        return Close(UNKNOWN, "agent_died" if restarted else "link_lost", _forgetful(phase, restarted))
    if started:
        return Close(UNKNOWN, "instrument_forgot", f"it had started, and the instrument now answers {phase}")
    return Close(UNKNOWN, "link_lost", f"the start may have arrived; the instrument answers {phase}")


def _forgetful(phase: str | None, restarted: bool) -> str:
    event = "the agent ended" if restarted else "the link failed"
    now = f"; it now answers {phase}" if phase else ""
    return f"{event} after the intent to start, on an instrument that does not remember attempts{now}"


def refused(code: str, message: str) -> Close:
    """The tombstone for an error reply to the only starts ever sent for an attempt."""
    reason = code if code in NEGATIVE_REASONS else "hardware"
    return Close(TOMBSTONE, reason, f"the instrument refused the start: {code}: {message}"[:2000])


# --- time limits --------------------------------------------------------------------------------------------------


def overdue(elapsed_s: float, timeout_s: float, grace_s: float) -> Literal["", "safe_point", "now", "give_up"]:
    """What a run that has been going for ``elapsed_s`` seconds of wall time asks for.

    Past ``timeout_s`` (0: no limit) the safe point; one ``grace_s`` later at once; after another one nobody can tell
    what it does, and waiting for it would be for ever.
    """
    if timeout_s <= 0 or elapsed_s < timeout_s:
        return ""
    if elapsed_s < timeout_s + grace_s:
        return "safe_point"
    return "now" if elapsed_s < timeout_s + 2 * grace_s else "give_up"
