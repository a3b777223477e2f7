"""Doubt and who may end it: late evidence, journals that replace each other, and people's word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labcommons.core.errors import InvalidTransition
from labcommons.facility.ports import UnitOfWork
from labcommons.facility.services.run import experiments, invariants, lifecycle, protocols
from labcommons.facility.services.transact import transact
from labcommons.federation.wire import EntryKind, Grant
from labcommons.protocols.library import load_library
from labcommons.scheduler.events import Adjudicated, Fault, Verdict
from support.bench import Books, Member, NodeDouble


def granted(books: Books, pia: Member, north: NodeDouble) -> Grant:
    pia.submit()
    assert books.dispatch() == 1
    [grant] = north.grants()
    return grant


def in_doubt(books: Books, pia: Member, north: NodeDouble) -> Grant:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.write(EntryKind.INTENT, grant.attempt)
    north.write(EntryKind.UNKNOWN, grant.attempt, reason="link_lost", text="")
    north.report()
    return grant


def kinds(books: Books) -> list[str]:
    with books.work.read() as uow:
        return [row.kind for row in uow.office.ledger.find(order="seq")]


def adjudicate(books: Books, attempt: str, verdict: Verdict, **more: Any) -> None:
    def act(uow: UnitOfWork) -> None:
        row = uow.run.attempts.get(attempt)
        assert row is not None
        word = Adjudicated(uow.now, verdict, ("kim", "olga"), "the bench was looked at", **more)
        lifecycle.happen(uow, row, word, actor="kim")

    transact(books.work, act)


def lock(books: Books, north: NodeDouble) -> str | None:
    with books.work.read() as uow:
        bench = uow.lab.instruments.one(node=north.node)
    assert bench is not None
    return bench.lock


def test_ran_by_peoples_word_is_charged_and_refunded_in_one_transaction(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = in_doubt(books, pia, north)
    books.clock.pass_ms(2000)
    adjudicate(books, grant.attempt, Verdict.RAN, fault=Fault.LAB)
    assert kinds(books) == ["grant", "hold", "charge", "release", "refund"]
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.charged_ms, attempt.estimated) == ("ADJUDICATED_RAN", 60_000, True)
    assert books.experiment(grant.experiment)["state"] == "failed"
    # The late result came after all: it is kept, and nothing is charged twice.
    north.write(EntryKind.STARTED, grant.attempt)
    north.finish(grant.attempt)
    north.report()
    assert books.attempt(grant.attempt).state == "SUCCEEDED"
    assert kinds(books).count("charge") == 1
    with books.work.read() as uow:
        [record] = uow.run.records.find()
    assert record.document["flags"] == ["late"]


def test_did_not_run_by_peoples_word_locks_the_bench_until_the_node_has_closed_it(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = in_doubt(books, pia, north)
    north.ready()
    north.report()
    adjudicate(books, grant.attempt, Verdict.NOT_RUN)
    assert lock(books, north) == f"adjudicated {grant.attempt}"
    assert books.experiment(grant.experiment)["steps"][0]["state"] == "READY"
    assert books.dispatch() == 0
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="voided", text="")
    north.report()
    assert lock(books, north) is None
    assert books.dispatch() == 1


def test_a_result_of_what_was_refused_is_kept_and_raises_an_alarm(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="busy", text="")
    north.report()
    north.finish(grant.attempt)
    answer = north.report()
    assert grant.attempt in answer.stored
    assert books.attempt(grant.attempt).state == "REFUSED"
    assert books.audited("attempt.alarm.ran_after_all")
    assert "charge" not in kinds(books)
    # A node that breaks its own word leaves a contradiction, and the invariants name it.
    with books.work.read() as uow:
        assert invariants.broken(uow) == [f"attempt {grant.attempt} was refused and has started"]
    with books.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE attempts SET started = 0")


def test_a_lost_journal_bars_what_it_is_sent_and_that_proves_nothing_of_the_past(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.lose_journal()
    north.report()
    assert books.attempt(grant.attempt).state == "UNKNOWN"
    # In quarantine the grant still goes out, so that the node closes it.
    [sent] = north.grants()
    assert sent.attempt == grant.attempt
    north.write(EntryKind.BARRED, grant.attempt, reason="other_journal", text="")
    north.report()
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.closed) == ("UNKNOWN", True)
    assert north.next() is None


def test_in_quarantine_no_grant_of_the_present_session_goes_out(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    with books.work.write() as uow:
        node = uow.lab.nodes.get(north.node)
        assert node is not None
        uow.lab.nodes.save(replace(node, state="quarantined", reason="by hand"))
        uow.commit()
    assert north.grants() == []
    assert books.attempt(grant.attempt).state == "GRANTED"


def test_a_reason_off_the_list_strikes_nobody(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="bad mood", text="")
    north.report()
    with books.work.read() as uow:
        [step] = uow.run.steps.find()
    assert (step.state, step.struck) == ("READY", ())
    assert books.attempt(grant.attempt).reason == "unlisted"


def test_a_session_that_cannot_be_read_is_noted_and_the_journal_read_on(books: Books, north: NodeDouble) -> None:
    north.write(EntryKind.SESSION, None, surprise=True)
    assert north.report().cursor.seq == len(north.entries)
    assert books.audited("node.bad_entry")


def test_a_second_result_that_differs_changes_nothing(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.perform(grant)
    north.finish(grant.attempt, "failed", error={"code": "hardware", "message": "no, it jammed"})
    north.report()
    assert books.attempt(grant.attempt).state == "SUCCEEDED"
    assert books.audited("attempt.alarm.second_result")


def test_a_first_step_whose_guard_is_false_is_skipped_at_once(books: Books, pia: Member, north: NodeDouble) -> None:
    document = {**load_library()["compression-toughness"].document, "id": "guarded"}
    document["steps"] = [{**document["steps"][0], "guard": "parameters.n > 10"}]
    transact(books.work, lambda uow: protocols.store(uow, "pia", document))
    body = {**pia.body(), "protocol": "guarded"}
    answer = transact(books.work, lambda uow: experiments.submit(uow, pia.principal, body, None))
    shown = books.experiment(answer.experiments[0])
    assert (shown["state"], shown["steps"][0]["state"]) == ("succeeded", "SKIPPED")
    assert kinds(books) == ["grant", "hold", "release"]
    assert books.dispatch() == 0
    assert north.names


def test_an_impossible_event_is_a_defect_and_tells_the_whole_story(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    with pytest.raises(InvalidTransition) as refused:
        adjudicate(books, grant.attempt, Verdict.RAN)
    assert grant.attempt in refused.value.detail
    assert "granted" in refused.value.detail
    assert books.attempt(grant.attempt).state == "GRANTED"


# --- evidence of one journal about the attempts of another ------------------------------------------------------------


def test_a_tombstone_of_a_new_journal_proves_nothing_of_the_lost_one(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.write(EntryKind.INTENT, grant.attempt)
    north.report()
    north.lose_journal()
    north.report()
    pia.cancel(grant.experiment)
    answer = north.next()
    assert answer is not None
    assert [stop.attempt for stop in answer.stops] == [grant.attempt]
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="stopped", text="unknown here")
    north.report()
    attempt = books.attempt(grant.attempt)
    assert (attempt.state, attempt.closed) == ("UNKNOWN", True)
    with books.work.read() as uow:
        assert uow.office.holds.one(step=attempt.step, state="OPEN") is not None


def test_a_late_tombstone_of_another_journal_lifts_the_lock_out(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    north.report()
    north.lose_journal()
    north.report()
    adjudicate(books, grant.attempt, Verdict.NOT_RUN)
    assert lock(books, north) is not None
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="stopped", text="unknown here")
    north.report()
    assert books.attempt(grant.attempt).state == "ADJUDICATED_NOT_RUN"
    assert lock(books, north) is None


def test_a_start_of_a_journal_that_was_set_back_counts(books: Books, pia: Member, north: NodeDouble) -> None:
    grant = granted(books, pia, north)
    north.receive(grant)
    before = len(north.entries)
    north.write(EntryKind.INTENT, grant.attempt)
    north.write(EntryKind.UNKNOWN, grant.attempt, reason="link_lost", text="")
    north.report()
    read = len(north.entries)
    # Set back, and on from there: what it writes now stands where other entries were read.
    north.entries = north.entries[:before]
    north.write(EntryKind.STARTED, grant.attempt)
    assert len(north.entries) <= read
    answer = north.deliver(north.report_call(north.entries))
    attempt = books.attempt(grant.attempt)
    assert (attempt.started, attempt.state) == (True, "RUNNING")
    assert north.deliver(north.report_call(north.entries)) == answer
    assert books.attempt(grant.attempt) == attempt
    north.finish(grant.attempt)
    answer = north.deliver(north.report_call(north.entries))
    assert grant.attempt in answer.stored
    with books.work.read() as uow:
        assert uow.run.records.count(attempt=grant.attempt) == 1


def test_a_result_that_a_lost_journal_never_acknowledges_lets_the_call_be_held(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    grant = granted(books, pia, north)
    north.begin(grant)
    north.finish(grant.attempt)
    assert north.deliver(north.report_call()).stored == [grant.attempt]
    assert north.next() is not None  # of the present journal: at once
    north.lose_journal()
    assert north.report().stored == [grant.attempt]
    assert north.next() is None
