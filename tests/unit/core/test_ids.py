"""Identifiers name their kind and sort by time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.core import ids
from labcommons.core.errors import InvalidInput

KINDS = [
    kind for kind in vars(ids).values() if isinstance(kind, type) and issubclass(kind, ids.Identifier) and kind.prefix
]
times = st.integers(0, (1 << 48) - 1)
entropy = st.binary(min_size=10, max_size=10)


@given(st.sampled_from(KINDS), times, entropy)
def test_what_is_minted_parses_as_its_own_kind_alone(kind: type[ids.Identifier], at_ms: int, draw: bytes) -> None:
    minted = kind.mint(at_ms, draw)
    assert kind.parse(str(minted)) == minted
    for other in KINDS:
        if other is not kind:
            with pytest.raises(InvalidInput):
                other.parse(str(minted))


@given(times, times, entropy, entropy)
def test_identifiers_sort_by_time(a: int, b: int, x: bytes, y: bytes) -> None:
    first, second = ids.StepId.mint(a, x), ids.StepId.mint(b, y)
    if a != b:
        assert (first < second) == (a < b)


def test_every_kind_has_a_prefix_of_its_own() -> None:
    assert len({kind.prefix for kind in KINDS}) == len(KINDS) >= 14


@pytest.mark.parametrize(
    "text", ["", "exp_", "exp_01J8Z3V5Q2M4T6W8Y0A1B3C5DI", "exp_81J8Z3V5Q2M4T6W8Y0A1B3C5D7", 7, None]
)
def test_what_is_no_identifier_is_refused_with_a_remedy(text: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        ids.ExperimentId.parse(text, "/experiment")
    assert caught.value.word == "bad_identifier"
    assert caught.value.field == "/experiment"
    assert "26 characters" in caught.value.remedy


@pytest.mark.parametrize(("at_ms", "draw"), [(-1, b"0" * 10), (1 << 48, b"0" * 10), (0, b"short")])
def test_minting_needs_a_time_and_ten_bytes(at_ms: int, draw: bytes) -> None:
    with pytest.raises(ValueError, match="ten bytes"):
        ids.ExperimentId.mint(at_ms, draw)
