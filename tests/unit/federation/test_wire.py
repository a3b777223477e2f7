"""What crosses a trust domain is checked at the border, and what crosses twice reads the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from labcommons.core.errors import InvalidInput
from labcommons.federation.chain import GENESIS, entry_hash, first_break
from labcommons.federation.versions import SPEAKS, WIRE, agree
from labcommons.federation.wire import Answer, Entry, EntryKind, ReportCall, reason_of

AT = "2026-11-01T09:00:00.000Z"


def chain_of(details: list[dict[str, str]], journal: str = "jnl_A") -> list[Entry]:
    entries: list[Entry] = []
    previous = GENESIS
    for seq, detail in enumerate(details, start=1):
        draft = Entry(
            seq=seq,
            at=AT,
            kind=EntryKind.RECEIVED,
            attempt="att_1",
            session="s",
            detail=dict(detail),
            previous=previous,
            hash=GENESIS,
        )
        entry = draft.model_copy(update={"hash": entry_hash(journal, draft)})
        entries.append(entry)
        previous = entry.hash
    return entries


details = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=8), max_size=3), min_size=1, max_size=6)


@given(details)
def test_a_chain_continues_from_any_acknowledged_entry(parts: list[dict[str, str]]) -> None:
    entries = chain_of(parts)
    assert first_break("jnl_A", entries) is None
    for at in range(1, len(entries)):
        known = entries[at - 1]
        assert first_break("jnl_A", entries[at:], seq=known.seq, previous=known.hash) is None


@given(details, st.data())
def test_a_changed_entry_breaks_the_chain_where_it_was_changed(
    parts: list[dict[str, str]], data: st.DataObject
) -> None:
    entries = chain_of(parts)
    at = data.draw(st.integers(0, len(entries) - 1))
    entries[at] = entries[at].model_copy(update={"detail": {"planted": "change"}})
    found = first_break("jnl_A", entries)
    assert found is not None
    assert found.seq == entries[at].seq


def test_a_chain_belongs_to_its_journal_and_has_no_gaps() -> None:
    entries = chain_of([{}, {}, {}])
    assert first_break("jnl_B", entries) is not None
    gap = first_break("jnl_A", [entries[0], entries[2]])
    assert gap is not None
    assert "follows 1" in gap.why
    other = first_break("jnl_A", entries[1:], seq=1, previous="1" * 64)
    assert other is not None
    assert "another entry" in other.why


def head(**more: object) -> dict[str, object]:
    return {"wire": 1, "speaks": [1], "session": "s", "call": 1, "journal": "j", "epoch": 0, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"surprise": 1},
        {"tokens": {"press": [0]}},
        {"tokens": {"../etc": [1]}},
        {"manifests": {"press": "abc"}},
        {"health": {"press": {"state": "on fire"}}},
        {"live": [{"attempt": "a", "phase": "running", "fraction": 1.5}]},
        {"call": 0},
        {"session": ""},
    ],
)
def test_the_facility_refuses_a_head_it_does_not_know(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReportCall.model_validate(head(**more))


def test_a_node_ignores_what_a_newer_facility_adds() -> None:
    answer = Answer.model_validate(
        {"wire": 1, "epoch": 0, "cursor": {"journal": "j", "seq": 0, "hash": GENESIS}, "novelty": True}
    )
    assert answer.stored == []


def test_versions_meet_or_name_the_remedy() -> None:
    assert agree([*SPEAKS, 99]) == WIRE
    with pytest.raises(InvalidInput, match="no common wire version") as caught:
        agree([99])
    assert caught.value.word == "wire_version"
    assert "upgrade" in caught.value.remedy


@pytest.mark.parametrize(
    ("word", "read"), [("not_allowed", "not_allowed"), ("because", "unlisted"), (None, "unlisted")]
)
def test_reasons_come_from_a_closed_list(word: str | None, read: str) -> None:
    entry = chain_of([{}])[0].model_copy(update={"detail": {} if word is None else {"reason": word}})
    assert reason_of(entry) == read
