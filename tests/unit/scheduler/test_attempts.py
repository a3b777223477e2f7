"""The attempt's table of transitions, arrow by arrow, and what each piece of evidence may and may not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labcommons.scheduler import attempts
from labcommons.scheduler import events as ev
from labcommons.scheduler.attempts import ENDED, LIVE, TERMINAL, TRANSITIONS, Attempt, AttemptState, InvalidTransition
from labcommons.scheduler.events import Fault, Verdict
from support.clocks import at

S = AttemptState

#: delivery.md, "Attempt, on the platform", line by line.
DESIGN = {
    ("GRANTED", "RUNNING"),
    ("RUNNING", "RESULT_STORED"),
    ("RESULT_STORED", "SUCCEEDED"),
    ("RESULT_STORED", "FAILED_RAN"),
    ("GRANTED", "REFUSED"),
    ("RUNNING", "STOPPED"),
    ("GRANTED", "SUSPECT"),
    ("RUNNING", "SUSPECT"),
    ("GRANTED", "UNKNOWN"),
    ("RUNNING", "UNKNOWN"),
    ("SUSPECT", "UNKNOWN"),
    ("SUSPECT", "RUNNING"),
    ("SUSPECT", "RESULT_STORED"),
    ("SUSPECT", "REFUSED"),
    ("SUSPECT", "STOPPED"),
    ("UNKNOWN", "RUNNING"),
    ("UNKNOWN", "RESULT_STORED"),
    ("UNKNOWN", "STOPPED"),
    ("UNKNOWN", "REFUSED"),
    ("UNKNOWN", "ADJUDICATED_RAN"),
    ("UNKNOWN", "ADJUDICATED_NOT_RUN"),
    ("ADJUDICATED_RAN", "RESULT_STORED"),
    ("ADJUDICATED_RAN", "STOPPED"),
    ("UNKNOWN", "SUPERSEDED"),
}

DONE = ev.ResultRead(at(9), "done", used_ms=1_000)
FAILED = ev.ResultRead(at(9), "failed", used_ms=1_000)
STOPPED = ev.ResultRead(at(9), "stopped", used_ms=400)
PENDING = ev.ResultRead(at(9), "done", used_ms=1_000, objects=frozenset({"aa", "bb"}), durable=frozenset({"aa"}))
BYTES = ev.BytesStored(at(10), frozenset({"bb", "cc"}))
RAN = ev.Adjudicated(at(20), Verdict.RAN, ("per_kim",), "seen in the log")
NOT_RUN = ev.Adjudicated(at(20), Verdict.NOT_RUN, ("per_kim", "per_olga"), "the clamp is empty")


def born(*, repeatable: bool = False, consumes: bool = False) -> Attempt:
    made, effects = attempts.grant("att_1", "stp_1", at(0), repeatable=repeatable, consumes=consumes)
    assert effects == (ev.Audit(at(0), "att_1", None, "GRANTED", "granted"),)
    return made


def after(*happenings: ev.Event, **facts: bool) -> Attempt:
    attempt = born(**facts)
    for event in happenings:
        attempt, _ = attempts.step(attempt, event)
    return attempt


def kinds(effects: tuple[ev.Effect, ...]) -> list[str]:
    return [type(e).__name__ for e in effects]


STARTED = ev.Started(at(2))
LAPSE = ev.LeaseLapsed(at(60))
EXPIRY = ev.SuspectExpired(at(660))
TOMBSTONE = ev.Tombstoned(at(3), "restart")

#: A way to each state.
WAYS: dict[AttemptState, tuple[tuple[ev.Event, ...], dict[str, bool]]] = {
    S.GRANTED: ((), {}),
    S.RUNNING: ((STARTED,), {}),
    S.SUSPECT: ((LAPSE,), {}),
    S.UNKNOWN: ((LAPSE, EXPIRY), {}),
    S.REFUSED: ((TOMBSTONE,), {}),
    S.RESULT_STORED: ((STARTED, replace(DONE, barrier=True)), {}),
    S.SUCCEEDED: ((STARTED, DONE), {}),
    S.FAILED_RAN: ((STARTED, FAILED), {}),
    S.STOPPED: ((STARTED, STOPPED), {}),
    S.ADJUDICATED_RAN: ((LAPSE, EXPIRY, RAN), {}),
    S.ADJUDICATED_NOT_RUN: ((LAPSE, EXPIRY, NOT_RUN), {}),
    S.SUPERSEDED: ((LAPSE, ev.PlannedAnew(at(61))), {"repeatable": True}),
}


def in_state(state: AttemptState) -> Attempt:
    happenings, facts = WAYS[state]
    attempt = after(*happenings, **facts)
    assert attempt.state is state
    return attempt


def test_the_table_is_the_designs_arrow_by_arrow() -> None:
    assert {(a.value, b.value) for a, targets in TRANSITIONS.items() for b in targets} == DESIGN
    assert set(TRANSITIONS) == set(AttemptState)


def test_live_and_ended_part_the_states() -> None:
    assert {S.GRANTED, S.RUNNING, S.SUSPECT, S.UNKNOWN, S.RESULT_STORED} == LIVE
    assert set(AttemptState) - LIVE == ENDED
    assert ENDED - {S.ADJUDICATED_RAN} == TERMINAL


# Every arrow of the table is taken by an event, and only those are taken.
ARROWS = [
    (S.GRANTED, STARTED, S.RUNNING),
    (S.GRANTED, TOMBSTONE, S.REFUSED),
    (S.GRANTED, LAPSE, S.SUSPECT),
    (S.GRANTED, ev.UnknownReported(at(3), "agent_died"), S.UNKNOWN),
    (S.GRANTED, ev.Barred(at(3)), S.UNKNOWN),
    (S.GRANTED, ev.Quarantined(at(3)), S.UNKNOWN),
    (S.GRANTED, ev.Received(at(1)), S.GRANTED),
    (S.GRANTED, ev.Intended(at(1)), S.GRANTED),
    (S.GRANTED, PENDING, S.RUNNING),
    (S.RUNNING, replace(DONE, barrier=True), S.RESULT_STORED),
    (S.RUNNING, STOPPED, S.STOPPED),
    (S.RUNNING, PENDING, S.RUNNING),
    (S.RUNNING, LAPSE, S.SUSPECT),
    (S.RUNNING, ev.UnknownReported(at(3), "link_lost"), S.UNKNOWN),
    (S.RUNNING, ev.Quarantined(at(3)), S.UNKNOWN),
    (S.RUNNING, ev.Barred(at(3)), S.RUNNING),
    (S.RUNNING, TOMBSTONE, S.RUNNING),
    (S.RESULT_STORED, ev.BarrierLifted(at(30)), S.SUCCEEDED),
    (S.RESULT_STORED, ev.Quarantined(at(30)), S.RESULT_STORED),
    (S.SUSPECT, STARTED, S.RUNNING),
    (S.SUSPECT, PENDING, S.RUNNING),
    (S.SUSPECT, replace(DONE, barrier=True), S.RESULT_STORED),
    (S.SUSPECT, TOMBSTONE, S.REFUSED),
    (S.SUSPECT, STOPPED, S.STOPPED),
    (S.SUSPECT, EXPIRY, S.UNKNOWN),
    (S.SUSPECT, ev.UnknownReported(at(70), "agent_died"), S.UNKNOWN),
    (S.SUSPECT, ev.Barred(at(70)), S.UNKNOWN),
    (S.SUSPECT, ev.Received(at(70)), S.SUSPECT),
    (S.SUSPECT, ev.ContactRegained(at(70)), S.SUSPECT),
    (S.UNKNOWN, STARTED, S.RUNNING),
    (S.UNKNOWN, PENDING, S.RUNNING),
    (S.UNKNOWN, replace(DONE, barrier=True), S.RESULT_STORED),
    (S.UNKNOWN, STOPPED, S.STOPPED),
    (S.UNKNOWN, TOMBSTONE, S.REFUSED),
    (S.UNKNOWN, RAN, S.ADJUDICATED_RAN),
    (S.UNKNOWN, NOT_RUN, S.ADJUDICATED_NOT_RUN),
    (S.UNKNOWN, ev.ContactRegained(at(700)), S.UNKNOWN),
    (S.ADJUDICATED_RAN, replace(DONE, barrier=True), S.RESULT_STORED),
    (S.ADJUDICATED_RAN, STOPPED, S.STOPPED),
    (S.ADJUDICATED_RAN, PENDING, S.ADJUDICATED_RAN),
    (S.ADJUDICATED_RAN, STARTED, S.ADJUDICATED_RAN),
]


@pytest.mark.parametrize(("state", "event", "target"), ARROWS, ids=lambda v: v if isinstance(v, str) else None)
def test_where_each_event_leads(state: AttemptState, event: ev.Event, target: AttemptState) -> None:
    attempt, _ = attempts.step(in_state(state), event)
    assert attempt.state is target


def test_every_arrow_of_the_table_is_walked_by_the_tests_above() -> None:
    walked = {(s.value, t.value) for s, _, t in ARROWS if s is not t}
    walked |= {("RESULT_STORED", "FAILED_RAN"), ("UNKNOWN", "SUPERSEDED")}  # the next two tests
    assert walked == DESIGN


def test_a_failed_result_ends_as_failed_ran() -> None:
    assert [p.after for p in in_state(S.FAILED_RAN).history][-2:] == ["RESULT_STORED", "FAILED_RAN"]


def test_a_repeatable_one_in_doubt_is_superseded_once() -> None:
    superseded = in_state(S.SUPERSEDED)
    assert [p.after for p in superseded.history] == ["GRANTED", "UNKNOWN", "SUPERSEDED"]
    assert attempts.step(superseded, ev.PlannedAnew(at(99))) == (superseded, ())


# --- time alone never frees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(AttemptState))
@pytest.mark.parametrize("event", [LAPSE, EXPIRY], ids=["lapse", "expiry"])
def test_time_leads_to_suspect_and_unknown_and_asks_for_nothing(state: AttemptState, event: ev.Event) -> None:
    attempt = in_state(state)
    try:
        moved, effects = attempts.step(attempt, event)
    except InvalidTransition:
        assert state not in (S.UNKNOWN, S.SUSPECT)
        return
    assert moved.state in (S.SUSPECT, S.UNKNOWN)
    assert set(kinds(effects)) <= {"Audit", "NeedsPerson", "PlanAnewPossible"}


def test_a_lapse_puts_a_repeatable_one_in_doubt_at_once() -> None:
    attempt, effects = attempts.step(born(repeatable=True), LAPSE)
    assert attempt.state is S.UNKNOWN
    assert kinds(effects) == ["Audit", "PlanAnewPossible"]


def test_a_lapse_after_the_result_of_a_repeatable_one_only_suspects() -> None:
    attempt = after(STARTED, PENDING, repeatable=True)
    attempt, effects = attempts.step(attempt, LAPSE)
    assert attempt.state is S.SUSPECT
    attempt, effects = attempts.step(attempt, EXPIRY)
    assert kinds(effects) == ["Audit", "NeedsPerson"]
    with pytest.raises(InvalidTransition, match="RESULT was read"):
        attempts.step(attempt, ev.PlannedAnew(at(700)))


def test_a_person_is_called_for_what_is_not_repeatable() -> None:
    _, effects = attempts.step(in_state(S.SUSPECT), EXPIRY)
    assert effects[1:] == (ev.NeedsPerson("att_1", "silent"),)


def test_contact_takes_back_what_silence_alone_had_put_in_doubt() -> None:
    running = after(STARTED, LAPSE)
    assert attempts.step(running, ev.ContactRegained(at(70)))[0].state is S.RUNNING
    doubted = after(STARTED, LAPSE, EXPIRY)
    assert attempts.step(doubted, ev.ContactRegained(at(700)))[0].state is S.RUNNING


@pytest.mark.parametrize("doubt", [ev.Quarantined(at(5)), ev.UnknownReported(at(5), "link_lost")], ids=["q", "u"])
def test_contact_takes_back_no_other_doubt(doubt: ev.Event) -> None:
    for attempt in (after(STARTED, doubt), after(STARTED, LAPSE, EXPIRY, doubt)):
        assert attempts.step(attempt, ev.ContactRegained(at(700))) == (attempt, ())


# --- positive evidence ------------------------------------------------------------------------------------------


def test_a_tombstone_never_overrides_a_start() -> None:
    for attempt in (after(STARTED), after(STARTED, LAPSE), after(STARTED, LAPSE, EXPIRY), after(STARTED, PENDING)):
        moved, effects = attempts.step(attempt, TOMBSTONE)
        assert moved.state is attempt.state
        assert [(type(e), e.code) for e in effects if isinstance(e, ev.Alarm)] == [(ev.Alarm, "tombstone_after_start")]


def test_a_tombstone_from_a_broken_chain_proves_nothing() -> None:
    attempt, effects = attempts.step(in_state(S.UNKNOWN), replace(TOMBSTONE, unbroken=False))
    assert attempt.state is S.UNKNOWN
    assert isinstance(effects[0], ev.Alarm)
    assert effects[0].code == "broken_chain"


def test_a_tombstone_against_peoples_word_that_it_ran_changes_nothing() -> None:
    attempt, effects = attempts.step(in_state(S.ADJUDICATED_RAN), TOMBSTONE)
    assert attempt.state is S.ADJUDICATED_RAN
    assert kinds(effects) == ["Alarm"]


@pytest.mark.parametrize("state", [S.REFUSED, S.ADJUDICATED_NOT_RUN])
def test_a_start_after_all_raises_the_alarm_once_and_its_data_are_kept(state: AttemptState) -> None:
    attempt, effects = attempts.step(in_state(state), STARTED)
    assert (attempt.state, kinds(effects)) == (state, ["Alarm"])
    assert attempts.step(attempt, STARTED) == (attempt, ())
    attempt, effects = attempts.step(attempt, DONE)
    assert (attempt.state, kinds(effects)) == (state, ["AcknowledgeResult", "RecordWanted"])
    assert effects[1] == ev.RecordWanted("att_1", late=True)
    assert attempts.step(attempt, DONE) == (attempt, ())
    assert attempts.step(attempt, ev.BarrierLifted(at(40))) == (attempt, ())


def test_a_result_of_a_refused_one_raises_the_alarm() -> None:
    attempt, effects = attempts.step(in_state(S.REFUSED), PENDING)
    assert (attempt.state, kinds(effects)) == (S.REFUSED, ["Alarm"])
    attempt, effects = attempts.step(attempt, BYTES)
    assert kinds(effects) == ["AcknowledgeResult", "RecordWanted"]


def test_the_late_result_of_a_superseded_one_is_kept_and_charges_nothing() -> None:
    attempt, effects = attempts.step(in_state(S.SUPERSEDED), DONE)
    assert attempt.state is S.SUPERSEDED
    assert effects == (ev.AcknowledgeResult("att_1"), ev.RecordWanted("att_1", late=True))


def test_a_result_makes_its_outcome_only_when_its_bytes_are_durable() -> None:
    attempt, effects = attempts.step(in_state(S.RUNNING), PENDING)
    assert (attempt.state, effects, attempt.stored) == (S.RUNNING, (), False)
    assert attempts.step(attempt, ev.BytesStored(at(10), frozenset({"zz"}))) == (attempt, ())
    attempt, effects = attempts.step(attempt, BYTES)
    assert (attempt.state, attempt.stored) == (S.SUCCEEDED, True)
    assert kinds(effects) == ["AcknowledgeResult", "Audit", "Audit", "RecordWanted", "ChargeWanted", "AttemptEnded"]
    assert attempts.step(attempt, BYTES) == (attempt, ())


def test_bytes_that_are_lost_leave_the_result_and_only_ran_can_end_it() -> None:
    attempt, effects = attempts.step(after(STARTED, PENDING), ev.UnknownReported(at(30), "bytes_missing"))
    assert (attempt.state, kinds(effects)) == (S.UNKNOWN, ["Audit", "NeedsPerson"])
    assert attempts.adjudication_refusal(attempt, Verdict.NOT_RUN, ("per_kim", "per_olga")) is not None
    ended, effects = attempts.step(attempt, RAN)
    assert ev.ChargeWanted("att_1", 1_000) in effects
    assert ended.state is S.ADJUDICATED_RAN


def test_another_doubt_does_not_undo_a_result_that_was_read() -> None:
    attempt = after(STARTED, PENDING)
    assert attempts.step(attempt, ev.UnknownReported(at(30), "link_lost")) == (attempt, ())


def test_a_second_result_that_differs_raises_the_alarm_and_the_first_counts() -> None:
    attempt, effects = attempts.step(in_state(S.SUCCEEDED), FAILED)
    assert (attempt.outcome, attempt.state, kinds(effects)) == ("done", S.SUCCEEDED, ["Alarm"])


@pytest.mark.parametrize(
    ("error", "flags", "outcome", "fault"),
    [
        ("hardware", (), "failed", Fault.LAB),
        ("timeout", (), "failed", Fault.NONE),
        (None, (), "done", Fault.NONE),
        (None, ("marked_bad",), "done", Fault.LAB),
        ("hardware", ("marked_bad",), "stopped", Fault.NONE),
    ],
)
def test_whose_fault_it_is(error: str | None, flags: tuple[str, ...], outcome: str, fault: Fault) -> None:
    assert ev.fault_of(outcome, error, flags) is fault


def test_a_fault_is_refunded_in_full_at_its_cost() -> None:
    attempt, effects = attempts.step(in_state(S.RUNNING), replace(FAILED, fault=Fault.FACILITY))
    assert attempt.state is S.FAILED_RAN
    assert effects[-2:] == (
        ev.RefundWanted("att_1", 100, Fault.FACILITY),
        ev.AttemptEnded(at(9), "att_1", S.FAILED_RAN, Fault.FACILITY, consumed=False),
    )


def test_data_that_the_lab_marks_bad_are_a_failed_run() -> None:
    assert attempts.step(in_state(S.RUNNING), replace(DONE, fault=Fault.LAB))[0].state is S.FAILED_RAN


def test_the_restore_barrier_holds_a_stopped_result_back() -> None:
    attempt, effects = attempts.step(in_state(S.RUNNING), replace(STOPPED, barrier=True))
    assert (attempt.state, kinds(effects)) == (S.RUNNING, ["AcknowledgeResult"])
    attempt, effects = attempts.step(attempt, ev.BarrierLifted(at(50)))
    assert attempt.state is S.STOPPED
    assert ev.ChargeWanted("att_1", 400) in effects
    assert attempts.step(after(STARTED, PENDING), ev.BarrierLifted(at(50)))[1] == ()


# --- repetition and order ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(AttemptState))
@pytest.mark.parametrize(
    "event",
    [
        ev.Received(at(1), source=("jnl_1", 1)),
        ev.Intended(at(1), source=("jnl_1", 2)),
        ev.Started(at(2), source=("jnl_1", 3)),
        ev.ResultRead(at(9), "done", source=("jnl_1", 4)),
        ev.ResultRead(at(9), "stopped", source=("jnl_1", 4)),
        ev.Tombstoned(at(3), "stopped", source=("jnl_1", 5)),
        ev.Barred(at(3), source=("jnl_2", 1)),
        ev.UnknownReported(at(3), "garbage", source=("jnl_1", 6)),
        BYTES,
        ev.Quarantined(at(3)),
        ev.ContactRegained(at(3)),
        ev.BarrierLifted(at(3)),
        ev.StopAsked(at(3), "per_kim"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_repetition_changes_nothing_in_any_state(state: AttemptState, event: ev.Event) -> None:
    once, _ = attempts.step(in_state(state), event)
    assert attempts.step(once, event) == (once, ())


def test_a_start_read_behind_the_doubt_it_came_before_is_a_fact_and_no_news() -> None:
    attempt = after(ev.UnknownReported(at(5), "agent_died", source=("jnl_1", 7)))
    attempt, effects = attempts.step(attempt, ev.Started(at(6), source=("jnl_1", 6)))
    assert (attempt.state, attempt.started, effects) == (S.UNKNOWN, True, ())
    other = after(ev.UnknownReported(at(5), "agent_died", source=("jnl_1", 7)))
    assert attempts.step(other, ev.Started(at(6), source=("jnl_2", 1)))[0].state is S.RUNNING


# --- people ----------------------------------------------------------------------------------------------------


def test_a_stop_is_sent_once_and_now_outdoes_the_safe_point() -> None:
    attempt, effects = attempts.step(in_state(S.RUNNING), ev.StopAsked(at(4), "per_rae"))
    assert effects == (ev.SendStop("att_1", "safe_point"),)
    assert attempts.stop_due(attempt) == "safe_point"
    attempt, effects = attempts.step(attempt, ev.StopAsked(at(5), "per_rae", "now"))
    assert effects == (ev.SendStop("att_1", "now"),)
    assert attempts.step(attempt, ev.StopAsked(at(6), "per_rae", "safe_point")) == (attempt, ())
    attempt, _ = attempts.step(attempt, STOPPED)
    assert attempts.stop_due(attempt) is None


def test_a_stop_of_what_has_ended_is_moot() -> None:
    attempt = in_state(S.SUCCEEDED)
    assert attempts.step(attempt, ev.StopAsked(at(30), "per_rae")) == (attempt, ())


def test_ran_without_data_is_charged_and_refunded_at_once_and_never_again() -> None:
    attempt, effects = attempts.step(in_state(S.UNKNOWN), RAN)
    assert kinds(effects) == ["Audit", "ChargeWanted", "RefundWanted", "AttemptEnded"]
    late, effects = attempts.step(attempt, DONE)
    assert late.state is S.SUCCEEDED
    assert kinds(effects) == ["AcknowledgeResult", "Audit", "Audit", "RecordWanted"]
    assert ev.RecordWanted("att_1", late=True) in effects
    assert attempts.step(attempt, RAN) == (attempt, ())


def test_not_run_locks_the_bench_until_the_node_says_so_too() -> None:
    attempt, effects = attempts.step(in_state(S.UNKNOWN), NOT_RUN)
    assert kinds(effects) == ["Audit", "LockOutBench", "AttemptEnded"]
    for word in (TOMBSTONE, ev.Barred(at(30))):
        closed, effects = attempts.step(attempt, word)
        assert (closed.state, effects) == (S.ADJUDICATED_NOT_RUN, (ev.LiftLockOut("att_1"),))


def test_not_run_after_the_node_barred_it_locks_nothing() -> None:
    _, effects = attempts.step(after(ev.Barred(at(3))), NOT_RUN)
    assert kinds(effects) == ["Audit", "AttemptEnded"]


@pytest.mark.parametrize(
    ("attempt", "event", "words"),
    [
        (after(STARTED), RAN, "only an UNKNOWN one"),
        (in_state(S.UNKNOWN), replace(RAN, people=()), "nobody has signed"),
        (in_state(S.UNKNOWN), replace(RAN, barrier=True), "reconciling"),
        (after(STARTED, LAPSE, EXPIRY), NOT_RUN, "proved that it started"),
        (
            after(LAPSE, EXPIRY, consumes=True),
            replace(NOT_RUN, people=("per_kim", "per_kim")),
            "two different people",
        ),
    ],
)
def test_what_people_cannot_say(attempt: Attempt, event: ev.Adjudicated, words: str) -> None:
    with pytest.raises(InvalidTransition, match=words):
        attempts.step(attempt, event)
    refusal = attempts.adjudication_refusal(attempt, event.verdict, event.people, barrier=event.barrier)
    assert refusal is not None
    assert words in refusal


def test_two_different_people_can_say_that_a_sample_was_not_used() -> None:
    assert attempts.step(after(LAPSE, EXPIRY, consumes=True), NOT_RUN)[0].state is S.ADJUDICATED_NOT_RUN


def test_a_strike_only_for_refusals_that_would_be_repeated() -> None:
    for reason in ("not_allowed", "bad_request", "unsupported", "out_of_range"):
        _, effects = attempts.step(born(), ev.Tombstoned(at(1), reason))
        assert effects[1:] == (
            ev.StrikeCandidate("att_1", reason),
            ev.AttemptEnded(at(1), "att_1", S.REFUSED),
        )
    for reason in ("busy", "not_ready", "restart", "stopped", "unlisted"):
        _, effects = attempts.step(born(), ev.Tombstoned(at(1), reason))
        assert kinds(effects) == ["Audit", "AttemptEnded"]


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (S.SUCCEEDED, LAPSE),
        (S.RUNNING, EXPIRY),
        (S.RUNNING, ev.PlannedAnew(at(5))),
        (S.SUCCEEDED, RAN),
    ],
)
def test_an_illegal_event_raises_with_the_whole_story(state: AttemptState, event: ev.Event) -> None:
    attempt = in_state(state)
    with pytest.raises(InvalidTransition) as caught:
        attempts.step(attempt, event)
    message = str(caught.value)
    assert "att_1" in message
    assert "stp_1" in message
    for passage in attempt.history:
        assert f"{passage.before or 'born'} -> {passage.after} ({passage.cause})" in message


def test_planned_anew_from_running_is_no_arrow() -> None:
    with pytest.raises(InvalidTransition, match="RUNNING -> SUPERSEDED"):
        attempts.step(after(STARTED, repeatable=True), ev.PlannedAnew(at(5)))


def test_an_attempt_without_its_story_says_so() -> None:
    with pytest.raises(InvalidTransition, match="Its story: none"):
        attempts.step(Attempt("att_1", "stp_1", S.REFUSED), LAPSE)
