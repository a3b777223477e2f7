"""The ledger: who moves what where, closing once, statements that add up, and planted faults that must be found."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core.errors import InvalidInput, InvalidTransition
from labcommons.core.ids import AllocationId, AttemptId, StepId
from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.allocation.ledger import Entry, EntryKind, Hold, HoldState
from labcommons.scheduler.events import Fault
from support.clocks import at

TYPE = "barrel-press"
ALC = str(AllocationId.mint(1_790_000_000_000, b"0123456789"))
STP = str(StepId.mint(1_790_000_000_001, b"0123456789"))
ATT = str(AttemptId.mint(1_790_000_000_002, b"0123456789"))
LAB = "lab_north"
WHO: dict[str, Any] = {"at": at(0), "actor": "per_sam"}


def granted(amount_ms: int = 100_000) -> Entry:
    return ledger.grant(ALC, TYPE, amount_ms, **WHO)


def held(amount_ms: int = 60_000, n: int = 0, step: str = STP) -> tuple[Hold, Entry]:
    return ledger.hold(step, ALC, TYPE, amount_ms, n=n, **WHO)


def spent(charged_ms: int = 20_000) -> list[Entry]:
    hold, entry = held()
    _, closing = ledger.close_hold(hold, charged_ms, attempt=ATT, lab=LAB, **WHO)
    return [granted(), entry, *closing]


# --- where time goes --------------------------------------------------------------------------------------------------


def test_each_kind_moves_time_where_the_design_says() -> None:
    grant, hold, charge, release = spent()
    refund = ledger.refund(charge, 50, **WHO)
    from_pool = ledger.refund(charge, 50, fault=Fault.FACILITY, n=1, **WHO)
    expiry = ledger.expiry(ALC, TYPE, 7, **WHO)
    reversal = ledger.reversal(grant, **WHO)
    flows = [
        (e.kind.value, e.account, e.counter_account, e.amount_ms, e.cause)
        for e in (grant, hold, charge, release, refund, from_pool, expiry, reversal)
    ]
    pool, alc, hld, lab = f"pool:{TYPE}", f"alloc:{ALC}", f"held:{ALC}", f"lab:{LAB}:{TYPE}"
    assert flows == [
        ("grant", pool, alc, 100_000, ALC),
        ("hold", alc, hld, 60_000, STP),
        ("charge", hld, lab, 20_000, ATT),
        ("release", hld, alc, 40_000, STP),
        ("refund", lab, alc, 10_000, ATT),
        ("refund", pool, alc, 10_000, ATT),
        ("expiry", alc, pool, 7, ALC),
        ("reversal", alc, pool, 100_000, grant.entry),
    ]
    assert len({e.entry for e in (grant, hold, charge, release, refund, from_pool, expiry, reversal)}) == 8


def test_an_entry_has_the_same_id_whenever_it_is_written() -> None:
    again = [replace(e, at=at(99), actor="somebody") for e in spent()]
    assert [e.entry for e in again] == [e.entry for e in spent()]
    later = ledger.hold(STP, ALC, TYPE, 60_000, at=at(500), actor="per_kim")[1]
    assert later.entry == held()[1].entry
    assert held(n=1)[1].entry != held()[1].entry
    assert ledger.grant(ALC, TYPE, 5, cause="award 7", n=1, **WHO).entry.startswith("ent_0000000000")


def test_the_id_of_an_entry_carries_the_time_of_its_cause() -> None:
    assert ledger.entry_id(EntryKind.CHARGE, ATT)[4:14] == ATT[4:14]
    assert ledger.entry_id(EntryKind.CHARGE, "att_" + "Z" * 26)[4:14] == "0" * 10
    assert ledger.entry_id(EntryKind.CHARGE, "att_1")[4:14] == "0" * 10


def test_an_entry_that_moves_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="moves nothing"):
        granted(0)


# --- closing a hold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charged_ms", "kinds"), [(20_000, ["charge", "release"]), (60_000, ["charge"]), (0, ["release"])]
)
def test_a_hold_is_closed_by_a_charge_and_the_release_of_the_rest(charged_ms: int, kinds: list[str]) -> None:
    hold, entry = held()
    closed, entries = ledger.close_hold(hold, charged_ms, attempt=ATT, lab=LAB, **WHO)
    assert closed.state is HoldState.CLOSED
    assert [e.kind.value for e in entries] == kinds
    assert ledger.balances([entry, *entries])[f"held:{ALC}"] == 0


def test_a_hold_is_closed_once() -> None:
    closed, _ = ledger.close_hold(held()[0], 0, **WHO)
    with pytest.raises(InvalidTransition, match="closed already"):
        ledger.close_hold(closed, 10, attempt=ATT, lab=LAB, **WHO)
    with pytest.raises(InvalidTransition, match="nothing that ran"):
        ledger.close_hold(closed, 0, **WHO)


def test_no_charge_passes_its_hold() -> None:
    with pytest.raises(InvalidInput, match="more than the hold"):
        ledger.close_hold(held()[0], 60_001, attempt=ATT, lab=LAB, **WHO)


@pytest.mark.parametrize(
    ("hold_ms", "used_ms", "wall_ms", "scale", "expected_ms", "charge"),
    [
        (60_000, 500, 700, "60", 20_000, (30_000, False)),  # the node's interval
        (60_000, 500, 400, "60", 20_000, (24_000, False)),  # bounded by what the facility saw
        (60_000, 5_000, 7_000, "60", 20_000, (60_000, False)),  # bounded by the hold
        (60_000, None, 700, "60", 20_000, (20_000, True)),  # no interval survived: the expected duration
        (60_000, None, 100, "60", 20_000, (6_000, True)),
        (10_000, None, 700, "60", 20_000, (10_000, True)),
        (60_000, 0, 700, "1", 20_000, (1, False)),  # what ran leaves a charge
        (60_000, 5, 700, "0.5", 20_000, (2, False)),  # half to even
        (60_000, 7, 700, "0.5", 20_000, (4, False)),
    ],
)
def test_what_a_run_costs(
    hold_ms: int, used_ms: int | None, wall_ms: int, scale: str, expected_ms: int, charge: tuple[int, bool]
) -> None:
    assert ledger.charge_ms(hold_ms, used_ms, wall_ms, scale, expected_ms) == charge
    assert ledger.charge_ms(hold_ms, used_ms, wall_ms, Decimal(scale), expected_ms) == charge


@pytest.mark.parametrize("scale", ["0", "-1", "NaN", "Infinity", "fast"])
def test_a_time_scale_that_is_none_is_refused(scale: str) -> None:
    with pytest.raises(InvalidInput, match="time scale"):
        ledger.charge_ms(10, 1, 1, scale, 1)


@given(
    hold_ms=st.integers(1, 10**9),
    used_ms=st.none() | st.integers(0, 10**9),
    wall_ms=st.integers(0, 10**9),
    scale=st.decimals("0.001", "1000", places=3),
    expected_ms=st.integers(0, 10**9),
)
def test_a_charge_never_passes_its_hold(
    hold_ms: int, used_ms: int | None, wall_ms: int, scale: Decimal, expected_ms: int
) -> None:
    charge, estimated = ledger.charge_ms(hold_ms, used_ms, wall_ms, scale, expected_ms)
    assert 1 <= charge <= hold_ms
    assert estimated is (used_ms is None)


# --- refunds and reversals --------------------------------------------------------------------------------------------


def test_a_refund_goes_to_what_was_debited_and_never_passes_the_charge() -> None:
    charge = spent(3)[2]
    assert ledger.refund(charge, **WHO).amount_ms == 3
    assert ledger.refund(charge, 50, **WHO).amount_ms == 2  # half to even
    assert ledger.refund(charge, 1, **WHO).amount_ms == 1  # at least the smallest unit
    with pytest.raises(InvalidInput, match="more than the 3 ms") as caught:
        ledger.refund(charge, 50, refunded_ms=2, n=1, **WHO)
    assert caught.value.remedy == "refund at most 1 ms"


@pytest.mark.parametrize("percent", [0, 101])
def test_a_refund_is_of_one_to_a_hundred_percent(percent: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be refunded"):
        ledger.refund(spent()[2], percent, **WHO)


def test_only_a_charge_is_refunded_and_no_charge_is_reversed() -> None:
    with pytest.raises(InvalidInput, match="of a grant cannot be refunded"):
        ledger.refund(granted(), **WHO)
    for entry in spent()[1:]:
        with pytest.raises(InvalidInput, match="is not reversed"):
            ledger.reversal(entry, **WHO)


def test_a_wrong_award_is_undone_with_the_books_right() -> None:
    wrong = granted()
    books = [wrong, ledger.reversal(wrong, **WHO)]
    assert ledger.check(books) == []
    balance = ledger.balance(books, ALC, TYPE)
    assert (balance.granted_ms, balance.available_ms) == (0, 0)


# --- balances and statements ------------------------------------------------------------------------------------------


def test_balances_sum_to_zero_and_the_lab_is_owed_what_was_charged() -> None:
    books = spent()
    assert sum(ledger.balances(books).values()) == 0
    assert ledger.owed(books, LAB) == {TYPE: 20_000}
    assert ledger.owed(books, "lab_south") == {}


def test_available_is_granted_less_charged_less_held_at_every_moment() -> None:
    books = [*spent(), held(5_000, n=1)[1]]
    books.append(ledger.refund(books[2], 25, **WHO))
    books.append(ledger.expiry(ALC, TYPE, 1_000, **WHO))
    refund_undone = ledger.reversal(books[-2], **WHO)
    for end in range(len(books) + 1):
        b = ledger.balance(books[:end], ALC, TYPE)
        assert b.available_ms == b.granted_ms - b.charged_ms - b.held_ms
        assert ledger.check(books[:end]) == []
    b = ledger.balance(books, ALC, TYPE)
    assert (b.granted_ms, b.charged_ms, b.refunded_ms, b.held_ms) == (99_000, 15_000, 5_000, 5_000)
    undone = ledger.balance([*books, refund_undone], ALC, TYPE)
    assert (undone.charged_ms, undone.refunded_ms) == (20_000, 0)
    assert ledger.check([*books, refund_undone]) == []


def test_a_statement_can_be_added_up_by_an_outsider() -> None:
    other = ledger.grant("alc_other", TYPE, 9, **WHO)
    statement = ledger.statement([*spent(), other], [(ALC, TYPE)], project="prj_1", at=at(60))
    assert statement["at"] == "2026-10-01T09:01:00.000Z"
    assert statement["allocations"] == [
        {
            "allocation": ALC,
            "instrument_type": TYPE,
            "granted_ms": 100_000,
            "held_ms": 0,
            "charged_ms": 20_000,
            "refunded_ms": 0,
            "available_ms": 80_000,
        }
    ]
    lines = statement["entries"]
    assert len(lines) == 4
    account = f"alloc:{ALC}"
    total = sum(e["amount_ms"] * ((e["counter_account"] == account) - (e["account"] == account)) for e in lines)
    assert total == statement["allocations"][0]["available_ms"]
    assert list(lines[0]) == [
        "entry", "at", "kind", "account", "counter_account", "instrument_type", "amount_ms", "cause", "actor",
    ]  # fmt: skip
    assert all(type(v) in (str, int) for v in lines[0].values())


# --- planted faults ---------------------------------------------------------------------------------------------------


def planted() -> dict[str, list[Entry]]:
    """Sound books with one thing wrong, by its name."""
    books = spent()
    grant, hold, charge, release = books
    refund = ledger.refund(charge, 100, **WHO)
    reversal = ledger.reversal(grant, **WHO)
    most = replace(charge, amount_ms=20_000)
    again_cha = replace(charge, entry=ledger.entry_id(EntryKind.CHARGE, ATT, 1))
    swapped = (charge.counter_account, charge.account)
    again_rev = replace(reversal, entry=ledger.entry_id(EntryKind.REVERSAL, grant.entry, 1))
    other = replace(charge, entry=ledger.entry_id(EntryKind.CHARGE, "att_2"), cause="att_2")
    return {
        "the same entry twice": [*books, charge],
        "nothing moved": [*books, replace(refund, amount_ms=0)],
        "a float": [replace(grant, amount_ms=100_000.0), *books[1:]],  # type: ignore[arg-type]
        "charged to a pool": [grant, hold, replace(charge, counter_account=f"pool:{TYPE}"), release],
        "another type": [replace(grant, instrument_type="oven"), *books[1:]],
        "mixed types": [*books, replace(grant, entry=ledger.entry_id(EntryKind.GRANT, ALC, 5), account="pool:oven")],
        "held by another": [grant, replace(hold, counter_account="held:alc_other")],
        "overspent": [grant, replace(hold, amount_ms=100_001)],
        "released too much": [grant, hold, charge, replace(release, amount_ms=50_000)],
        "refunded too much": [*books, refund, ledger.refund(charge, 1, n=1, **WHO)],
        "refunded to another": [*books, replace(refund, counter_account="alloc:alc_other")],
        "refunded out of nothing": [*books, replace(refund, cause="att_never")],
        "charged twice": [grant, hold, most, again_cha, replace(release, amount_ms=20_000)],
        "reversal of nothing": [*books, replace(reversal, cause="ent_never")],
        "reversal of a charge": [
            *books,
            replace(reversal, cause=charge.entry, account=swapped[0], counter_account=swapped[1]),
        ],
        "half a reversal": [*books, replace(reversal, amount_ms=50)],
        "reversed twice": [granted(), reversal, granted_again(), again_rev],
        "held while held": [grant, hold, held(10, n=1)[1]],
        "charged and left open": [grant, hold, charge],
        "a release beside an open hold": [grant, hold, replace(release, amount_ms=10)],
        "two attempts charged": [grant, hold, charge, other, replace(release, amount_ms=20_000)],
    }


def granted_again() -> Entry:
    return ledger.grant(ALC, TYPE, 100_000, n=1, **WHO)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("the same entry twice", "stands in the books 2 times"),
        ("nothing moved", "not a positive whole number"),
        ("a float", "not a positive whole number"),
        ("charged to a pool", "(charge) goes from held:"),
        ("another type", "moves time of oven through pool:barrel-press"),
        ("mixed types", "moves time of barrel-press through pool:oven"),
        ("another type", f"puts {TYPE} into alloc:{ALC}, which holds oven"),
        ("held by another", "from one allocation to another"),
        ("overspent", "with -1 ms available"),
        ("released too much", "ms held"),
        ("refunded too much", "was refunded 20200 ms of the 20000 ms"),
        ("refunded to another", "was debited"),
        ("refunded out of nothing", "att_never was refunded 20000 ms of the 0 ms"),
        ("charged twice", "was charged twice"),
        ("reversal of nothing", "which is not in the books"),
        ("reversal of a charge", "a charge"),
        ("half a reversal", "is not the mirror"),
        ("reversed twice", "was reversed 2 times"),
        ("held while held", "while 60000 ms of its last were open"),
        ("charged and left open", "were left open"),
        ("a release beside an open hold", "of 10 ms finds 60000 ms open"),
        ("two attempts charged", "of 20000 ms finds 40000 ms open"),
    ],
)
def test_a_planted_fault_is_found(fault: str, words: str) -> None:
    found = ledger.check(planted()[fault], {ATT: STP, "att_2": STP})
    assert [sentence for sentence in found if words in sentence], found


def test_sound_books_have_no_fault() -> None:
    assert ledger.check(spent(), {ATT: STP}) == []
    assert ledger.check(spent()) == []
    assert ledger.check(spent(60_000), {ATT: STP}) == []
    again = [*spent(), held(1_000, n=1)[1]]
    assert ledger.check(again, {ATT: STP}) == []
    assert ledger.check([]) == []
