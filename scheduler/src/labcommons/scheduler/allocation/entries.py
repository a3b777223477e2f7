"""Double entries of the ledger and the holds that some of them open and close.

Amounts are positive integers in milliseconds of lab time and move from ``account`` to ``counter_account``:

=========  =======================================  ==========================
kind       from -> to                               cause
=========  =======================================  ==========================
grant      ``pool:<type>`` -> ``alloc:<id>``        the allocation, or an award
hold       ``alloc:<id>`` -> ``held:<id>``          the step
charge     ``held:<id>`` -> ``lab:<lab>:<type>``    the attempt
release    ``held:<id>`` -> ``alloc:<id>``          the step
refund     ``lab:..`` or ``pool:..`` -> ``alloc:``  the attempt
expiry     ``alloc:<id>`` -> ``pool:<type>``        the allocation
reversal   the pair of the named entry, swapped     the entry
=========  =======================================  ==========================

The id of an entry is a function of what causes it, so that writing it a second time meets the first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum

from labcommons.core.errors import InvalidInput, InvalidTransition
from labcommons.core.ids import EntryId, encode_crockford
from labcommons.scheduler.events import Fault

__all__ = [
    "REVERSIBLE",
    "Entry",
    "EntryKind",
    "Hold",
    "HoldState",
    "alloc",
    "charge",
    "charge_ms",
    "close_hold",
    "entry_id",
    "expiry",
    "grant",
    "held",
    "hold",
    "lab_account",
    "pool",
    "refund",
    "release",
    "reversal",
]


class EntryKind(StrEnum):
    """Kinds of entry."""

    GRANT = "grant"
    HOLD = "hold"
    CHARGE = "charge"
    RELEASE = "release"
    REFUND = "refund"
    REVERSAL = "reversal"
    EXPIRY = "expiry"


class HoldState(StrEnum):
    """A hold is closed once, by compare-and-swap from OPEN."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


#: What a reversal may undo. A hold ends by charge or release; a charge is made good by a refund.
REVERSIBLE = frozenset({EntryKind.GRANT, EntryKind.REFUND, EntryKind.EXPIRY})


@dataclass(frozen=True)
class Entry:
    """One double entry. ``amount_ms`` > 0, lab time, moves from ``account`` to ``counter_account``."""

    entry: EntryId
    at: datetime
    kind: EntryKind
    account: str
    counter_account: str
    instrument_type: str
    amount_ms: int
    cause: str
    actor: str


@dataclass(frozen=True)
class Hold:
    """Time kept for a step. ``n`` counts its holds from 0: one that is queued again after a refund opens its next."""

    step: str
    allocation: str
    instrument_type: str
    amount_ms: int
    n: int = 0
    state: HoldState = HoldState.OPEN


def pool(instrument_type: str) -> str:
    """The account that a type's awards come from. It runs below zero by what has been granted."""
    return f"pool:{instrument_type}"


def alloc(allocation: str) -> str:
    """The account whose balance is what an allocation has available."""
    return f"alloc:{allocation}"


def held(allocation: str) -> str:
    """The account of an allocation's open holds."""
    return f"held:{allocation}"


def lab_account(lab: str, instrument_type: str) -> str:
    """The account of what a lab is owed for a type."""
    return f"lab:{lab}:{instrument_type}"


def entry_id(kind: EntryKind, cause: str, n: int = 0) -> EntryId:
    """The id of the ``n``-th entry of this kind for this cause: always the same, so that a replay is a no-op.

    Its time is the time in the cause's own identifier (zero for a cause that has none); the rest is a hash.
    """
    _, _, body = cause.partition("_")
    time = body[:10] if len(body) == 26 and body[0] in "01234567" else "0" * 10
    digest = hashlib.sha256(f"{kind}\n{cause}\n{n}".encode()).digest()
    return EntryId.parse(f"{EntryId.prefix}_{time}{encode_crockford(int.from_bytes(digest[:10], 'big'), 16)}")


def _entry(
    kind: EntryKind,
    flow: tuple[str, str],
    instrument_type: str,
    amount_ms: int,
    *,
    cause: str,
    n: int = 0,
    at: datetime,
    actor: str,
) -> Entry:
    if amount_ms <= 0:
        raise InvalidInput(
            f"a {kind} of {amount_ms} ms moves nothing",
            code="out_of_range",
            field="/amount_ms",
            remedy="give a whole number of milliseconds above zero",
        )
    return Entry(entry_id(kind, cause, n), at, kind, *flow, instrument_type, amount_ms, cause, actor)


def grant(
    allocation: str, instrument_type: str, amount_ms: int, *, at: datetime, actor: str, cause: str = "", n: int = 0
) -> Entry:
    """From the type's pool to the allocation. ``cause``: the award; the allocation itself unless named."""
    flow = (pool(instrument_type), alloc(allocation))
    return _entry(EntryKind.GRANT, flow, instrument_type, amount_ms, cause=cause or allocation, n=n, at=at, actor=actor)


def expiry(allocation: str, instrument_type: str, amount_ms: int, *, at: datetime, actor: str, n: int = 0) -> Entry:
    """What is left of an allocation goes back to its pool."""
    flow = (alloc(allocation), pool(instrument_type))
    return _entry(EntryKind.EXPIRY, flow, instrument_type, amount_ms, cause=allocation, n=n, at=at, actor=actor)


def hold(
    step: str, allocation: str, instrument_type: str, amount_ms: int, *, at: datetime, actor: str, n: int = 0
) -> tuple[Hold, Entry]:
    """Keep time for a step. ``n``: how many holds the step has had before."""
    flow = (alloc(allocation), held(allocation))
    entry = _entry(EntryKind.HOLD, flow, instrument_type, amount_ms, cause=step, n=n, at=at, actor=actor)
    return Hold(step, allocation, instrument_type, amount_ms, n), entry


def charge(of: Hold, attempt: str, lab: str, amount_ms: int, *, at: datetime, actor: str) -> Entry:
    """What an attempt used of a hold; once for an attempt, at most the hold. Closing is ``close_hold``'s business."""
    if amount_ms > of.amount_ms:
        raise InvalidInput(
            f"a charge of {amount_ms} ms is more than the hold of {of.amount_ms} ms", code="out_of_range"
        )
    flow = (held(of.allocation), lab_account(lab, of.instrument_type))
    return _entry(EntryKind.CHARGE, flow, of.instrument_type, amount_ms, cause=attempt, at=at, actor=actor)


def release(of: Hold, amount_ms: int, *, at: datetime, actor: str) -> Entry:
    """The part of a hold that was not used goes back."""
    flow = (held(of.allocation), alloc(of.allocation))
    return _entry(EntryKind.RELEASE, flow, of.instrument_type, amount_ms, cause=of.step, n=of.n, at=at, actor=actor)


def refund(
    charged: Entry,
    percent: int = 100,
    *,
    fault: Fault = Fault.LAB,
    refunded_ms: int = 0,
    at: datetime,
    actor: str,
    n: int = 0,
) -> Entry:
    """Give back ``percent`` of a charge to the allocation that was debited.

    The lab bears it, or the pool where the facility failed. ``refunded_ms``: what was refunded of it before; ``n``:
    how often. Raises ``InvalidInput`` for what is no charge, a percentage outside 1..100, or more than was charged.
    """
    if charged.kind is not EntryKind.CHARGE or not 1 <= percent <= 100:
        raise InvalidInput(
            f"{percent} % of a {charged.kind} cannot be refunded",
            code="out_of_range",
            field="/percent",
            remedy="refund 1 to 100 percent of a charge",
        )
    share = Decimal(charged.amount_ms) * percent / 100
    amount = max(1, int(share.to_integral_value(rounding=ROUND_HALF_EVEN)))
    if amount + refunded_ms > charged.amount_ms:
        raise InvalidInput(
            f"{amount} ms more would refund more than the {charged.amount_ms} ms that were charged",
            code="out_of_range",
            field="/percent",
            remedy=f"refund at most {charged.amount_ms - refunded_ms} ms",
        )
    payer = pool(charged.instrument_type) if fault is Fault.FACILITY else charged.counter_account
    flow = (payer, alloc(charged.account.partition(":")[2]))
    return _entry(EntryKind.REFUND, flow, charged.instrument_type, amount, cause=charged.cause, n=n, at=at, actor=actor)


def reversal(of: Entry, *, at: datetime, actor: str) -> Entry:
    """Undo a wrong entry and name it. Raises ``InvalidInput`` for a kind that is ended otherwise."""
    if of.kind not in REVERSIBLE:
        raise InvalidInput(
            f"a {of.kind} is not reversed",
            code="not_reversible",
            remedy="reverse a grant, a refund or an expiry; a charge is made good by a refund",
        )
    flow = (of.counter_account, of.account)
    return _entry(EntryKind.REVERSAL, flow, of.instrument_type, of.amount_ms, cause=of.entry, at=at, actor=actor)


def close_hold(
    of: Hold, charged_ms: int, *, at: datetime, actor: str, attempt: str = "", lab: str = ""
) -> tuple[Hold, tuple[Entry, ...]]:
    """Close a hold: a charge of ``charged_ms`` (lab time, 0: nothing ran) and a release of the rest.

    Raises ``InvalidTransition`` if it is closed already: a hold is closed once.
    """
    if of.state is not HoldState.OPEN:
        raise InvalidTransition(
            f"hold {of.n} of step {of.step} ({of.amount_ms} ms of {of.allocation}) is closed already; "
            f"{charged_ms} ms for {attempt or 'nothing that ran'} cannot close it again"
        )
    entries: list[Entry] = []
    if charged_ms:
        entries.append(charge(of, attempt, lab, charged_ms, at=at, actor=actor))
    if charged_ms < of.amount_ms:
        entries.append(release(of, of.amount_ms - charged_ms, at=at, actor=actor))
    return replace(of, state=HoldState.CLOSED), tuple(entries)


def charge_ms(
    hold_ms: int, used_ms: int | None, wall_ms: int, time_scale: str | Decimal, expected_ms: int
) -> tuple[int, bool]:
    """What a run costs, in lab ms, and whether that is an estimate.

    The least of the hold (lab ms), the node's monotonic interval ``used_ms`` and the time from the grant's commit to
    the receipt of RESULT ``wall_ms`` (wall ms), both times the lab's ``time_scale`` (lab time per wall time, rounded
    half to even). Where no monotonic interval survived (``None``) the expected duration (lab ms) stands in for it. What
    ran costs at least 1 ms, so that every run leaves its charge in the books. Raises ``InvalidInput`` for a time scale
    that is none.
    """
    try:
        scale = Decimal(time_scale)
    except InvalidOperation:
        scale = Decimal(0)
    if not scale.is_finite() or scale <= 0:
        raise InvalidInput(
            f"{str(time_scale)[:60]!r} is no time scale",
            code="bad_time_scale",
            field="/time_scale",
            remedy='give a decimal above zero as text, such as "60"',
        )
    bound = _scaled(wall_ms, scale)
    used = expected_ms if used_ms is None else _scaled(used_ms, scale)
    return max(1, min(hold_ms, used, bound)), used_ms is None


def _scaled(wall_ms: int, scale: Decimal) -> int:
    return int((wall_ms * scale).to_integral_value(rounding=ROUND_HALF_EVEN))
