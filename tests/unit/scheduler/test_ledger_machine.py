"""The ledger under any sequence of happenings: sound books, and balances that a plain count agrees with."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.allocation.ledger import Entry, EntryKind, Hold, HoldState
from labcommons.scheduler.events import Fault
from support.clocks import at

ALLOCATIONS = {"alc_a": "press", "alc_b": "press", "alc_c": "oven"}
LABS = ("lab_north", "lab_south")
AMOUNTS = st.integers(1, 10_000)
ALLOCATION = st.sampled_from(sorted(ALLOCATIONS))


class Books(RuleBasedStateMachine):
    """The books, and beside them a count that knows nothing of double entry."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, Entry] = {}
        self.holds: dict[str, Hold] = {}
        self.steps: dict[str, str] = {}
        self.refunded: Counter[str] = Counter()
        self.available: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.charged: Counter[str] = Counter()
        self.now = 0

    def who(self) -> dict[str, Any]:
        self.now += 1
        return {"at": at(self.now), "actor": "per_kim"}

    def write(self, *entries: Entry) -> None:
        """As the store does it: an id that is there already is not written again."""
        for entry in entries:
            self.entries.setdefault(entry.entry, entry)

    def of_kind(self, kind: EntryKind) -> list[Entry]:
        return [e for e in self.entries.values() if e.kind is kind]

    @rule(allocation=ALLOCATION, amount=AMOUNTS)
    def grant(self, allocation: str, amount: int) -> None:
        n = len(self.of_kind(EntryKind.GRANT))
        self.write(ledger.grant(allocation, ALLOCATIONS[allocation], amount, n=n, **self.who()))
        self.available[allocation] += amount

    @rule(allocation=ALLOCATION, amount=AMOUNTS)
    def submit(self, allocation: str, amount: int) -> None:
        if self.available[allocation] >= amount:
            self.open(f"stp_{len(self.holds)}", allocation, amount, 0)

    def open(self, step: str, allocation: str, amount: int, n: int) -> None:
        self.holds[step], entry = ledger.hold(step, allocation, ALLOCATIONS[allocation], amount, n=n, **self.who())
        self.write(entry)
        self.available[allocation] -= amount
        self.held[allocation] += amount

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), part=st.integers(0, 100), lab=st.sampled_from(LABS), fault=st.sampled_from(Fault))
    def close(self, data: st.DataObject, part: int, lab: str, fault: Fault) -> None:
        step = data.draw(st.sampled_from(sorted(self.holds)))
        hold = self.holds[step]
        if hold.state is HoldState.CLOSED:
            return
        attempt, ms = f"att_{step}_{hold.n}", hold.amount_ms * part // 100
        self.holds[step], entries = ledger.close_hold(hold, ms, attempt=attempt, lab=lab, **self.who())
        self.write(*entries)
        self.steps[attempt] = step
        self.held[hold.allocation] -= hold.amount_ms
        self.available[hold.allocation] += hold.amount_ms - ms
        self.charged[hold.allocation] += ms
        if ms and fault is not Fault.NONE:
            self.repay(entries[0], 100, fault)
            self.open(step, hold.allocation, hold.amount_ms, hold.n + 1)

    @precondition(lambda self: self.of_kind(EntryKind.CHARGE))
    @rule(data=st.data(), percent=st.integers(1, 100), fault=st.sampled_from(Fault))
    def refund(self, data: st.DataObject, percent: int, fault: Fault) -> None:
        self.repay(data.draw(st.sampled_from(self.of_kind(EntryKind.CHARGE))), percent, fault)

    def repay(self, charge: Entry, percent: int, fault: Fault) -> None:
        before = self.refunded[charge.cause]
        wanted = max(1, round(charge.amount_ms * percent / 100))
        if before + wanted > charge.amount_ms:
            return
        n = sum(1 for e in self.of_kind(EntryKind.REFUND) if e.cause == charge.cause)
        entry = ledger.refund(charge, percent, fault=fault, refunded_ms=before, n=n, **self.who())
        self.write(entry)
        allocation = charge.account.removeprefix("held:")
        self.refunded[charge.cause] += entry.amount_ms
        self.charged[allocation] -= entry.amount_ms
        self.available[allocation] += entry.amount_ms

    @rule(allocation=ALLOCATION, amount=AMOUNTS)
    def expire(self, allocation: str, amount: int) -> None:
        if self.available[allocation] >= amount:
            n = len(self.of_kind(EntryKind.EXPIRY))
            self.write(ledger.expiry(allocation, ALLOCATIONS[allocation], amount, n=n, **self.who()))
            self.available[allocation] -= amount

    @precondition(lambda self: self.of_kind(EntryKind.GRANT))
    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        grant = data.draw(st.sampled_from(self.of_kind(EntryKind.GRANT)))
        allocation = grant.counter_account.removeprefix("alloc:")
        undo = ledger.reversal(grant, **self.who())
        if undo.entry not in self.entries and self.available[allocation] >= grant.amount_ms:
            self.write(undo)
            self.available[allocation] -= grant.amount_ms

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """The same cause comes again, at another time and by another hand."""
        old = data.draw(st.sampled_from(list(self.entries.values())))
        if old.kind is EntryKind.REVERSAL:
            again = ledger.reversal(self.entries[old.cause], **self.who())
            assert again.entry == old.entry
            self.write(again)
        elif old.kind is EntryKind.CHARGE:
            assert ledger.entry_id(EntryKind.CHARGE, old.cause) == old.entry

    @invariant()
    def sound(self) -> None:
        assert ledger.check(self.entries.values(), self.steps) == []

    @invariant()
    def agrees_with_the_count(self) -> None:
        books = list(self.entries.values())
        assert sum(ledger.balances(books).values()) == 0
        for allocation, kind in ALLOCATIONS.items():
            b = ledger.balance(books, allocation, kind)
            counted = (self.available[allocation], self.held[allocation], self.charged[allocation])
            assert (b.available_ms, b.held_ms, b.charged_ms) == counted
            assert b.available_ms == b.granted_ms - b.charged_ms - b.held_ms >= 0

    @invariant()
    def statement_adds_up(self) -> None:
        books = list(self.entries.values())
        told = ledger.statement(books, ALLOCATIONS.items(), project="prj_1", at=at(0))
        lines = told["entries"]
        for line in told["allocations"]:
            account = f"alloc:{line['allocation']}"
            came = sum(e["amount_ms"] for e in lines if e["counter_account"] == account)
            went = sum(e["amount_ms"] for e in lines if e["account"] == account)
            assert came - went == line["available_ms"]


Books.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestBooks = Books.TestCase
