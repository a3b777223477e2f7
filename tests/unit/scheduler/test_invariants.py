"""What must be true of the books: sound ones have no fault, and each planted fault is found and named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labcommons.scheduler import attempts, steps
from labcommons.scheduler import events as ev
from labcommons.scheduler.allocation import ledger
from labcommons.scheduler.attempts import Attempt, AttemptState, Passage
from labcommons.scheduler.invariants import ExperimentFacts, HoldFacts, TokenFacts, World, check_world
from labcommons.scheduler.steps import Step, StepState
from support.clocks import at

WHO: dict[str, Any] = {"at": at(0), "actor": "per_sam"}
DONE = ev.ResultRead(at(9), "done", used_ms=400)


def ran(name: str) -> tuple[Attempt, Step]:
    """A step that ran to its end."""
    step, _ = steps.submit(f"stp_{name}", at(0), candidates=["ins_1"])
    step, _ = steps.step(step, steps.AttemptGranted(at(1), f"att_{name}"))
    attempt, _ = attempts.grant(f"att_{name}", step.step, at(1))
    attempt, effects = attempts.step(attempt, DONE)
    ended = next(e for e in effects if isinstance(e, ev.AttemptEnded))
    return attempt, steps.step(step, ended)[0]


def running(name: str) -> tuple[Attempt, Step]:
    step, _ = steps.submit(f"stp_{name}", at(0), candidates=["ins_1"])
    attempt, _ = attempts.grant(f"att_{name}", step.step, at(1))
    attempt, _ = attempts.step(attempt, ev.Started(at(2)))
    return attempt, steps.step(step, steps.AttemptGranted(at(1), f"att_{name}"))[0]


def sound() -> World:
    """One step done and paid for, one running, one refused and queued again."""
    (over, done), (live, active) = ran("1"), running("2")
    kept, opened = ledger.hold("stp_1", "alc_1", "press", 1_000, **WHO)
    _, closing = ledger.close_hold(kept, 400, attempt="att_1", lab="lab_n", **WHO)
    still = [ledger.hold(f"stp_{n}", "alc_1", "press", 1_000, **WHO)[1] for n in (2, 3)]
    waiting, _ = steps.submit("stp_3", at(0))
    refused, _ = attempts.step(attempts.grant("att_3", "stp_3", at(1))[0], ev.Tombstoned(at(2), "busy"))
    return World(
        steps=[done, active, waiting],
        attempts=[over, live, refused],
        experiments=[
            ExperimentFacts("exp_1", "succeeded", ("stp_1",)),
            ExperimentFacts("exp_2", "running", ("stp_2",)),
        ],
        holds=[
            HoldFacts("stp_1", "alc_1", 1_000, open=False, charged_ms=400),
            HoldFacts("stp_2", "alc_1", 1_000, open=True),
            HoldFacts("stp_3", "alc_1", 1_000, open=True),
        ],
        entries=[ledger.grant("alc_1", "press", 9_000, **WHO), opened, *closing, *still],
        tokens=[TokenFacts(f"att_{n}", "ins_1", "ses_1", n, 1, n) for n in (1, 2, 3)],
    )


SOUND = sound()
OVER, LIVE, REFUSED = SOUND.attempts
DONE_STEP, ACTIVE, WAITING = SOUND.steps
H1, H2, H3 = SOUND.holds
A, S = AttemptState, StepState


def with_attempt(attempt: Attempt) -> World:
    return replace(SOUND, attempts=[a for a in SOUND.attempts if a.attempt != attempt.attempt] + [attempt])


def with_step(step: Step) -> World:
    return replace(SOUND, steps=[s for s in SOUND.steps if s.step != step.step] + [step])


FAULTS: dict[str, tuple[World, str]] = {
    "two live": (
        replace(SOUND, attempts=[*SOUND.attempts, replace(LIVE, attempt="att_9")]),
        "step stp_2 has 2 live attempts: att_2, att_9",
    ),
    "two successes": (
        replace(SOUND, attempts=[*SOUND.attempts, replace(OVER, attempt="att_9")]),
        "step stp_1 succeeded 2 times",
    ),
    "refused and started": (with_attempt(replace(REFUSED, started=True)), "was refused and has started"),
    "not durable": (with_attempt(replace(OVER, awaiting=frozenset({"aa"}))), "its result is not durable"),
    "superseded": (with_attempt(replace(REFUSED, state=A.SUPERSEDED, history=())), "is not repeatable"),
    "active and none": (replace(SOUND, attempts=[OVER, REFUSED]), "step stp_2 is ACTIVE with 0 live attempts"),
    "ready and live": (with_step(replace(ACTIVE, state=S.READY, history=())), "stp_2 is READY with 1 live attempts"),
    "wrong name": (
        with_step(replace(ACTIVE, attempt="att_9")),
        "names attempt att_9 as its live one, but that is att_2",
    ),
    "done and none": (replace(SOUND, attempts=[LIVE, REFUSED]), "is DONE, but none of its attempts succeeded"),
    "two open holds": (replace(SOUND, holds=[H1, H2, H3, H3]), "step stp_3 has 2 open holds"),
    "ended and open": (replace(SOUND, holds=[replace(H1, open=True, charged_ms=0), H2, H3]), "stp_1 is DONE, but its"),
    "live and closed": (replace(SOUND, holds=[H1, replace(H2, open=False), H3]), "live attempt, but no open hold"),
    "open and charged": (replace(SOUND, holds=[H1, replace(H2, charged_ms=5), H3]), "is open and charged 5 ms"),
    "overcharged": (replace(SOUND, holds=[replace(H1, charged_ms=1_001), H2, H3]), "is closed and charged 1001 ms"),
    "books differ": (replace(SOUND, entries=SOUND.entries[:-1]), "but the open holds come to 2000 ms"),
    "wrong fold": (
        replace(SOUND, experiments=[ExperimentFacts("exp_2", "waiting", ("stp_2",))]),
        "exp_2 is stored as waiting, but its steps fold to running",
    ),
    "a token twice": (
        replace(
            SOUND,
            tokens=[TokenFacts("att_1", "ins_1", "ses_1", 1, 1, 1), TokenFacts("att_2", "ins_1", "ses_1", 1, 1, 2)],
        ),
        "attempts att_1 and att_2 share token 1 of ins_1 in session ses_1",
    ),
    "a fence twice": (
        replace(
            SOUND,
            tokens=[TokenFacts("att_1", "ins_1", "ses_1", 1, 1, 7), TokenFacts("att_2", "ins_1", "ses_1", 2, 1, 7)],
        ),
        "share fence 1 7 of ins_1",
    ),
    "a jump": (
        with_attempt(
            replace(LIVE, history=(Passage(at(0), None, "REFUSED", "x"), Passage(at(1), "REFUSED", "RUNNING", "x")))
        ),
        "attempt att_2 went from REFUSED to RUNNING",
    ),
    "another end": (with_attempt(replace(LIVE, history=LIVE.history[:1])), "is RUNNING, but its story ends GRANTED"),
    "a step's jump": (
        with_step(
            replace(DONE_STEP, history=(Passage(at(0), None, "WAITING", "x"), Passage(at(1), "WAITING", "DONE", "x")))
        ),
        "step stp_1 went from WAITING to DONE",
    ),
    "a step's other end": (
        with_step(replace(WAITING, history=WAITING.history[:1])),
        "is READY, but its story ends WAITING",
    ),
    "the ledger's own": (replace(SOUND, entries=[*SOUND.entries, SOUND.entries[0]]), "stands in the books 2 times"),
}


def test_sound_books_have_no_fault() -> None:
    assert check_world(SOUND) == []
    assert check_world(World()) == []
    assert check_world(World(steps=[DONE_STEP], attempts=[OVER])) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    world, words = FAULTS[fault]
    found = check_world(world)
    assert [sentence for sentence in found if words in sentence], found


def test_a_late_result_on_its_way_is_no_second_live_attempt() -> None:
    late = replace(OVER, attempt="att_9", state=A.RESULT_STORED, accounted=True, history=())
    assert check_world(replace(SOUND, attempts=[*SOUND.attempts, late])) == []
