"""The ledger: balances as folds over its entries, statements that an outsider can add up, and its invariants.

``available = granted - charged - open holds >= 0``, always. ``charged`` is net of refunds, here and in every statement.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from labcommons.core.times import to_text
from labcommons.scheduler.allocation.entries import (
    REVERSIBLE,
    Entry,
    EntryKind,
    Hold,
    HoldState,
    alloc,
    charge,
    charge_ms,
    close_hold,
    entry_id,
    expiry,
    grant,
    held,
    hold,
    lab_account,
    pool,
    refund,
    release,
    reversal,
)

__all__ = [
    "REVERSIBLE",
    "Balance",
    "Entry",
    "EntryKind",
    "Hold",
    "HoldState",
    "alloc",
    "balance",
    "balances",
    "charge",
    "charge_ms",
    "check",
    "close_hold",
    "entry_id",
    "expiry",
    "export_line",
    "grant",
    "held",
    "hold",
    "lab_account",
    "owed",
    "pool",
    "refund",
    "release",
    "reversal",
    "statement",
]


@dataclass(frozen=True)
class Balance:
    """What an allocation has, in ms: ``available = granted - charged - held``; ``refunded`` is off ``charged``."""

    allocation: str
    instrument_type: str
    granted_ms: int
    held_ms: int
    charged_ms: int
    refunded_ms: int
    available_ms: int


def balances(entries: Iterable[Entry]) -> dict[str, int]:
    """What came in less what went out, in ms, of every account that was ever touched. It sums to zero."""
    sums: defaultdict[str, int] = defaultdict(int)
    for e in entries:
        sums[e.account] -= e.amount_ms
        sums[e.counter_account] += e.amount_ms
    return dict(sums)


def owed(entries: Iterable[Entry], lab: str) -> dict[str, int]:
    """What a lab is owed, in ms by instrument type: a fold over its accounts."""
    prefix = f"lab:{lab}:"
    return {a.removeprefix(prefix): ms for a, ms in balances(entries).items() if a.startswith(prefix)}


def balance(entries: Sequence[Entry], allocation: str, instrument_type: str) -> Balance:
    """The amounts of one allocation, folded from the entries."""
    sums: Counter[EntryKind] = Counter()
    for kind, signed, e in _effective(entries):
        ours = (alloc(allocation), held(allocation))
        if e.account in ours or e.counter_account in ours:
            sums[kind] += signed
    accounts = balances(entries)
    return Balance(
        allocation,
        instrument_type,
        granted_ms=sums[EntryKind.GRANT] - sums[EntryKind.EXPIRY],
        held_ms=accounts.get(held(allocation), 0),
        charged_ms=sums[EntryKind.CHARGE] - sums[EntryKind.REFUND],
        refunded_ms=sums[EntryKind.REFUND],
        available_ms=accounts.get(alloc(allocation), 0),
    )


def _effective(entries: Sequence[Entry]) -> Iterator[tuple[EntryKind, int, Entry]]:
    """Each entry as (kind, signed amount): a reversal counts against the kind of the entry that it undoes."""
    kinds: dict[str, EntryKind] = {e.entry: e.kind for e in entries}
    for e in entries:
        if e.kind is EntryKind.REVERSAL:
            yield kinds.get(e.cause, e.kind), -e.amount_ms, e
        else:
            yield e.kind, e.amount_ms, e


def export_line(entry: Entry) -> dict[str, Any]:
    """An entry in the form of ``labcommons export ledger``."""
    return {
        "entry": str(entry.entry),
        "at": to_text(entry.at),
        "kind": str(entry.kind),
        "account": entry.account,
        "counter_account": entry.counter_account,
        "instrument_type": entry.instrument_type,
        "amount_ms": entry.amount_ms,
        "cause": entry.cause,
        "actor": entry.actor,
    }


def statement(
    entries: Sequence[Entry], allocations: Iterable[tuple[str, str]], *, project: str, at: datetime
) -> dict[str, Any]:
    """A project's statement as plain JSON. ``allocations``: (id, instrument type) of each; ``entries``: all of theirs.

    ``available_ms = granted_ms - charged_ms - held_ms`` in every line, and the entries add up to the same.
    """
    lines = [balance(entries, allocation, instrument_type) for allocation, instrument_type in allocations]
    ours = {name(line.allocation) for line in lines for name in (alloc, held)}
    return {
        "project": project,
        "at": to_text(at),
        "allocations": [dict(vars(line)) for line in lines],
        "entries": [export_line(e) for e in entries if e.account in ours or e.counter_account in ours],
    }


# --- invariants -------------------------------------------------------------------------------------------------------

#: kind -> what the accounts on both sides begin with.
_SHAPES: Mapping[EntryKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    EntryKind.GRANT: (("pool:",), ("alloc:",)),
    EntryKind.HOLD: (("alloc:",), ("held:",)),
    EntryKind.CHARGE: (("held:",), ("lab:",)),
    EntryKind.RELEASE: (("held:",), ("alloc:",)),
    EntryKind.REFUND: (("lab:", "pool:"), ("alloc:",)),
    EntryKind.EXPIRY: (("alloc:",), ("pool:",)),
}


def check(entries: Iterable[Entry], steps: Mapping[str, str] | None = None) -> list[str]:
    """Every invariant that these entries (in the order of the books) break, each as a sentence; empty when sound.

    ``steps``: attempt -> step, of all that were charged. With it each hold is also shown to be closed once and whole.
    """
    entries = list(entries)
    found = [*_ids(entries), *_forms(entries), *_running(entries), *_reversals(entries), *_refunds(entries)]
    return found if steps is None else [*found, *_holds(entries, steps)]


def _ids(entries: Sequence[Entry]) -> Iterator[str]:
    for entry, n in Counter(e.entry for e in entries).items():
        if n > 1:
            yield f"entry {entry} stands in the books {n} times"


def _forms(entries: Sequence[Entry]) -> Iterator[str]:
    for e in entries:
        if type(e.amount_ms) is not int or e.amount_ms <= 0:
            yield f"entry {e.entry} ({e.kind}) moves {e.amount_ms!r}, not a positive whole number of milliseconds"
        shape = _SHAPES.get(e.kind)
        if shape and not (e.account.startswith(shape[0]) and e.counter_account.startswith(shape[1])):
            yield f"entry {e.entry} ({e.kind}) goes from {e.account} to {e.counter_account}"
        for account in (e.account, e.counter_account):
            if account.startswith(("pool:", "lab:")) and account.rpartition(":")[2] != e.instrument_type:
                yield f"entry {e.entry} ({e.kind}) moves time of {e.instrument_type} through {account}"
        names = {a.partition(":")[2] for a in (e.account, e.counter_account)}
        if e.kind in (EntryKind.HOLD, EntryKind.RELEASE) and len(names) > 1:
            yield f"entry {e.entry} ({e.kind}) moves time from one allocation to another"


def _running(entries: Sequence[Entry]) -> Iterator[str]:
    sums: defaultdict[str, int] = defaultdict(int)
    types: dict[str, str] = {}
    for e in entries:
        sums[e.account] -= e.amount_ms
        sums[e.counter_account] += e.amount_ms
        if e.account.startswith(("alloc:", "held:")) and sums[e.account] < 0:
            what = "available" if e.account.startswith("alloc:") else "held"
            yield f"entry {e.entry} ({e.kind}) leaves {e.account} with {sums[e.account]} ms {what}"
        for account in (e.account, e.counter_account):
            first = types.setdefault(account, e.instrument_type)
            if first != e.instrument_type:
                yield f"entry {e.entry} ({e.kind}) puts {e.instrument_type} into {account}, which holds {first}"


def _reversals(entries: Sequence[Entry]) -> Iterator[str]:
    by_id: dict[str, Entry] = {e.entry: e for e in entries}
    undone: Counter[str] = Counter()
    for e in entries:
        if e.kind is not EntryKind.REVERSAL:
            continue
        undone[e.cause] += 1
        named = by_id.get(e.cause)
        if named is None:
            yield f"reversal {e.entry} names {e.cause}, which is not in the books"
        elif named.kind not in REVERSIBLE:
            yield f"reversal {e.entry} undoes {named.entry}, a {named.kind}"
        elif (e.account, e.counter_account, e.amount_ms) != (named.counter_account, named.account, named.amount_ms):
            yield f"reversal {e.entry} is not the mirror of {named.entry}"
    yield from (f"entry {cause} was reversed {n} times" for cause, n in undone.items() if n > 1)


def _refunds(entries: Sequence[Entry]) -> Iterator[str]:
    charged: defaultdict[str, int] = defaultdict(int)
    refunded: defaultdict[str, int] = defaultdict(int)
    payee: dict[str, str] = {}
    for e in entries:
        if e.kind is EntryKind.CHARGE:
            if e.cause in charged:
                yield f"attempt {e.cause} was charged twice"
            charged[e.cause] += e.amount_ms
            payee[e.cause] = alloc(e.account.partition(":")[2])
        if e.kind is EntryKind.REFUND and payee.get(e.cause, e.counter_account) != e.counter_account:
            yield f"refund {e.entry} goes to {e.counter_account}, but {payee[e.cause]} was debited"
    causes: dict[str, str] = {e.entry: e.cause for e in entries}
    for kind, signed, e in _effective(entries):
        if kind is EntryKind.REFUND:
            refunded[e.cause if e.kind is kind else causes[e.cause]] += signed
    for cause, ms in refunded.items():
        if ms > charged.get(cause, 0):
            yield f"attempt {cause} was refunded {ms} ms of the {charged.get(cause, 0)} ms that it was charged"


def _holds(entries: Sequence[Entry], steps: Mapping[str, str]) -> Iterator[str]:
    """Walk the books hold by hold: one open at a time, closed once and in whole."""
    left: dict[str, int] = {}
    charged: set[str] = set()
    for e in entries:
        if e.kind is EntryKind.HOLD:
            if left.get(e.cause, 0):
                yield f"step {e.cause} opened a hold ({e.entry}) while {left[e.cause]} ms of its last were open"
            left[e.cause] = e.amount_ms
            charged.discard(e.cause)
        elif e.kind is EntryKind.CHARGE and e.cause in steps:
            step = steps[e.cause]
            if step in charged or e.amount_ms > left.get(step, 0):
                yield f"charge {e.entry} of {e.amount_ms} ms finds {left.get(step, 0)} ms open for step {step}"
            left[step] = max(0, left.get(step, 0) - e.amount_ms)
            charged.add(step)
        elif e.kind is EntryKind.RELEASE:
            if e.amount_ms != left.get(e.cause, 0):
                yield f"release {e.entry} of {e.amount_ms} ms finds {left.get(e.cause, 0)} ms open for step {e.cause}"
            left[e.cause] = 0
    yield from (f"step {s} was charged and {left[s]} ms of its hold were left open" for s in charged if left[s])
