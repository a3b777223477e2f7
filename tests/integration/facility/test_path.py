"""One experiment from submit to charge, by hand-made messages of a node."""

from __future__ import annotations

from labcommons.facility.services.run import records
from labcommons.facility.services.run.ark import is_sound
from support.bench import Books, Member, NodeDouble


def test_an_experiment_is_submitted_granted_run_recorded_and_charged(
    books: Books, pia: Member, north: NodeDouble
) -> None:
    [experiment] = pia.submit(label="first").experiments
    waiting = books.experiment(experiment)
    assert (waiting["state"], waiting["place"], waiting["steps"][0]["state"]) == ("waiting", 1, "READY")
    assert waiting["eta"] is not None
    assert books.dispatch() == 1

    [grant] = north.grants()
    assert (grant.instrument, grant.action, grant.expected_ms, grant.token) == ("press", "crush", 60_000, 1)
    assert grant.arguments["theta"] == {"value": "40", "unit": "deg"}
    assert (grant.session, grant.journal, grant.fence) == (north.session, north.journal, 1)

    north.begin(grant)
    north.report()
    running = books.experiment(experiment)
    assert (running["state"], running["steps"][0]["attempts"][0]["state"]) == ("running", "RUNNING")

    books.clock.pass_ms(1000)
    north.finish(grant.attempt, used_ms=900)
    answer = north.report()
    assert answer.stored == [grant.attempt]
    done = books.experiment(experiment)
    assert (done["state"], done["steps"][0]["state"]) == ("succeeded", "DONE")
    # 900 ms of wall time at sixty-fold is 54 s of lab time, below the hold of 120 s.
    assert done["steps"][0]["charged_ms"] == 54_000

    with books.work.read() as uow:
        [record] = records.present_all(uow, uow.run.records.find())
        [allocation] = uow.office.allocations.find()
    assert record["outputs"] == {"toughness": {"value": "12.5", "unit": "J", "u": "0.4"}}
    assert (record["calibration"], record["simulated"], record["label"]) == ("cal-1", True, "first")
    assert is_sound(record["ark"])
    assert record["ark"] in record["cite"]
    assert books.balance(allocation.id) == (3_600_000 - 54_000, 0)


def test_stored_is_said_until_the_node_says_uploaded(books: Books, pia: Member, north: NodeDouble) -> None:
    pia.submit()
    books.dispatch()
    [grant] = north.grants()
    north.begin(grant)
    north.finish(grant.attempt)
    lost = north.deliver(north.report_call())
    assert lost.stored == [grant.attempt]
    repeated = north.report()
    assert repeated.stored == [grant.attempt]
    assert north.report().stored == []
