"""Which allocation pays: the open one of the type that ends first and covers it, whole or not at all."""

from __future__ import annotations

from labcommons.scheduler.allocation.funding import Funding, Need, Purse, Shortage, fund
from support.clocks import at

FIRST = Purse("alc_first", "press", 10_000, at(-10), at(100))
SECOND = Purse("alc_second", "press", 50_000, at(-10), at(200))
OVER = Purse("alc_over", "press", 90_000, at(-10), at(0))
LATER = Purse("alc_later", "press", 90_000, at(1), at(50))
OVEN = Purse("alc_oven", "oven", 90_000, at(-10), at(10))
ALL = [SECOND, OVER, LATER, OVEN, FIRST]


def test_the_open_one_that_ends_first_and_covers_it() -> None:
    needs = [Need("a", "press", 6_000), Need("b", "press", 6_000), Need("c", "press", 4_000), Need("d", "oven", 1)]
    assert fund(needs, ALL, at(0)) == Funding({"a": "alc_first", "b": "alc_second", "c": "alc_first", "d": "alc_oven"})


def test_a_shortage_names_the_sum_and_the_first_item_that_fails() -> None:
    needs = [Need("a", "press", 40_000, item=0), Need("b", "press", 30_000, item=1)]
    assert fund(needs, ALL, at(0)) == Shortage("press", 70_000, 60_000, item=1, lacking={"press": 30_000})
    assert fund([Need("a", "laser", 1)], ALL, at(0)) == Shortage("laser", 1, 0, item=0, lacking={"laser": 1})


def test_a_members_cap_is_a_shortage_of_its_own() -> None:
    needs = [Need("a", "press", 5_000, item=0), Need("b", "press", 4_000, item=1)]
    assert fund(needs, ALL, at(0), {"press": 8_000}) == Shortage(
        "press", 9_000, 8_000, item=1, cap=True, lacking={"press": 1_000}
    )
    assert fund(needs, ALL, at(0), {"press": 9_000}) == Funding({"a": "alc_first", "b": "alc_first"})
    assert fund(needs, ALL, at(0), {}) == Shortage("press", 9_000, 0, item=0, cap=True, lacking={"press": 9_000})


def test_what_lacks_is_the_least_single_allocation_of_each_type_that_works() -> None:
    amounts = [("press", 7_000), ("press", 45_000), ("oven", 80_000), ("press", 8_000), ("oven", 20_000)]
    needs = [Need(str(n), kind, ms, item=n) for n, (kind, ms) in enumerate(amounts)]
    short = fund(needs, ALL, at(0))
    assert short == Shortage("press", 60_000, 60_000, item=3, lacking={"press": 8_000, "oven": 20_000})
    assert isinstance(short, Shortage)
    for less in (1, 0):
        new = [Purse(f"alc_zz_{kind}", kind, ms - less, at(-1), at(200)) for kind, ms in short.lacking.items()]
        assert isinstance(fund(needs, [*ALL, *new], at(0)), Shortage if less else Funding)
