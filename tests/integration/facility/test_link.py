"""The platform's half of the link, against messages that are repeated, reordered, lost, broken or false."""

from __future__ import annotations

import hashlib

import pytest

from labcommons.core.errors import Conflict, InvalidInput
from labcommons.facility.services.lab import node_link
from labcommons.facility.services.transact import transact
from labcommons.federation.chain import entry_hash
from labcommons.federation.wire import EntryKind, Grant
from support.bench import Books, Member, NodeDouble, random_bytes


def granted(books: Books, pia: Member, north: NodeDouble) -> Grant:
    pia.submit()
    assert books.dispatch() == 1
    [grant] = north.grants()
    return grant


# --- lost, repeated, reordered ----------------------------------------------------------------------------------------


def test_every_message_twice_changes_nothing(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    north.finish(grant.attempt)
    call = north.report_call()
    first = north.deliver(call)
    before = books.attempt(grant.attempt)
    assert north.deliver(call) == first
    assert north.deliver(north.report_call(north.entries)).cursor == first.cursor
    assert books.attempt(grant.attempt) == before
    with books.work.read() as uow:
        assert uow.run.records.count() == 1
        assert uow.office.ledger.count(kind="charge") == 1


def test_entries_that_leave_a_gap_wait_until_they_come_in_order(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    read = len(north.entries)
    north.begin(grant)
    late, rest = north.entries[read : read + 1], north.entries[read + 1 :]
    answer = north.deliver(north.report_call(rest))
    assert answer.cursor.seq == read
    assert books.attempt(grant.attempt).state == "GRANTED"
    assert north.deliver(north.report_call(late)).cursor.seq == read + 1
    assert north.report(north.entries[read:]).cursor.seq == len(north.entries)
    assert books.attempt(grant.attempt).state == "RUNNING"


def test_entries_of_one_call_may_come_in_any_order(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    read = len(north.entries)
    north.begin(grant)
    north.finish(grant.attempt)
    north.report(list(reversed(north.entries[read:])))
    assert books.attempt(grant.attempt).state == "SUCCEEDED"


def test_a_grant_is_sent_again_until_an_entry_answers(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    again = north.next()
    assert again is not None
    assert [g.attempt for g in again.grants] == [grant.attempt]
    north.receive(grant)
    # On its way: the token is not listed any more, so the call is held although no entry was read yet.
    assert north.next() is None
    north.report()
    assert north.next() is None
    idle = transact(books.work, lambda uow: node_link.idle_answer(uow, north.node, north.next_call()))
    assert idle.grants == []


def test_an_idle_answer_repeats_what_is_unanswered(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    idle = transact(books.work, lambda uow: node_link.idle_answer(uow, north.node, north.next_call()))
    assert [g.attempt for g in idle.grants] == [grant.attempt]


def test_the_head_of_an_older_call_is_ignored_and_its_entries_are_read(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    old = north.report_call([])
    north.begin(grant)
    entries = north.entries[north.cursor :]
    north.deliver(north.report_call([]))
    older = old.model_copy(update={"entries": entries, "tokens": {"press": [7]}})
    assert north.deliver(older).cursor.seq == len(north.entries)
    assert books.attempt(grant.attempt).state == "RUNNING"
    with books.work.read() as uow:
        assert uow.lab.tokens.one(number=7) is None


def test_a_newer_next_supersedes_the_held_one(books: Books, pia: Member, north: NodeDouble) -> None:
    held = north.next_call()
    assert north.next(held) is None
    newer = north.next_call()
    assert north.next(newer) is None
    pia.submit()
    books.dispatch()
    let_go = north.next(held)
    assert let_go is not None
    assert let_go.grants == []
    answer = north.next(newer)
    assert answer is not None
    assert len(answer.grants) == 1


# --- sessions and journals --------------------------------------------------------------------------------------------


def test_a_new_session_supersedes_and_the_old_one_is_refused(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    delayed = north.report_call([])
    north.start()
    answer = north.next()
    assert answer is not None
    assert [g.attempt for g in answer.grants] == [grant.attempt]
    with pytest.raises(Conflict) as refused:
        north.deliver(delayed)
    assert refused.value.word == "session_superseded"
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="stale_grant", text="another session")
    north.report()
    assert books.attempt(grant.attempt).state == "REFUSED"
    assert books.dispatch() == 0  # no token of the new session yet
    north.ready()
    north.report()
    assert books.dispatch() == 1


def test_a_session_that_never_called_is_of_the_past(books: Books, north: NodeDouble) -> None:
    delayed_session = north.session
    north.start()
    silent = north.session
    delayed = north.report_call([])
    north.start()
    north.report()
    assert silent not in (delayed_session, north.session)
    with pytest.raises(Conflict):
        north.deliver(delayed)


def test_a_session_tells_its_ray_cluster_and_versions(books: Books, north: NodeDouble) -> None:
    with books.work.read() as uow:
        node = uow.lab.nodes.get(north.node)
    assert node is not None
    assert (node.ray_cluster, node.software) == ("ray-1", "labcommons-node 0.1.0")


def test_a_new_journal_quarantines_the_node_and_its_attempts_are_unknown(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    north.report()
    north.lose_journal()
    answer = north.report()
    assert (answer.cursor.journal, answer.cursor.seq) == (north.journal, len(north.entries))
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.reason) == ("UNKNOWN", "quarantine journal")
    with books.work.read() as uow:
        node = uow.lab.nodes.get(north.node)
        assert node is not None
        assert node.state == "quarantined"
    assert books.experiment(attempt.experiment)["state"] == "needs_person"
    # No more grants, though it has a token.
    pia.submit()
    north.ready()
    north.report()
    assert books.dispatch() == 0
    # A late result counts all the same.
    north.finish(grant.attempt)
    north.report()
    assert books.attempt(grant.attempt).state == "SUCCEEDED"


def test_a_journal_set_back_is_seen_by_its_chain(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.report()
    north.entries = north.entries[:-1]
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="restart", text="from a journal set back")
    north.report(north.entries)
    attempt = books.attempt(grant.attempt)
    assert attempt.state == "UNKNOWN"  # the tombstone is negative evidence from a broken chain
    with books.work.read() as uow:
        journal = uow.lab.journals.get(north.node, north.journal)
        assert journal is not None
        assert journal.state == "broken"


def test_positive_evidence_counts_from_a_broken_chain(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.report()
    north.entries = north.entries[:-1]
    for kind in (EntryKind.INTENT, EntryKind.STARTED):
        north.write(kind, grant.attempt)
    north.finish(grant.attempt)
    answer = north.report(north.entries)
    assert books.attempt(grant.attempt).state == "SUCCEEDED"
    assert grant.attempt in answer.stored
    north.report(north.entries)
    with books.work.read() as uow:
        assert uow.run.records.count() == 1


def test_a_chain_that_names_another_predecessor_is_broken_after_what_holds(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    intent = north.write(EntryKind.INTENT, grant.attempt)
    forged = intent.model_copy(update={"previous": "1" * 64})
    forged = forged.model_copy(update={"hash": entry_hash(north.journal, forged)})
    read = north.cursor
    answer = north.deliver(north.report_call([*north.entries[read:-1], forged]))
    assert answer.cursor.seq == read + 1
    assert books.attempt(grant.attempt).state == "UNKNOWN"


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_a_result_is_stored_only_when_its_bytes_are(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    data = random_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    reference = {"name": "curve.csv", "media_type": "text/csv", "bytes": len(data), "sha256": sha256}
    north.finish(grant.attempt, objects=[reference, {**reference}])
    answer = north.report()
    assert answer.stored == []
    waiting = books.attempt(grant.attempt)
    assert (waiting.state, waiting.outcome, waiting.awaiting) == ("RUNNING", "done", (sha256,))
    with books.work.read() as uow:
        assert uow.run.records.count() == 0
        assert uow.office.holds.one(step=waiting.step, state="OPEN") is not None
    seen = books.bus.seen(f"node:{north.node}")
    north.put(data)
    assert books.bus.seen(f"node:{north.node}") > seen
    assert books.attempt(grant.attempt).state == "SUCCEEDED"
    told = north.next()
    assert told is not None
    assert told.stored == [grant.attempt]
    with books.work.read() as uow:
        names = [row.name for row in uow.run.record_objects.find()]
        with uow.objects.open(sha256) as file:
            assert file.read() == data
    assert names == ["2-curve.csv", "curve.csv"]


def test_bytes_that_came_before_their_result_count(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    data = random_bytes()
    sha256 = north.put(data)
    assert north.put(data) == sha256
    reference = {"name": "curve.csv", "media_type": "text/csv", "bytes": len(data), "sha256": sha256}
    assert north.perform(grant, objects=[reference]).stored == [grant.attempt]


def test_bytes_that_are_lost_at_the_node_leave_it_to_a_person(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    reference = {"name": "curve.csv", "media_type": "text/csv", "bytes": 3, "sha256": "a" * 64}
    north.finish(grant.attempt, objects=[reference])
    north.write(EntryKind.UNKNOWN, grant.attempt, reason="bytes_missing", text="the disk ate it")
    north.report()
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.reason, attempt.outcome) == ("UNKNOWN", "bytes_missing", "done")


def test_bytes_not_in_the_store_are_not_written_down(books: Books, north: NodeDouble) -> None:
    with pytest.raises(InvalidInput):
        transact(books.work, lambda uow: node_link.put_object(uow, north.node, "b" * 64))


# --- refusals and doubt -----------------------------------------------------------------------------------------------


def test_a_refusal_is_planned_anew_and_a_striking_one_elsewhere(books: Books, pia: Member, north: NodeDouble) -> None:
    first = granted(books, pia, north)
    north.receive(first)
    north.write(EntryKind.TOMBSTONE, first.attempt, reason="busy", text="in use by hand")
    north.ready()
    north.report()
    assert books.attempt(first.attempt).state == "REFUSED"
    assert books.dispatch() == 1
    [second] = north.grants()
    assert (second.step, second.fence) == (first.step, 2)
    north.receive(second)
    north.write(EntryKind.TOMBSTONE, second.attempt, reason="not_allowed", text="the lab's list")
    north.ready()
    north.report()
    # Its only candidate has refused for good.
    shown = books.experiment(second.experiment)
    assert (shown["state"], shown["steps"][0]["state"]) == ("failed", "FAILED")
    with books.work.read() as uow:
        [allocation] = uow.office.allocations.find()
    assert books.balance(allocation.id) == (3_600_000, 0)


def test_an_error_of_the_lab_is_refunded_and_tried_again(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.perform(grant, outcome="failed", error={"code": "hardware", "message": "jammed"})
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.fault) == ("FAILED_RAN", "lab")
    shown = books.experiment(grant.experiment)
    assert shown["steps"][0]["state"] == "READY"
    with books.work.read() as uow:
        kinds = [row.kind for row in uow.office.ledger.find(order="seq")]
        assert uow.run.records.count() == 1
    assert kinds == ["grant", "hold", "charge", "release", "refund", "hold"]
    north.ready()
    north.report()
    assert books.dispatch() == 1


def test_a_failure_of_the_request_is_charged_and_final(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.perform(grant, outcome="failed", error={"code": "timeout", "message": "too slow"})
    shown = books.experiment(grant.experiment)
    assert (shown["state"], shown["steps"][0]["charged_ms"]) == ("failed", 54_000)
    assert shown["steps"][0]["reason"] == "timeout: too slow"


def test_what_the_node_cannot_tell_is_unknown_and_late_evidence_ends_it(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.write(EntryKind.INTENT, grant.attempt)
    north.write(EntryKind.UNKNOWN, grant.attempt, reason="link_lost", text="the cable")
    north.report()
    assert books.experiment(grant.experiment)["state"] == "needs_person"
    with books.work.read() as uow:
        assert uow.office.holds.one(step=books.attempt(grant.attempt).step, state="OPEN") is not None
    north.write(EntryKind.STARTED, grant.attempt)
    north.finish(grant.attempt)
    north.report()
    assert books.experiment(grant.experiment)["state"] == "succeeded"


def test_without_an_interval_the_expected_duration_is_charged_as_an_estimate(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.perform(grant, wall_ms=5000, used_ms=None)
    attempt = books.attempt(grant.attempt)
    assert (attempt.charged_ms, attempt.estimated) == (60_000, True)


def test_the_charge_is_bounded_by_the_hold_and_by_the_time_between_grant_and_result(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    north.ready()
    north.report()
    slow = granted(books, pia, north)
    north.perform(slow, wall_ms=10_000, used_ms=9_000)
    assert books.attempt(slow.attempt).charged_ms == 120_000
    boasting = granted(books, pia, north)
    north.perform(boasting, wall_ms=100, used_ms=9_000)
    assert books.attempt(boasting.attempt).charged_ms == 6_000


def test_progress_is_shown_and_health_is_known(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    north.report()
    north.live = [{"attempt": grant.attempt, "phase": "running", "fraction": 0.4}]
    north.health["press"] = {"state": "busy", "detail": "crushing"}
    north.report()
    assert books.attempt(grant.attempt).fraction == 0.4
    with books.work.read() as uow:
        bench = uow.lab.instruments.one(node=north.node)
        assert bench is not None
        assert (bench.state, bench.detail) == ("busy", "crushing")
        assert uow.run.events.one(event="instrument.busy") is not None


def test_a_token_that_is_withdrawn_is_not_granted_on(books: Books, pia: Member, north: NodeDouble) -> None:
    north.tokens["press"] = []
    north.report()
    pia.submit()
    assert books.dispatch() == 0


def test_at_most_two_tokens_are_taken(books: Books, north: NodeDouble) -> None:
    north.ready(n=5)
    north.report()
    with books.work.read() as uow:
        assert [row.number for row in uow.lab.tokens.find(node=north.node, order="number")] == [1, 2]


def test_a_node_that_has_not_journalled_the_epoch_gets_no_grant(books: Books, pia: Member) -> None:
    node = books.lab("west")
    node.epoch = 0
    node.hello()
    pia.submit()
    assert books.dispatch() == 0
    told = node.next()
    assert told is not None
    assert told.epoch == 1
    node.epoch = 1
    node.write(EntryKind.EPOCH, None, epoch=1)
    node.report()
    assert books.dispatch() == 1


def test_a_held_call_brings_the_grant_of_a_token_that_was_given_meanwhile(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    north.tokens["press"] = []
    held = north.next_call()
    assert north.next(held) is None
    north.ready()
    north.report()
    pia.submit()
    assert books.dispatch() == 1
    answer = north.next(held)
    assert answer is not None
    assert len(answer.grants) == 1


def test_a_newer_next_wakes_the_held_one_with_its_commit(books: Books, north: NodeDouble) -> None:
    assert north.next() is None
    seen = books.bus.seen(f"node:{north.node}")
    assert north.next() is None
    assert books.bus.seen(f"node:{north.node}") != seen
