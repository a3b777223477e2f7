"""Rule 13: a step without a live attempt is cancelled at once; for any other it is a wish that waits for evidence."""

from __future__ import annotations

import pytest

from labcommons.core.errors import NotFound
from labcommons.federation.wire import EntryKind, Grant
from support.bench import Books, Member, NodeDouble


def free(books: Books) -> tuple[int, int]:
    with books.work.read() as uow:
        [allocation] = uow.office.allocations.find()
    return books.balance(allocation.id)


def granted(books: Books, pia: Member, north: NodeDouble) -> tuple[str, Grant]:
    [experiment] = pia.submit().experiments
    books.dispatch()
    [grant] = north.grants()
    return experiment, grant


def stops(north: NodeDouble) -> list[tuple[str, str]]:
    answer = north.next()
    return [] if answer is None else [(stop.attempt, stop.mode) for stop in answer.stops]


def test_waiting_is_cancelled_at_once(books: Books, pia: Member, north: NodeDouble) -> None:
    [experiment] = pia.submit().experiments
    assert pia.cancel(experiment) == "cancelled"
    assert pia.cancel(experiment) == "cancelled"
    assert free(books) == (3_600_000, 0)
    assert books.dispatch() == 0
    assert books.experiment(experiment)["steps"][0]["state"] == "CANCELLED"


def test_granted_is_a_wish_until_the_node_has_closed_it(books: Books, pia: Member, north: NodeDouble) -> None:
    experiment, grant = granted(books, pia, north)
    assert pia.cancel(experiment) == "running"
    assert free(books) == (3_480_000, 120_000)
    assert stops(north) == [(grant.attempt, "safe_point")]
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="stopped", text="a stop came first")
    north.report()
    assert books.experiment(experiment)["state"] == "cancelled"
    assert free(books) == (3_600_000, 0)


def test_running_is_stopped_and_charged_in_part(books: Books, pia: Member, north: NodeDouble) -> None:
    experiment, grant = granted(books, pia, north)
    north.begin(grant)
    north.report()
    pia.cancel(experiment, "now")
    assert stops(north) == [(grant.attempt, "now")]
    books.clock.pass_ms(500)
    north.finish(grant.attempt, "stopped", used_ms=400)
    north.report()
    shown = books.experiment(experiment)
    assert (shown["state"], shown["steps"][0]["state"]) == ("cancelled", "STOPPED")
    assert free(books) == (3_600_000 - 24_000, 0)
    assert stops(north) == []


def test_a_stop_is_told_again_while_no_entry_answers(books: Books, pia: Member, north: NodeDouble) -> None:
    experiment, grant = granted(books, pia, north)
    north.begin(grant)
    north.report()
    pia.cancel(experiment)
    assert stops(north) == [(grant.attempt, "safe_point")]
    # Told a moment ago: it is on its way to the safe point, so the call is held.
    assert stops(north) == []
    books.clock.pass_ms(1000)
    assert stops(north) == [(grant.attempt, "safe_point")]
    # A new agent knows of no stop.
    north.start()
    assert stops(north) == [(grant.attempt, "safe_point")]


def test_in_doubt_waits_for_evidence(books: Books, pia: Member, north: NodeDouble) -> None:
    experiment, grant = granted(books, pia, north)
    north.receive(grant)
    north.write(EntryKind.INTENT, grant.attempt)
    north.write(EntryKind.UNKNOWN, grant.attempt, reason="link_lost", text="")
    north.report()
    assert pia.cancel(experiment) == "needs_person"
    assert free(books) == (3_480_000, 120_000)
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="voided", text="")
    north.report()
    assert books.experiment(experiment)["state"] == "cancelled"
    assert free(books) == (3_600_000, 0)


def test_a_result_that_was_faster_than_the_cancel_stands(books: Books, pia: Member, north: NodeDouble) -> None:
    experiment, grant = granted(books, pia, north)
    north.begin(grant)
    north.report()
    pia.cancel(experiment)
    north.finish(grant.attempt)
    north.report()
    assert books.experiment(experiment)["state"] == "succeeded"
    assert pia.cancel(experiment) == "succeeded"


def test_a_labs_failure_is_not_tried_again_once_a_cancel_is_wished(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    experiment, grant = granted(books, pia, north)
    north.begin(grant)
    north.report()
    pia.cancel(experiment)
    books.clock.pass_ms(1000)
    north.finish(grant.attempt, "failed", error={"code": "hardware", "message": "jammed"})
    north.report()
    assert books.experiment(experiment)["state"] == "cancelled"
    assert free(books) == (3_600_000, 0)


def test_nobody_cancels_anothers_experiment(books: Books, pia: Member, north: NodeDouble) -> None:
    [experiment] = books.project("secret").submit().experiments
    with pytest.raises(NotFound):
        pia.cancel(experiment)
    assert books.experiment(experiment)["state"] == "waiting"
