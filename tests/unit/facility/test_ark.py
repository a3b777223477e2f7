"""The check character of the NOID scheme."""

from __future__ import annotations

import pytest

from labcommons.core.ids import RecordId
from labcommons.facility.services.run.ark import ark_of, check_character, is_sound


def test_the_published_example() -> None:
    # From the NOID documentation: the check character of 13030/xf93gt2 is q.
    assert check_character("13030/xf93gt2") == "q"


def test_an_ark_carries_the_identifier_and_is_sound() -> None:
    record = RecordId.mint(1_790_000_000_000, b"0123456789")
    ark = ark_of(record)
    assert ark.startswith(f"ark:/99999/lc1{record}")
    assert is_sound(ark)
    assert is_sound(ark.replace("ark:/", "ark:"))
    assert ark_of(record, "12345") != ark


@pytest.mark.parametrize("wrong", ["13030/xf93gt3q", "13030/xf39gt2q", "13030/xf93gt2r", "", "q"])
def test_one_wrong_character_or_two_swapped_are_seen(wrong: str) -> None:
    assert is_sound("ark:/13030/xf93gt2q")
    assert not is_sound(f"ark:/{wrong}")
