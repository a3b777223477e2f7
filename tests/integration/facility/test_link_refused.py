"""Messages of a node that cannot be taken: refused and written down, and the node goes on."""

from __future__ import annotations

import pytest

from labcommons.core.errors import Conflict, Forbidden, InvalidInput, LabCommonsError, NotFound, TooLarge
from labcommons.core.ids import JournalId, NodeId
from labcommons.facility.services.lab import node_link
from labcommons.facility.services.transact import transact
from labcommons.federation.wire import EntryKind, Grant
from support.bench import Books, Member, NodeDouble, press_manifest


def granted(books: Books, pia: Member, north: NodeDouble) -> Grant:
    pia.submit()
    assert books.dispatch() == 1
    [grant] = north.grants()
    return grant


# --- what cannot be taken ---------------------------------------------------------------------------------------------


def test_a_corrupt_entry_is_refused_and_the_node_goes_on(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    good = north.entries[north.cursor :]
    bad = good[0].model_copy(update={"detail": {"changed": "on the way"}})
    with pytest.raises(InvalidInput) as refused:
        north.deliver(north.report_call([bad, *good[1:]]))
    assert refused.value.word == "corrupt_entry"
    transact(books.work, lambda uow: node_link.refused(uow, north.node, refused.value))
    assert books.audited("node.message_refused")[0].detail["code"] == "corrupt_entry"
    north.report()
    assert books.attempt(grant.attempt).state == "RUNNING"


def test_an_oversized_entry_is_refused(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    north.finish(grant.attempt, outputs={"toughness": "x" * (256 * 1024)})
    with pytest.raises(TooLarge):
        north.report()
    assert books.attempt(grant.attempt).state == "GRANTED"


def test_a_result_that_cannot_be_read_leaves_the_attempt_to_a_person(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    north.write(EntryKind.RESULT, grant.attempt, outcome="perhaps")
    answer = north.report()
    assert answer.cursor.seq == len(north.entries)
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.reason) == ("UNKNOWN", "garbage")
    assert books.audited("node.bad_entry")
    # The same result, well-formed, may still come.
    north.finish(grant.attempt)
    north.report()
    assert books.attempt(grant.attempt).state == "SUCCEEDED"


def test_an_unknown_attempt_is_logged_and_the_journal_read_on(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.write(EntryKind.STARTED, "att_of-nobody")
    north.begin(grant)
    north.report()
    assert books.attempt(grant.attempt).state == "RUNNING"
    [row] = books.audited("node.unknown_attempt")
    assert row.detail["attempt"] == "att_of-nobody"


def test_a_node_speaks_only_of_its_own_attempts(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    south = books.lab("south")
    south.hello()
    south.write(EntryKind.STARTED, grant.attempt)
    south.finish(grant.attempt)
    answer = south.report()
    assert answer.stored == []
    assert books.attempt(grant.attempt).state == "GRANTED"
    assert len(books.audited("node.foreign_attempt")) == 2


def test_a_manifest_that_is_not_here_is_asked_for(books: Books) -> None:
    node = books.lab("west")
    with pytest.raises(Conflict) as refused:
        node.report()
    assert refused.value.word == "manifest_missing"
    node.put(node.manifest)
    node.report()
    with books.work.read() as uow:
        bench = uow.lab.instruments.one(node=node.node)
        lab = uow.lab.labs.get(node.lab)
    assert bench is not None
    assert lab is not None
    assert (bench.type, bench.simulated, bench.state) == ("barrel-press", True, "idle")
    assert (lab.time_scale, lab.time_zone, lab.simulated) == ("60", "Europe/Lisbon", True)


def test_a_manifest_cannot_change_an_instruments_type(books: Books, north: NodeDouble) -> None:
    changed = NodeDouble(books, north.node, north.lab, press_manifest(type="golden-press"))
    changed.journal, changed.entries, changed.session = north.journal, north.entries, north.session
    changed.calls, changed.tokens, changed.cursor = north.calls, north.tokens, north.cursor
    changed.put(changed.manifest)
    with pytest.raises(Conflict) as refused:
        changed.next()
    assert refused.value.word == "manifest_type"


def test_a_manifest_that_cannot_be_taken_holds_back_no_evidence(books: Books, pia: Member, north: NodeDouble) -> None:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    north.begin(grant)
    north.manifest_hash = north.put(b"no json")
    north.finish(grant.attempt)
    north.report()
    assert books.attempt(grant.attempt).state == "SUCCEEDED"
    with pytest.raises(InvalidInput):
        north.next()


def test_a_manifest_cannot_contradict_what_the_commons_published(books: Books) -> None:
    document = press_manifest()
    action = next(iter(document["instruments"][0]["offers"][0]["actions"].values()))
    action["parameters"] = {"theta": {"kind": "quantity", "unit": "mm", "min": "0", "max": "9"}}
    node = books.lab("west", document)
    node.put(node.manifest)
    with pytest.raises(InvalidInput) as refused:
        node.next()
    assert refused.value.word == "bad_manifest"
    assert refused.value.remedy


def test_bytes_that_are_no_manifest_are_refused(books: Books) -> None:
    node = books.lab("west")
    sha256 = node.put(b"no json")
    node.manifest_hash = sha256
    with pytest.raises(InvalidInput) as refused:
        node.next()
    assert refused.value.word == "bad_manifest"


@pytest.mark.parametrize(("state", "word"), [("revoked", "node_revoked"), ("pending", "node_pending")])
def test_a_node_that_is_not_active_is_refused(books: Books, north: NodeDouble, state: str, word: str) -> None:
    with books.work.write() as uow:
        row = uow.lab.nodes.get(north.node)
        assert row is not None
        uow.lab.nodes.save(type(row)(**{**vars(row), "state": state}))
        uow.commit()
    for verb in (north.report, north.next):
        with pytest.raises(Forbidden) as refused:
            verb()
        assert refused.value.word == word


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"wire": 9}, InvalidInput, "wire_version"),
        ({"speaks": [7, 8]}, InvalidInput, "wire_version"),
        ({"session": "ses_1"}, InvalidInput, "bad_identifier"),
        ({"journal": "jnl_1"}, InvalidInput, "bad_identifier"),
    ],
)
def test_a_head_that_cannot_be_taken_is_refused(
    north: NodeDouble, changes: dict[str, object], error: type[LabCommonsError], word: str
) -> None:
    call = north.report_call([]).model_copy(update=changes)
    with pytest.raises(error) as refused:
        north.deliver(call)
    assert refused.value.word == word
    assert refused.value.remedy


def test_an_unknown_node_is_refused(books: Books, north: NodeDouble) -> None:
    stranger = books.ids.mint(NodeId)
    with pytest.raises(NotFound):
        transact(books.work, lambda uow: node_link.report(uow, stranger, north.report_call()))


def test_an_unknown_journal_of_a_retired_name_does_not_become_current(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    first = north.journal
    north.lose_journal()
    north.report()
    second = north.journal
    back = north.report_call([]).model_copy(update={"journal": first})
    assert north.deliver(back).cursor.journal == first
    with books.work.read() as uow:
        node = uow.lab.nodes.get(north.node)
        assert node is not None
        assert node.journal == second
        assert {row.journal: row.state for row in uow.lab.journals.find(node=north.node)} == {
            JournalId(first): "retired",
            JournalId(second): "current",
        }
