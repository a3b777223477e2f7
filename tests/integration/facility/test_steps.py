"""Experiments of several steps: order, references, guards, samples, and what a failure means for those behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from labcommons.facility.services.run import experiments, protocols
from labcommons.facility.services.transact import transact
from labcommons.federation.wire import EntryKind, Grant
from support.bench import Books, Member, NodeDouble
from support.documents import colour_document, mixer, reader

UL = "uL"


def instrument(name: str, kind: str, offer: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "simulated": True,
        "remembers_attempts": True,
        "can_void": True,
        "on_disconnect": "continue",
        "offers": [offer],
    }


def colour_manifest(**readers: Any) -> dict[str, Any]:
    return {
        "manifest": 1,
        "lab": {"name": "Riverside", "time_zone": "Europe/Lisbon"},
        "time_scale": "60",
        "instruments": [
            instrument("mixer", "colour-mixer", mixer()),
            instrument("reader", "colour-reader", reader(**readers)),
        ],
    }


@pytest.fixture
def river(books: Books) -> NodeDouble:
    """A lab with a mixer and a reader."""
    node = books.lab("riverside", colour_manifest())
    node.hello(tokens=2)
    return node


@pytest.fixture
def kim(books: Books) -> Member:
    """A member of a project with time of both types."""
    member = books.project("colours", instrument_type="colour-mixer")
    books.grant(member.project, 3_600_000, "colour-reader")
    return member


Start = Callable[..., str]


@pytest.fixture
def start(books: Books, kim: Member, river: NodeDouble) -> Start:
    """Submit one colour; ``change`` may alter the document first."""

    def begin(change: Callable[[dict[str, Any]], None] = lambda _: None) -> str:
        document = colour_document()
        change(document)
        row = transact(books.work, lambda uow: protocols.store(uow, "kim", document))
        arguments = {name: {"value": "30", "unit": UL} for name in ("red", "yellow", "blue")}
        item = {"arguments": arguments, "labs": [], "types": [], "priority": 0, "label": None}
        body = {"project": kim.project, "protocol": row.hash, "study": "colours", "experiments": [item]}
        answer = transact(books.work, lambda uow: experiments.submit(uow, kim.principal, body, None))
        assert river.names == ["mixer", "reader"]
        return answer.experiments[0]

    return begin


def states(books: Books, experiment: str) -> dict[str, str]:
    return {step["step"]: step["state"] for step in books.experiment(experiment)["steps"]}


def sample(books: Books) -> tuple[str, str | None]:
    with books.work.read() as uow:
        [row] = uow.run.samples.find()
    return row.state, row.lab


def grant_of(books: Books, river: NodeDouble, name: str) -> Grant:
    assert books.dispatch() == 1
    [grant] = river.grants()
    assert grant.instrument == name
    return grant


def again(document: dict[str, Any]) -> None:
    """A third step that mixes as much red as the first one made, into a well of its own."""
    arguments = {name: {"from": f"parameters.{name}"} for name in ("yellow", "blue")}
    arguments |= {"red": {"from": "steps.mix.outputs.volume"}, "into": {"from": "samples.second"}}
    document["samples"]["second"] = {"made_by": "again"}
    document["steps"].append({"id": "again", "role": "mixer", "action": "dispense", "arguments": arguments})


def mixed(volume: str = "90") -> dict[str, Any]:
    return {"outputs": {"volume": {"value": volume, "unit": UL}}}


def test_the_second_step_follows_the_first_with_its_sample(books: Books, river: NodeDouble, start: Start) -> None:
    experiment = start()
    assert states(books, experiment) == {"mix": "READY", "measure": "WAITING"}
    assert sample(books) == ("EXPECTED", None)
    with books.work.read() as uow:
        [reason] = [
            r for r in experiments.why(uow, experiments.get(uow, experiment))["reasons"] if r["code"] == "after"
        ]
    assert reason["step"] == "measure"
    mix = grant_of(books, river, "mixer")
    made = mix.arguments["into"]["sample"]
    river.perform(mix, **mixed())
    assert states(books, experiment) == {"mix": "DONE", "measure": "READY"}
    assert sample(books) == ("RESERVED", river.lab)
    measure = grant_of(books, river, "reader")
    assert measure.arguments["sample"]["sample"] == made
    assert sample(books) == ("COMMITTED", river.lab)
    river.perform(measure, outputs={"lightness": {"value": "50", "unit": "1"}})
    assert books.experiment(experiment)["state"] == "succeeded"
    assert sample(books) == ("AVAILABLE", river.lab)


def test_a_false_guard_skips_the_step_and_releases_its_hold(books: Books, river: NodeDouble, start: Start) -> None:
    experiment = start()
    river.perform(grant_of(books, river, "mixer"), **mixed("5"))
    shown = books.experiment(experiment)
    assert (shown["state"], states(books, experiment)["measure"]) == ("succeeded", "SKIPPED")
    assert "guard is false" in shown["steps"][1]["reason"]
    with books.work.read() as uow:
        assert uow.office.holds.count(state="OPEN") == 0


def test_a_failed_step_skips_those_behind_and_says_so(books: Books, river: NodeDouble, start: Start) -> None:
    experiment = start()
    river.perform(grant_of(books, river, "mixer"), outcome="failed", error={"code": "timeout", "message": "slow"})
    shown = books.experiment(experiment)
    assert states(books, experiment) == {"mix": "FAILED", "measure": "SKIPPED"}
    assert (shown["state"], shown["steps"][1]["reason"]) == ("failed", "mix ended FAILED")
    assert sample(books) == ("QUARANTINED", river.lab)


def test_cancelling_before_anything_ran_cancels_all_and_voids_the_sample(
    books: Books, kim: Member, start: Start
) -> None:
    experiment = start()
    assert kim.cancel(experiment) == "cancelled"
    assert states(books, experiment) == {"mix": "CANCELLED", "measure": "CANCELLED"}
    assert sample(books) == ("VOID", None)


def test_an_output_out_of_every_range_fails_the_step_that_refers_to_it(
    books: Books, river: NodeDouble, start: Start
) -> None:
    experiment = start(again)
    assert states(books, experiment)["again"] == "WAITING"
    river.perform(grant_of(books, river, "mixer"), **mixed("90"))
    shown = {step["step"]: step for step in books.experiment(experiment)["steps"]}
    assert (shown["again"]["state"], shown["measure"]["state"]) == ("FAILED", "READY")
    assert "80" in shown["again"]["reason"]


def test_an_output_in_range_is_resolved_and_runs_on_the_bound_bench(
    books: Books, river: NodeDouble, start: Start
) -> None:
    experiment = start(again)
    river.perform(grant_of(books, river, "mixer"), outputs={"volume": {"value": "0.04", "unit": "mL"}})
    assert books.dispatch() == 2
    second = next(grant for grant in river.grants() if grant.instrument == "mixer")
    assert second.arguments["red"] == {"value": "40", "unit": UL}
    with books.work.read() as uow:
        assert set(experiments.get(uow, experiment).bindings) == {"mixer", "reader"}


def test_a_missing_output_fails_the_step_with_its_reason(books: Books, river: NodeDouble, start: Start) -> None:
    experiment = start()
    river.perform(grant_of(books, river, "mixer"), outputs={})
    shown = {step["step"]: step for step in books.experiment(experiment)["steps"]}
    assert shown["measure"]["state"] == "FAILED"
    assert "bad_guard" in shown["measure"]["reason"]


def test_a_sample_is_quarantined_while_its_step_is_unknown(books: Books, river: NodeDouble, start: Start) -> None:
    start()
    river.perform(grant_of(books, river, "mixer"), **mixed())
    measure = grant_of(books, river, "reader")
    river.receive(measure)
    river.write(EntryKind.INTENT, measure.attempt)
    river.write(EntryKind.UNKNOWN, measure.attempt, reason="link_lost", text="")
    river.report()
    assert sample(books)[0] == "QUARANTINED"
    river.write(EntryKind.TOMBSTONE, measure.attempt, reason="voided", text="")
    river.report()
    assert sample(books)[0] == "RESERVED"


def test_a_repeatable_protocol_is_planned_anew_from_unknown(books: Books, river: NodeDouble, start: Start) -> None:
    def repeatable(document: dict[str, Any]) -> None:
        document["repeatable"] = True

    experiment = start(repeatable)
    first = grant_of(books, river, "mixer")
    river.receive(first)
    river.write(EntryKind.INTENT, first.attempt)
    river.write(EntryKind.UNKNOWN, first.attempt, reason="link_lost", text="")
    river.report()
    assert books.attempt(first.attempt).state == "SUPERSEDED"
    second = grant_of(books, river, "mixer")
    assert second.step == first.step
    # The late result is kept and closes nothing.
    river.write(EntryKind.STARTED, first.attempt)
    river.finish(first.attempt, **mixed())
    river.report()
    assert books.attempt(first.attempt).state == "SUPERSEDED"
    assert states(books, experiment)["mix"] == "ACTIVE"
    river.perform(second, **mixed())
    with books.work.read() as uow:
        assert uow.run.records.count() == 2
        assert uow.office.ledger.count(kind="charge") == 1
        flags = [row.document["flags"] for row in uow.run.records.find()]
    assert sorted(flags) == [[], ["late"]]
