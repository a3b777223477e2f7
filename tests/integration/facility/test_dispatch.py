"""Grants: who goes next, once for a token, and never from a stale decision."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from labcommons.core.errors import Conflict, StaleVersion
from labcommons.facility.services.run import experiments
from labcommons.facility.services.run.dispatch import granting, queue
from labcommons.federation.wire import EntryKind
from labcommons.protocols.canonical import canonical
from support.bench import Books, Member, NodeDouble, press_manifest


def test_the_oldest_goes_first_and_a_token_takes_one(books: Books, pia: Member, north: NodeDouble) -> None:
    first, second = pia.submit(2).experiments
    assert books.dispatch() == 1
    assert books.dispatch() == 0
    [grant] = north.grants()
    assert grant.experiment == first
    north.perform(grant)
    north.ready()
    north.report()
    assert books.dispatch() == 1
    [grant] = north.grants()
    assert (grant.experiment, grant.fence, grant.token) == (second, 2, 2)


def test_priority_orders_a_projects_own_work_only(books: Books, pia: Member, north: NodeDouble) -> None:
    [low] = pia.submit().experiments
    books.clock.pass_ms(10)
    other = books.project("other")
    [theirs] = other.submit(priority=9).experiments
    books.clock.pass_ms(10)
    [high] = pia.submit(priority=5).experiments
    order = []
    for _ in range(3):
        assert books.dispatch() == 1
        [grant] = north.grants()
        order.append(grant.experiment)
        north.perform(grant)
        north.ready()
        north.report()
    assert order == [high, theirs, low]


def test_two_labs_take_two(books: Books, pia: Member, north: NodeDouble) -> None:
    south = books.lab("south", press_manifest("crusher"))
    south.hello()
    pia.submit(3)
    assert books.dispatch() == 2
    assert len(north.grants()) == len(south.grants()) == 1


def test_a_stale_dispatcher_fails_at_its_commit(books: Books, pia: Member, north: NodeDouble) -> None:
    [experiment] = pia.submit().experiments
    with books.work.read() as uow:
        stale = queue.snapshot(uow)
    grants = granting.decide(stale)
    assert len(grants.grants) == 1
    pia.cancel(experiment)
    with books.work.write() as uow, pytest.raises(StaleVersion):
        granting.commit(uow, stale, grants)
    with books.work.read() as uow:
        assert uow.run.attempts.count() == 0
    assert north.grants() == []


def test_two_dispatchers_grant_once(books: Books, pia: Member, north: NodeDouble) -> None:
    pia.submit()
    with books.work.read() as uow:
        stale = queue.snapshot(uow)
    grants = granting.decide(stale)
    assert books.dispatch() == 1
    with books.work.write() as uow, pytest.raises(StaleVersion):
        granting.commit(uow, stale, grants)
    assert len(north.grants()) == 1


@pytest.mark.parametrize(
    "change", [{"state": "quarantined"}, {"session": "ses_" + "0" * 26}, {"epoch": 0}, {"silence": "lost"}]
)
def test_the_commit_itself_checks_quarantine_session_epoch_and_silence(
    books: Books, pia: Member, north: NodeDouble, change: dict[str, Any]
) -> None:
    pia.submit()
    with books.work.read() as uow:
        stale = queue.snapshot(uow)
    with books.work.write() as uow:
        node = uow.lab.nodes.get(north.node)
        assert node is not None
        uow.lab.nodes.save(replace(node, **change))
        uow.commit()
    with books.work.write() as uow, pytest.raises(StaleVersion):
        granting.commit(uow, stale, granting.decide(stale))


def test_a_second_live_attempt_is_refused_by_the_database_itself(books: Books, pia: Member, north: NodeDouble) -> None:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    row = books.attempt(grant.attempt)
    twin = replace(row, id=type(row.id)("att_" + "0" * 26), fence=99, token=99)
    with books.work.write() as uow, pytest.raises(Conflict):
        uow.run.attempts.add(twin)
    reused = replace(row, id=type(row.id)("att_" + "0" * 26), state="REFUSED", fence=99)
    with books.work.write() as uow, pytest.raises(Conflict):
        uow.run.attempts.add(reused)


def test_a_locked_bench_gets_nothing(books: Books, pia: Member, north: NodeDouble) -> None:
    with books.work.write() as uow:
        bench = uow.lab.instruments.one(node=north.node)
        assert bench is not None
        uow.lab.instruments.save(replace(bench, lock="a person is at it"))
        uow.commit()
    pia.submit()
    assert books.dispatch() == 0


# --- why --------------------------------------------------------------------------------------------------------------


def why(books: Books, experiment: str) -> list[tuple[str, str]]:
    with books.work.read() as uow:
        answer = experiments.why(uow, experiments.get(uow, experiment))
    assert all(reason["text"] and reason["constraint"]["all"] for reason in answer["reasons"])
    return [(reason["step"], reason["code"]) for reason in answer["reasons"]]


def test_why_says_what_it_waits_for_and_lifting_it_makes_it_grantable(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    first, second = pia.submit(2).experiments
    books.dispatch()
    [grant] = north.grants()
    assert why(books, second) == [("compress", "no_token")]
    north.health["press"] = {"state": "error", "detail": "jammed"}
    north.ready()
    north.report()
    assert why(books, second) == [("compress", "down")]
    assert books.dispatch() == 0
    north.health["press"] = {"state": "local", "detail": ""}
    north.report()
    assert why(books, second) == [("compress", "local")]
    north.health["press"] = {"state": "idle", "detail": ""}
    north.report()
    assert books.dispatch() == 1
    north.write(EntryKind.UNKNOWN, grant.attempt, reason="link_lost", text="")
    north.report()
    assert why(books, first) == [("compress", "needs_person")]


def test_why_of_what_has_ended_is_empty(books: Books, pia: Member, north: NodeDouble) -> None:
    [experiment] = pia.submit().experiments
    books.dispatch()
    [grant] = north.grants()
    pia.cancel(experiment)
    assert why(books, experiment) == [("compress", "cancelling")]
    north.write(EntryKind.TOMBSTONE, grant.attempt, reason="stopped", text="")
    north.report()
    assert why(books, experiment) == []


# --- benches that change or refuse ------------------------------------------------------------------------------------


def redescribe(north: NodeDouble, **changes: Any) -> None:
    north.manifest = canonical(press_manifest(**changes))
    north.manifest_hash = hashlib.sha256(north.manifest).hexdigest()
    north.put(north.manifest)
    north.report()


def test_a_bench_that_offers_the_action_no_more_holds_up_nobody(books: Books, pia: Member, north: NodeDouble) -> None:
    [lost] = pia.submit(labs=[north.lab]).experiments
    south = books.lab("south", press_manifest("crusher"))
    south.hello()
    [other] = pia.submit(labs=[south.lab]).experiments
    redescribe(north, offers=[])
    assert books.dispatch() == 0
    assert books.dispatch() == 1
    assert [grant.experiment for grant in south.grants()] == [other]
    assert books.experiment(lost)["state"] == "failed"
    assert "does not offer crush" in books.experiment(lost)["steps"][0]["reason"]


def test_a_step_goes_to_the_candidate_that_still_offers_it(books: Books, pia: Member, north: NodeDouble) -> None:
    south = books.lab("south", press_manifest("crusher"))
    south.hello()
    [experiment] = pia.submit().experiments
    redescribe(north, offers=[])
    books.dispatch()
    books.dispatch()
    assert north.grants() == []
    assert [grant.experiment for grant in south.grants()] == [experiment]


def test_what_a_lab_refused_goes_to_the_next(books: Books, pia: Member, north: NodeDouble) -> None:
    south = books.lab("south", press_manifest("crusher"))
    south.hello()
    [experiment] = pia.submit().experiments
    books.dispatch()
    first, second = (north, south) if north.grants() else (south, north)
    [grant] = first.grants()
    first.write(EntryKind.TOMBSTONE, grant.attempt, reason="not_allowed", text="")
    first.report()
    assert books.dispatch() == 1
    assert [grant.experiment for grant in second.grants()] == [experiment]


def test_a_new_epoch_of_a_node_wakes_the_dispatcher(books: Books, north: NodeDouble) -> None:
    north.epoch = 0
    north.report()
    seen = books.bus.seen("dispatch")
    north.epoch = 1
    north.report()
    assert books.bus.seen("dispatch") > seen


def test_a_grant_wakes_silence(books: Books, pia: Member, north: NodeDouble) -> None:
    pia.submit()
    seen = books.bus.seen("silence")
    assert books.dispatch() == 1
    assert books.bus.seen("silence") > seen
