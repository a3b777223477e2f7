"""Submitting: whole or not at all, funded exactly, once for a key, and hidden from others."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from labcommons.core.errors import Forbidden, InsufficientAllocation, InvalidInput, LabCommonsError, NotFound
from labcommons.facility.services.run import experiments
from labcommons.facility.services.transact import transact
from labcommons.scheduler.authority import Principal
from support.bench import TYPE, Books, Member, NodeDouble, press_manifest


def stored(books: Books) -> dict[str, int]:
    with books.work.read() as uow:
        return {
            "experiments": uow.run.experiments.count(),
            "steps": uow.run.steps.count(),
            "holds": uow.office.holds.count(),
            "studies": uow.run.studies.count(),
            "keys": uow.office.idempotency.count(),
        }


NOTHING = dict.fromkeys(("experiments", "steps", "holds", "studies", "keys"), 0)


@pytest.mark.usefixtures("north")
def test_many_are_taken_whole_in_order(books: Books, pia: Member) -> None:
    answer = pia.submit(12)
    assert stored(books) == {"experiments": 12, "steps": 12, "holds": 12, "studies": 1, "keys": 0}
    assert list(answer.experiments) == sorted(answer.experiments)
    with books.work.read() as uow:
        rows = uow.run.experiments.find(study=answer.study, order="position")
        assert [row.id for row in rows] == list(answer.experiments)
        [allocation] = uow.office.allocations.find()
        events = [row.event for row in uow.run.events.find()]
        shown = experiments.present(uow, rows)
    assert books.balance(allocation.id) == (3_600_000 - 12 * 120_000, 12 * 120_000)
    assert events.count("experiment.waiting") == events.count("step.ready") == 12
    assert [one["place"] for one in shown] == list(range(1, 13))


@pytest.mark.usefixtures("north")
def test_one_bad_item_refuses_all(books: Books, pia: Member) -> None:
    body = pia.body(3)
    body["experiments"][2] = {**body["experiments"][2], "arguments": {**body["experiments"][2]["arguments"], "r": 9}}
    with pytest.raises(InvalidInput) as refused:
        submit(books, pia, body, key="k")
    assert refused.value.field == "/experiments/2/arguments/r"
    assert stored(books) == NOTHING


def submit(books: Books, who: Member, body: dict[str, Any], key: str | None = None) -> experiments.SubmitAnswer:
    return transact(books.work, lambda uow: experiments.submit(uow, who.principal, body, key))


@pytest.mark.usefixtures("north")
@pytest.mark.parametrize(
    ("name", "value", "word", "mended"),
    [
        ("theta", {"value": "400", "unit": "deg"}, "out_of_range", {"value": "200", "unit": "deg"}),
        ("theta", {"value": "40", "unit": "mm"}, "wrong_dimension", {"value": "40", "unit": "deg"}),
        ("theta", {"value": "40", "unit": "furlong"}, "unknown_unit", {"value": "40", "unit": "deg"}),
        ("theta", 40, "bare_number", {"value": "40", "unit": "deg"}),
        ("n", {"int": 99}, "out_of_range", {"int": 12}),
    ],
)
def test_a_bad_argument_is_refused_with_its_pointer_and_the_remedy_works(
    books: Books, pia: Member, name: str, value: Any, word: str, mended: Any
) -> None:
    body = pia.body()
    arguments = body["experiments"][0]["arguments"]
    body["experiments"][0]["arguments"] = {**arguments, name: value}
    with pytest.raises(LabCommonsError) as refused:
        submit(books, pia, body)
    assert refused.value.word == word
    assert refused.value.field.startswith(f"/experiments/0/arguments/{name}")
    assert refused.value.remedy
    assert refused.value.extra["reasons"][0]["code"] == word
    assert stored(books) == NOTHING
    body["experiments"][0]["arguments"] = {**arguments, name: mended}
    assert len(submit(books, pia, body).experiments) == 1


def test_an_allocation_that_is_too_small_refuses_all(books: Books, north: NodeDouble) -> None:
    poor = books.project("poor", granted_ms=300_000)
    with pytest.raises(InsufficientAllocation) as refused:
        poor.submit(3)
    assert (refused.value.word, refused.value.field) == ("insufficient_allocation", "/project")
    # 300 s pay for two of 120 s; 60 s more would do as a sum, and no hold is on two allocations.
    assert "one allocation of 120000 ms of barrel-press time that ends no earlier than" in refused.value.remedy
    assert [one["limit"] for one in refused.value.extra["reasons"]] == ["300000"]
    assert stored(books) == NOTHING
    books.grant(poor.project, 119_999)
    with pytest.raises(InsufficientAllocation):
        poor.submit(3)
    books.grant(poor.project, 120_000)
    assert len(poor.submit(3).experiments) == 3
    assert north.names == ["press"]


@pytest.mark.usefixtures("north")
def test_a_project_without_time_of_the_type_is_told_so(books: Books) -> None:
    none = books.project("none", granted_ms=None)
    with pytest.raises(InsufficientAllocation) as refused:
        none.submit(2)
    assert refused.value.remedy.startswith(f"ask for one allocation of 240000 ms of {TYPE} time, or")
    assert refused.value.extra["reasons"][0]["step"] == "compress"
    books.grant(none.project, 240_000)
    assert len(none.submit(2).experiments) == 2


@pytest.mark.usefixtures("north")
def test_compiling_says_when_no_single_allocation_covers_a_step(books: Books) -> None:
    poor = books.project("poor", granted_ms=100_000)
    books.grant(poor.project, 100_000)  # enough as a sum
    with books.work.read() as uow:
        [item] = experiments.compile_items(uow, poor.principal, poor.body(1))["items"]
    [reason] = item["reasons"]
    assert (reason["code"], reason["step"], reason["limit"]) == ("insufficient_allocation", "compress", "200000")
    assert "one allocation of 120000 ms" in reason["remedy"]
    books.grant(poor.project, 120_000)
    with books.work.read() as uow:
        [item] = experiments.compile_items(uow, poor.principal, poor.body(1))["items"]
    assert item["cost_ms"] == {TYPE: 120_000}


@pytest.mark.usefixtures("north")
def test_a_cap_that_is_too_low_says_by_how_much(books: Books, pia: Member) -> None:
    cap(books, pia, 300_000)
    with pytest.raises(InsufficientAllocation) as refused:
        pia.submit(3)
    assert "raise your cap by 60000 ms" in refused.value.remedy
    assert stored(books) == NOTHING
    cap(books, pia, 360_000)
    assert len(pia.submit(3).experiments) == 3


def cap(books: Books, who: Member, cap_ms: int) -> None:
    with books.work.write() as uow:
        member = uow.office.members.get(who.project, who.principal.person)
        assert member is not None
        uow.office.members.save(replace(member, cap_ms=cap_ms))
        uow.commit()


@pytest.mark.usefixtures("north")
def test_a_members_cap_stands_beside_the_allocation(books: Books, pia: Member) -> None:
    with books.work.write() as uow:
        row = uow.office.members.one(project=pia.project)
        assert row is not None
        uow.office.members.save(type(row)(**{**vars(row), "cap_ms": 240_000}))
        uow.commit()
    with pytest.raises(InsufficientAllocation) as refused:
        pia.submit(3)
    assert "cap" in refused.value.detail
    pia.submit(2)
    with pytest.raises(InsufficientAllocation):
        pia.submit()


def test_two_submits_for_the_last_of_an_allocation(books: Books, north: NodeDouble) -> None:
    racing = books.project("racing", granted_ms=120_000)
    outcomes: list[str] = []
    gate = threading.Barrier(2)

    def run() -> None:
        gate.wait()
        try:
            racing.submit()
            outcomes.append("taken")
        except InsufficientAllocation:
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "taken"]
    assert stored(books)["experiments"] == 1
    assert north.names


# --- idempotency ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("north")
def test_the_same_key_and_payload_is_done_once(books: Books, pia: Member) -> None:
    first = pia.submit(2, key="key-1")
    again = pia.submit(2, key="key-1")
    assert (again.study, again.experiments, again.repeated) == (first.study, first.experiments, True)
    assert stored(books)["experiments"] == 2
    assert pia.submit(2, key="key-2").study != first.study


@pytest.mark.usefixtures("north")
def test_the_same_key_with_another_payload_is_refused(books: Books, pia: Member) -> None:
    pia.submit(1, key="key-1")
    with pytest.raises(InvalidInput) as refused:
        pia.submit(2, key="key-1")
    assert (refused.value.word, refused.value.status) == ("idempotency_mismatch", 422)
    assert stored(books)["experiments"] == 1


@pytest.mark.usefixtures("north")
def test_a_key_is_a_persons_own_and_forgotten_after_seven_days(books: Books, pia: Member) -> None:
    pia.submit(1, key="key-1")
    books.project("other").submit(2, key="key-1")
    books.clock.pass_ms(7 * 86_400_000 + 1)
    assert not pia.submit(2, key="key-1").repeated


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("north")
def test_another_project_is_not_there(books: Books, pia: Member) -> None:
    other = books.project("secret")
    body = {**pia.body(), "project": other.project}
    with books.work.read() as uow, pytest.raises(NotFound) as hidden:
        experiments.compile_items(uow, pia.principal, body)
    assert hidden.value.field == "/project"
    with pytest.raises(NotFound) as hidden:
        submit(books, pia, body)
    assert hidden.value.field == "/project"
    with books.work.read() as uow, pytest.raises(NotFound):
        experiments.get(uow, "exp_" + "0" * 26)


@pytest.mark.usefixtures("north")
def test_a_viewer_may_compile_and_not_submit(books: Books, pia: Member) -> None:
    viewer = Principal(person=books.person("vera"), projects={pia.project: "viewer"})
    with books.work.read() as uow:
        assert "steps" in experiments.compile_items(uow, viewer, pia.body())["items"][0]
    with books.work.write() as uow, pytest.raises(Forbidden):
        experiments.submit(uow, viewer, pia.body(), None)


# --- compile ----------------------------------------------------------------------------------------------------------


def test_compile_answers_item_by_item_and_stores_nothing(books: Books, pia: Member, north: NodeDouble) -> None:
    south = books.lab("south", press_manifest("crusher"))
    south.hello()
    body = pia.body(2)
    body["experiments"][1] = {**body["experiments"][1], "arguments": {}}
    with books.work.read() as uow:
        good, bad = experiments.compile_items(uow, pia.principal, body)["items"]
    assert good["cost_ms"] == {TYPE: 120_000}
    assert {c["lab"] for c in good["steps"][0]["candidates"]} == {north.lab, south.lab}
    assert {reason["code"] for reason in bad["reasons"]} == {"missing_argument"}
    assert stored(books) == NOTHING


def test_labs_narrow_the_candidates(books: Books, pia: Member, north: NodeDouble) -> None:
    south = books.lab("south", press_manifest("crusher"))
    south.hello()
    [experiment] = pia.submit(labs=[south.lab]).experiments
    assert books.dispatch() == 1
    assert [grant.instrument for grant in south.grants()] == ["crusher"]
    assert north.grants() == []
    with pytest.raises(InvalidInput) as refused:
        pia.submit(labs=["north"])
    assert refused.value.field == "/experiments/0/labs/0"
    assert books.experiment(experiment)["labs"] == [south.lab]


def test_without_any_lab_it_says_that_nothing_offers_it(books: Books, pia: Member) -> None:
    with pytest.raises(InvalidInput) as refused:
        pia.submit()
    assert refused.value.word == "no_candidate"
    assert stored(books) == NOTHING


@pytest.mark.usefixtures("north")
def test_an_unknown_protocol_is_said_with_its_field(books: Books, pia: Member) -> None:
    with pytest.raises(NotFound) as refused:
        submit(books, pia, {**pia.body(), "protocol": "no-such"})
    assert (refused.value.word, refused.value.field) == ("unknown_protocol", "/protocol")


def test_a_refund_gives_the_members_cap_back(books: Books, pia: Member, north: NodeDouble) -> None:
    cap(books, pia, 120_000)
    [failed] = pia.submit().experiments
    books.dispatch()
    [grant] = north.grants()
    error = {"code": "hardware", "message": "jammed"}
    north.perform(grant, outcome="failed", error=error)
    with books.work.read() as uow:
        assert uow.office.ledger.count(kind="refund") == 1
    pia.cancel(failed)
    assert len(pia.submit().experiments) == 1
    with pytest.raises(InsufficientAllocation):
        pia.submit()
