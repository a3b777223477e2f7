"""Once on the instrument, once in the books: the delivery rules against the real facility, agent and an instrument
that is a process of its own. What moved is read from the witness's own log, never from the system under test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.federation import Federation, eventually, federation
from witness.fixtures import WitnessProcess, witness_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
Start = Callable[..., tuple[Federation, WitnessProcess]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start("--no-void", ...)``: a federation of one lab with one witness."""
    with ExitStack() as stack:

        def begin(*flags: str, **environment: str) -> tuple[Federation, WitnessProcess]:
            witness = stack.enter_context(witness_process(tmp_path / "witness", *flags))
            made = stack.enter_context(federation(tmp_path / "home", {"bench": witness}, **environment))
            return made, witness

        yield begin


def test_one_experiment_end_to_end(start: Start) -> None:
    made, witness = start("--duration-ms", "200")
    lab = made.as_person("rae")
    study = made.submit(lab)
    (experiment,) = study.experiments
    assert made.ended(experiment).state == "succeeded"
    record = experiment.result()
    toughness = record.quantity("toughness")
    assert toughness.unit == "J"
    assert toughness.u is not None
    assert record.ark.startswith("ark:/99999/lc1rec_")
    (start_logged,) = witness.starts()
    (attempt,) = made.attempts(lab)
    assert start_logged["attempt"] == attempt["attempt"]
    charges = [one for one in lab.pages("ledger", "entries") if one["kind"] == "charge"]
    assert [(one["cause"], one["amount_ms"]) for one in charges] == [(attempt["attempt"], attempt["charged_ms"])]
    allocation = lab.statement()["allocations"][0]
    assert allocation["held_ms"] == 0
    assert allocation["available_ms"] == allocation["granted_ms"] - attempt["charged_ms"]


def test_many_experiments_run_one_at_a_time_in_order(start: Start) -> None:
    made, witness = start("--duration-ms", "50")
    lab = made.as_person("rae")
    study = made.submit(lab, 12)
    study.wait(60, progress=False)
    assert {one.state for one in study.experiments} == {"succeeded"}
    started = [one["attempt"] for one in witness.starts()]
    assert len(started) == len(set(started)) == 12
    by_attempt = {one["attempt"]: one["experiment"] for one in made.attempts(lab)}
    assert [by_attempt[one] for one in started] == [one.id for one in study.experiments]


def test_agent_killed_in_mid_run_attaches_again_and_the_result_arrives_once(start: Start) -> None:
    made, witness = start("--duration-ms", "4000")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    attempt = made.attempt_in(lab, experiment.id, "RUNNING")["attempt"]
    made.sites["bench"].agent.kill()
    made.sites["bench"].agent.start()
    assert made.ended(experiment).state == "succeeded"
    assert len(witness.starts(attempt)) == 1
    assert len(experiment.records()) == 1
    assert made.sites["bench"].states(attempt)[:3] == ["RECEIVED", "INTENT", "STARTED"]


def test_agent_killed_in_mid_run_on_an_instrument_that_forgets_leaves_unknown_with_its_hold(start: Start) -> None:
    made, witness = start("--duration-ms", "3000", "--no-memory")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    attempt = made.attempt_in(lab, experiment.id, "RUNNING")["attempt"]
    made.sites["bench"].agent.kill()
    made.sites["bench"].agent.start()
    found = made.attempt_in(lab, experiment.id, "UNKNOWN")
    assert found["attempt"] == attempt
    assert experiment.refresh().state == "needs_person"
    assert {one["code"] for one in experiment.why()["reasons"]} == {"needs_person"}
    assert lab.statement()["allocations"][0]["held_ms"] > 0
    assert len(witness.starts()) == 1
    # The bench stays free for others' work, but this step is never tried again by itself.
    (other,) = made.submit(lab).experiments
    made.ended(other)
    assert len(witness.starts(attempt)) == 1


@pytest.mark.parametrize("void", [True, False])
def test_killed_between_intent_and_started_the_instrument_decides(start: Start, void: bool) -> None:
    """The witness answers ``start`` late; the agent dies in between: INTENT is in the journal, STARTED is not."""
    made, witness = start("--duration-ms", "1500", "--late-ms", "4000", *([] if void else ["--no-void"]))
    witness.plant("late@start*1")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    site = made.sites["bench"]
    attempt = made.attempt_in(lab, experiment.id, "GRANTED")["attempt"]
    eventually(lambda: witness.starts(attempt), what="the witness moved")
    assert site.states(attempt) == ["RECEIVED", "INTENT"]
    site.agent.kill()
    site.agent.start()
    assert made.ended(experiment).state == "succeeded"
    assert len(witness.starts(attempt)) == 1
    assert len(made.attempts(lab)) == 1


def test_a_start_that_never_arrived_is_voided_and_a_new_attempt_runs(start: Start) -> None:
    """The link drops before the instrument read ``start``: `voided` proves that it did not run and never will."""
    made, witness = start("--duration-ms", "200")
    witness.plant("drop-before-start*1")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    assert made.ended(experiment).state == "succeeded"
    voided, ran = made.attempts(lab)
    assert (voided["state"], ran["state"]) == ("REFUSED", "SUCCEEDED")
    assert [one["attempt"] for one in witness.events("void")] == [voided["attempt"]]
    assert [one["attempt"] for one in witness.starts()] == [ran["attempt"]]


def test_killed_after_intent_with_the_start_unread_void_decides(start: Start) -> None:
    """The agent dies while the instrument is frozen with ``start`` unread on a connection that is gone by then."""
    made, witness = start("--duration-ms", "300")
    lab = made.as_person("rae")
    site = made.sites["bench"]
    os.kill(witness.pid, signal.SIGSTOP)
    try:
        (experiment,) = made.submit(lab).experiments
        attempt = made.attempt_in(lab, experiment.id, "GRANTED")["attempt"]
        eventually(lambda: site.states(attempt) == ["RECEIVED", "INTENT"], what="the intent is in the journal")
        site.agent.kill()
    finally:
        os.kill(witness.pid, signal.SIGCONT)
    site.agent.start()
    assert made.ended(experiment).state == "succeeded"
    # Whether the old start or the void came first is the instrument's to say; either way nothing ran twice.
    tried = made.attempts(lab)
    assert [one["attempt"] for one in witness.starts()] == [tried[-1]["attempt"]]
    assert [one["state"] for one in tried] in (["SUCCEEDED"], ["REFUSED", "SUCCEEDED"])


def test_in_doubt_without_any_memory_is_unknown(start: Start) -> None:
    made, witness = start("--duration-ms", "500", "--no-memory")
    witness.plant("drop-after-start*1")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    assert made.ended(experiment).state == "needs_person"
    assert len(witness.starts()) == 1
    assert lab.statement()["allocations"][0]["held_ms"] > 0


def test_restart_with_only_received_is_a_tombstone_and_a_new_attempt(start: Start) -> None:
    """The second grant waits as RECEIVED behind a run; the agent restarts: it will never start, another one will."""
    made, witness = start("--duration-ms", "2500")
    lab = made.as_person("rae")
    first, second = made.submit(lab, 2).experiments
    site = made.sites["bench"]
    made.attempt_in(lab, first.id, "RUNNING")
    waiting = made.attempt_in(lab, second.id, "GRANTED")["attempt"]
    eventually(lambda: site.states(waiting) == ["RECEIVED"], what="the second grant is in the journal")
    site.agent.kill()
    site.agent.start()
    assert made.ended(second).state == "succeeded"
    assert site.states(waiting) == ["RECEIVED", "TOMBSTONE"]
    assert witness.starts(waiting) == []
    assert [one["state"] for one in made.attempts(lab, second.id)] == ["REFUSED", "SUCCEEDED"]


def test_facility_killed_at_any_moment_loses_and_doubles_nothing(start: Start) -> None:
    made, witness = start("--duration-ms", "150")
    lab = made.as_person("rae")
    study = made.submit(lab, 8)
    for _ in range(3):
        eventually(lambda: any(one["state"] == "RUNNING" for one in made.attempts(lab)), what="something runs")
        made.facility.kill()
        made.start_facility()
    study.wait(90, progress=False)
    assert {one.state for one in study.experiments} == {"succeeded"}
    started = [one["attempt"] for one in witness.starts()]
    assert len(started) == len(set(started)) == 8
    assert len(list(study.records())) == 8


@pytest.mark.parametrize(
    ("fault", "ends"),
    [("garbage@status*2", "succeeded"), ("half-line@start*1", "succeeded"), ("no-phase@status*2", "succeeded")],
)
def test_an_instrument_that_talks_nonsense_hangs_nobody(start: Start, fault: str, ends: str) -> None:
    made, witness = start("--duration-ms", "800", "--no-subscribe")
    witness.plant(fault)
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    assert made.ended(experiment, 60).state == ends
    assert len({one["attempt"] for one in witness.starts()}) == len(witness.starts())


def test_a_result_in_another_unit_fails_and_keeps_its_data(start: Start) -> None:
    made, witness = start("--duration-ms", "100")
    witness.plant("wrong-unit")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    assert made.ended(experiment, 60).state == "failed"
    for record in experiment.records():
        assert record.data["error"]["code"] == "wrong_unit"
        assert "wrong_unit" in record.data["flags"]
        assert b"ft.lbf" in record.download("outputs-as-received.json")
    # The lab's fault each time: tried a bounded number of times, and the project pays for none of them.
    attempts = made.attempts(lab, experiment.id)
    assert {one["state"] for one in attempts} == {"FAILED_RAN"}
    assert len(attempts) == len(witness.starts()) == len(experiment.records())
    allocation = lab.statement()["allocations"][0]
    assert allocation["available_ms"] == allocation["granted_ms"]


def test_instrument_that_dies_in_mid_run_and_remembers_says_that_it_ran(start: Start) -> None:
    made, witness = start("--duration-ms", "5000")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    first = made.attempt_in(lab, experiment.id, "RUNNING")["attempt"]
    witness.restart()
    # The lab's fault, and no sample was used up: the step is granted anew at its old age.
    assert made.ended(experiment).state == "succeeded"
    ran = made.attempts(lab, experiment.id)
    assert [one["state"] for one in ran] == ["FAILED_RAN", "SUCCEEDED"]
    assert ran[0]["attempt"] == first
    assert [one["attempt"] for one in witness.starts()] == [one["attempt"] for one in ran]


def test_cancel_while_waiting_granted_and_running(start: Start) -> None:
    made, witness = start("--duration-ms", "4000")
    lab = made.as_person("rae")
    running, granted, waiting, last = made.submit(lab, 4).experiments
    made.attempt_in(lab, running.id, "RUNNING")
    for one in (last, granted, running):
        one.cancel()
    for one in (last, granted, running):
        assert made.ended(one).state == "cancelled"
    assert made.attempts(lab, running.id)[-1]["state"] == "STOPPED"
    assert len(witness.events("stopped")) == 1
    assert made.ended(waiting).state == "succeeded"
    assert {one["attempt"] for one in witness.starts()} == {
        made.attempts(lab, running.id)[-1]["attempt"],
        made.attempts(lab, waiting.id)[-1]["attempt"],
    }


def test_a_frozen_agent_is_silent_suspect_and_comes_back(start: Start) -> None:
    made, witness = start("--duration-ms", "3000", LABCOMMONS_DELIVERY__LEASE_MS="1500")
    lab = made.as_person("rae")
    (experiment,) = made.submit(lab).experiments
    made.attempt_in(lab, experiment.id, "RUNNING")
    agent = made.sites["bench"].agent
    agent.signal(signal.SIGSTOP)
    try:
        made.attempt_in(lab, experiment.id, "SUSPECT")
        assert lab.statement()["allocations"][0]["held_ms"] > 0
    finally:
        agent.signal(signal.SIGCONT)
    assert made.ended(experiment).state == "succeeded"
    assert len(witness.starts()) == 1
