"""Silence: SUSPECT past the lease, UNKNOWN later, never freed by time alone; a restart of the platform re-arms it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from labcommons.facility.services.lab.silence import Lease
from labcommons.facility.workers.silence import Silence
from labcommons.federation.wire import EntryKind
from support.bench import Books, Member, NodeDouble

LEASE = Lease.of_ms(60_000, 600_000)


@pytest.fixture
def silence(books: Books) -> Silence:
    worker = Silence(books.bus, books.work, LEASE)
    worker.begin()
    return worker


def run(books: Books, pia: Member, north: NodeDouble) -> str:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    north.begin(grant)
    north.report()
    return grant.attempt


def test_nothing_is_due_while_nobody_ever_called(books: Books, silence: Silence) -> None:
    books.lab("west")
    assert silence.once() is None


def test_the_next_deadline_is_told_and_every_call_moves_it(books: Books, silence: Silence, north: NodeDouble) -> None:
    assert silence.once() == pytest.approx(60, abs=0.01)
    books.clock.pass_ms(50_000)
    north.next()
    assert silence.once() == pytest.approx(60, abs=0.01)


def test_silence_past_the_lease_is_suspect_and_a_call_mends_it(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    books.clock.pass_ms(60_000)
    assert silence.once() == pytest.approx(600, abs=0.01)
    assert books.attempt(attempt).state == "SUSPECT"
    pia.submit()
    north.tokens["press"] = []
    assert books.dispatch() == 0  # its lab does not call
    with books.work.read() as uow:
        assert uow.office.holds.count(state="OPEN") == 2
    north.report()
    assert books.attempt(attempt).state == "RUNNING"
    north.finish(attempt)
    north.report()
    assert books.attempt(attempt).state == "SUCCEEDED"


def test_suspect_becomes_unknown_and_time_goes_no_further(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    books.clock.pass_ms(60_000)
    silence.once()
    books.clock.pass_ms(600_000)
    assert silence.once() is None
    assert books.attempt(attempt).state == "UNKNOWN"
    books.clock.pass_ms(10**9)
    assert silence.once() is None
    assert books.attempt(attempt).state == "UNKNOWN"
    with books.work.read() as uow:
        assert uow.office.holds.count(state="OPEN") == 1
    # Contact alone is enough: only our silence had put it in doubt.
    north.report()
    assert books.attempt(attempt).state == "RUNNING"


def test_a_worker_that_slept_through_both_deadlines_goes_through_both(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    books.clock.pass_ms(10**8)
    silence.once()
    with books.work.read() as uow:
        path = [row.after for row in uow.run.history.find(attempt=attempt)]
    assert path == ["GRANTED", "RUNNING", "SUSPECT", "UNKNOWN"]


def test_a_result_that_waits_for_its_bytes_is_never_put_in_doubt(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    reference = {"name": "curve.csv", "media_type": "text/csv", "bytes": 3, "sha256": "a" * 64}
    north.finish(attempt, objects=[reference])
    north.report()
    books.clock.pass_ms(10**8)
    assert silence.once() is None
    assert books.attempt(attempt).state == "RUNNING"


def test_a_grant_that_nobody_answered_is_suspect_and_closed_by_its_tombstone(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    books.clock.pass_ms(60_000)
    silence.once()
    assert books.attempt(grant.attempt).state == "SUSPECT"
    north.start()
    assert [g.attempt for g in north.grants()] == [grant.attempt]
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="stale_grant", text="")
    north.report()
    assert books.attempt(grant.attempt).state == "REFUSED"


def test_a_restart_of_the_platform_rearms_the_lease(books: Books, pia: Member, north: NodeDouble) -> None:
    attempt = run(books, pia, north)
    books.clock.pass_ms(10**8)
    worker = Silence(books.bus, books.work, LEASE)
    worker.begin()
    assert worker.once() == pytest.approx(60, abs=0.01)
    assert books.attempt(attempt).state == "RUNNING"
    with books.work.read() as uow:
        node = uow.lab.nodes.get(north.node)
    assert node is not None
    assert node.last_seen_at is not None
    assert books.clock.now() - node.last_seen_at >= timedelta(milliseconds=10**8)


def test_it_wakes_the_node_for_a_stop_that_was_told_and_not_answered(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    pia.cancel(books.attempt(attempt).experiment)
    north.next()
    assert silence.once() == pytest.approx(1, abs=0.01)
    seen = books.bus.seen(f"node:{north.node}")
    books.clock.pass_ms(1000)
    silence.once()
    assert books.bus.seen(f"node:{north.node}") > seen


def test_a_stop_that_nobody_fetches_is_no_reason_to_spin(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    pia.cancel(books.attempt(attempt).experiment)
    assert north.next() is not None  # told, and then the node calls no more
    books.clock.pass_ms(1_000)
    pauses = [silence.once() for _ in range(3)]
    assert all(pause is not None and pause > 10 for pause in pauses), pauses


def test_a_stop_to_tell_again_with_no_call_held_lets_the_worker_sleep(
    books: Books, silence: Silence, pia: Member, north: NodeDouble
) -> None:
    attempt = run(books, pia, north)
    pia.cancel(books.attempt(attempt).experiment)
    north.next()
    books.clock.pass_ms(1000)
    assert silence.once() == pytest.approx(59, abs=0.01)  # the lease
    answer = north.next()
    assert answer is not None
    assert [stop.attempt for stop in answer.stops] == [attempt]
    assert north.next() is None
