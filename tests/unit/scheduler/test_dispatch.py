"""Who goes next, and why the others wait: each reason is true, since lifting its constraint lets the step go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.scheduler import dispatch
from labcommons.scheduler.dispatch import AllowRule, Bench, Candidate, Code, WaitingStep, decide
from labcommons.scheduler.explain.lift import World, holds, lift
from labcommons.scheduler.explain.reasons import text
from labcommons.scheduler.steps import StepState
from support.clocks import at

NORTH = Candidate("ins_north", "lab_north", 20_000, 60_000)
SOUTH = Candidate("ins_south", "lab_south", 30_000, 60_000)
PRESS = Bench("ins_north", "lab_north", name="press-n", tokens=(1,))
OTHER = Bench("ins_south", "lab_south", name="press-s", tokens=(4,))


def step(name: str, since: float = 0, project: str = "prj_a", *, role: str = "", **facts: object) -> WaitingStep:
    made = WaitingStep(f"stp_{name}", f"exp_{name}", project, at(since), (NORTH, SOUTH), role=role, protocol="sha256:p")
    return replace(made, **facts)  # type: ignore[arg-type]


def grants(steps: Iterable[WaitingStep], benches: Iterable[Bench], **facts: bool) -> list[tuple[str, str, int]]:
    return [(g.step, g.candidate.instrument, g.token) for g in decide(tuple(steps), tuple(benches), **facts).grants]


def why(steps: Iterable[WaitingStep], benches: Iterable[Bench], **facts: bool) -> dict[str, Code]:
    return {r.step: r.code for r in decide(tuple(steps), tuple(benches), **facts).reasons}


# --- who goes next ----------------------------------------------------------------------------------------------------


def test_by_age_to_the_first_candidate_that_can() -> None:
    steps = [step("3", 9), step("1", 1), step("2", 5, "prj_b")]
    assert grants(steps, [PRESS, OTHER]) == [("stp_1", "ins_north", 1), ("stp_2", "ins_south", 4)]
    assert grants(steps, [OTHER]) == [("stp_1", "ins_south", 4)]


def test_each_token_is_used_once_lowest_first() -> None:
    steps = [step(str(n), n, candidates=(NORTH,)) for n in range(5)]
    assert grants(steps, [replace(PRESS, tokens=(8, 7))]) == [("stp_0", "ins_north", 7), ("stp_1", "ins_north", 8)]


def test_priority_orders_a_projects_own_work_and_takes_nobody_elses_place() -> None:
    steps = [
        step("a1", 1),
        step("b1", 2, "prj_b"),
        step("a2", 3),
        step("b2", 4, "prj_b"),
        step("a3", 5, priority=9),
        step("a4", 6, priority=9),
    ]
    assert [s.step for s in dispatch.order(steps)] == ["stp_a3", "stp_b1", "stp_a4", "stp_b2", "stp_a1", "stp_a2"]


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.integers(-2, 2)), min_size=1, max_size=12))
def test_priority_never_changes_which_project_holds_which_place(rows: list[tuple[int, str, int]]) -> None:
    steps = [step(str(n), since, f"prj_{p}", priority=rank) for n, (since, p, rank) in enumerate(rows)]
    plain = dispatch.order([replace(s, priority=0) for s in steps])
    assert [s.project for s in dispatch.order(steps)] == [s.project for s in plain]
    assert sorted(s.step for s in dispatch.order(steps)) == sorted(s.step for s in steps)


def test_all_steps_of_a_role_run_where_its_first_was_granted() -> None:
    first = step("x1", 1, experiment="exp_x", role="press")
    second = step("x2", 2, experiment="exp_x", role="press")
    third = step("y", 3)
    assert grants([first, second, third], [PRESS, OTHER]) == [
        ("stp_x1", "ins_north", 1),
        ("stp_y", "ins_south", 4),
    ]
    reason = decide([first, second, third], [PRESS, OTHER]).reasons[0]
    assert (reason.step, reason.code, reason.text) == ("stp_x2", Code.AHEAD, "behind 1 of your own on press-n")
    assert grants([replace(second, bound="ins_south")], [PRESS, OTHER]) == [("stp_x2", "ins_south", 4)]


def test_a_step_that_takes_a_sample_runs_where_it_is() -> None:
    assert grants([step("a", lab="lab_south")], [PRESS, OTHER]) == [("stp_a", "ins_south", 4)]


def test_a_struck_candidate_is_passed_over() -> None:
    assert grants([step("a", struck=frozenset({"ins_north"}))], [PRESS, OTHER]) == [("stp_a", "ins_south", 4)]


@pytest.mark.parametrize(
    "facts",
    [
        {"state": StepState.WAITING, "after": ("stp_0",)},
        {"state": StepState.ACTIVE},
        {"state": StepState.DONE},
        {"held": False},
        {"cancel_wished": True},
    ],
)
def test_only_ready_steps_with_their_hold_are_granted(facts: dict[str, object]) -> None:
    assert grants([step("a", **facts)], [PRESS, OTHER]) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (AllowRule("*"), True),
        (AllowRule("sha256:p"), True),
        (AllowRule("sha256:q"), False),
        (AllowRule("compression.*"), True),
        (AllowRule("colour.*"), False),
        (AllowRule("*", frozenset({"prj_a"})), True),
        (AllowRule("*", frozenset({"prj_b"})), False),
    ],
)
def test_what_a_lab_allows_is_checked_before_it_is_asked(rule: AllowRule, allowed: bool) -> None:
    waiting = step("a", protocol_id="compression.test")
    assert bool(grants([waiting], [replace(PRESS, allow=(rule,))])) is allowed


def test_a_pattern_matches_no_document_whose_name_is_unknown() -> None:
    assert why([step("a")], [replace(PRESS, allow=(AllowRule("?*"),))]) == {"stp_a": Code.NOT_ALLOWED}


def test_no_reasons_are_worked_out_unless_asked_for() -> None:
    steps = [step("a", candidates=(NORTH,)), step("b", 1, candidates=(NORTH,))]
    decision = decide(steps, [PRESS], explain=False)
    assert (len(decision.grants), decision.reasons) == (1, ())
    assert [r.step for r in decide(steps, [], explain={"stp_b"}).reasons] == ["stp_b"]


# --- why the others wait ----------------------------------------------------------------------------------------------

A = step("a", 5, candidates=(NORTH,))
LATER = replace(A, state=StepState.WAITING, after=("stp_x", "stp_y"))
CLOSED = AllowRule("*", open=False, opens_at=at(3600))

#: code -> a world in which step a waits for it, and the sentence.
WAITS: dict[str, tuple[World, str]] = {
    "after": (
        World((replace(A, state=StepState.WAITING, after=("stp_x", "stp_y")),), (PRESS,)),
        "waits for stp_x, stp_y",
    ),
    "ahead": (
        World((A, step("B", 1), step("c", 2, "prj_b")), (PRESS,)),
        "behind 2 steps on press-n, 1 of them your own",
    ),
    "busy": (World((A,), (replace(PRESS, tokens=(), state="busy", busy_until=at(40)),)), "press-n is busy"),
    "down": (
        World((A,), (replace(PRESS, tokens=(), state="error", back_at=at(900)),)),
        "press-n is down: it is in error",
    ),
    "local": (World((A,), (replace(PRESS, tokens=(), state="local"),)), "LOCAL mode"),
    "no_token": (World((A,), (replace(PRESS, tokens=()),)), "has not said yet"),
    "not_allowed": (World((A,), (replace(PRESS, allow=(AllowRule("other"),)),)), "allow-list does not cover it"),
    "not_lent": (World((A,), (replace(PRESS, lent=False),)), "is not lent"),
    "calendar": (World((A,), (replace(PRESS, allow=(CLOSED, AllowRule("no"))),)), "its lab's hours"),
    "balance": (World((replace(A, held=False),), (PRESS,)), "no time is held"),
    "quarantined": (World((A,), (replace(PRESS, quarantined=True),)), "journal is in doubt"),
    "barrier": (World((A,), (PRESS,), barrier=True), "reconciling"),
    "needs_person": (World((replace(A, state=StepState.ACTIVE, unknown="att_9"),), (PRESS,)), "att_9 may have run"),
    "cancelling": (World((replace(A, state=StepState.ACTIVE, cancel_wished=True),), (PRESS,)), "being cancelled"),
}

#: More ways into the same codes.
ALSO: dict[str, tuple[World, str]] = {
    "down silent": (World((A,), (replace(PRESS, tokens=(), online=False),)), "its lab does not call"),
    "down unknown": (World((A,), (replace(PRESS, state="unknown"),)), "it is in unknown"),
    "not_allowed struck": (World((replace(A, struck=frozenset({"ins_north"})),), (PRESS,)), "it has refused this step"),
    "quarantined locked": (World((A,), (replace(PRESS, locked="adjudicated att_9"),)), "adjudicated att_9"),
    "busy paused": (World((A,), (replace(PRESS, tokens=(), state="paused"),)), "press-n is busy"),
    "ahead of a token": (World((A, step("B", 1)), (replace(PRESS, tokens=(), state="busy"),)), "behind 1 of your own"),
    "ahead foreign": (World((A, step("b", 1, "prj_b")), (PRESS,)), "behind 1 step on press-n"),
    "needs_person after": (
        World((replace(A, state=StepState.WAITING, after=("stp_x",), unknown="att_9"), step("b", 9)), (PRESS,)),
        "att_9 may have run",
    ),
    "cancelling barrier": (World((replace(A, cancel_wished=True),), (PRESS,), barrier=True), "being cancelled"),
    "down and behind": (World((A, step("B", 1)), (replace(PRESS, tokens=(), online=False),)), "does not call"),
    "after and behind": (
        World((replace(A, state=StepState.WAITING, after=("stp_x",)), step("b", 9), step("c", 1)), (PRESS,)),
        "waits for stp_x to be done",
    ),
}


def reason_for_a(world: World) -> dispatch.Reason:
    return next(r for r in decide(world.steps, world.benches, barrier=world.barrier).reasons if r.step == "stp_a")


@pytest.mark.parametrize("case", [*WAITS, *ALSO])
def test_lifting_the_constraint_lets_the_step_go(case: str) -> None:
    world, sentence = (WAITS | ALSO)[case]
    assert not world.grantable("stp_a")
    reason = reason_for_a(world)
    assert reason.code == case.split()[0]
    assert sentence in reason.text
    assert not any(holds(world, condition, "stp_a") for condition in reason.conditions)
    lifted = lift(world, reason)
    assert lifted.grantable("stp_a")
    assert all(holds(lifted, c, "stp_a") for c in reason.conditions if c.what not in ("allowed", "open"))


@pytest.mark.parametrize("case", [*WAITS, *ALSO])
def test_no_condition_of_an_answer_is_idle(case: str) -> None:
    """Leave any one of them standing, and the step still waits."""
    world, _ = (WAITS | ALSO)[case]
    reason = reason_for_a(world)
    for n in range(len(reason.conditions)):
        rest = replace(reason, conditions=reason.conditions[:n] + reason.conditions[n + 1 :])
        assert not lift(world, rest).grantable("stp_a")


def test_a_case_for_every_code_that_can_occur_now() -> None:
    assert set(WAITS) == {str(c) for c in Code} - {"share", "batch", "approval"}


def test_until_is_told_where_it_is_known() -> None:
    until = {case: reason_for_a(world).until for case, (world, _) in WAITS.items()}
    assert {case: t for case, t in until.items() if t} == {"busy": at(40), "down": at(900), "calendar": at(3600)}


def test_the_constraint_is_plain_json() -> None:
    reason = reason_for_a(WAITS["ahead"][0])
    assert reason.constraint == {"all": [{"of": "stp_a", "what": "ahead", "be": {"on": "ins_north", "at_most": 0}}]}


def test_of_several_candidates_the_one_that_is_nearest_is_named() -> None:
    down = replace(PRESS, online=False, tokens=())
    busy = replace(OTHER, tokens=(), state="busy")
    assert decide([step("a")], [down, busy]).reasons[0].text == "press-s is busy with a run"


def test_a_step_for_which_no_instrument_is_left_says_so() -> None:
    for nobody in (step("a", candidates=()), step("a", bound="ins_gone"), step("a", lab="lab_gone")):
        reason = decide([nobody], [PRESS, OTHER]).reasons[0]
        assert (reason.code, reason.conditions[0].what) == (Code.NOT_ALLOWED, "candidates")
    assert why([step("a")], []) == {"stp_a": Code.NOT_ALLOWED}


def test_what_runs_or_has_ended_has_no_reason() -> None:
    assert why([step("a", state=StepState.ACTIVE), step("b", state=StepState.DONE)], [PRESS]) == {}


def test_three_of_your_own() -> None:
    assert text(Code.AHEAD, name="press-n", ahead=3, own=3) == "behind 3 of your own on press-n"


def whole_role(made: WaitingStep) -> WaitingStep:
    """As compile makes them: what can take one step of a role can take them all."""
    return replace(made, candidates=(NORTH, SOUTH)) if made.role else made


STEPS = st.lists(
    st.builds(
        WaitingStep,
        step=st.uuids().map(lambda u: f"stp_{u}"),
        experiment=st.sampled_from(["exp_1", "exp_2", "exp_3"]),
        project=st.sampled_from(["prj_a", "prj_b"]),
        since=st.integers(0, 9).map(at),
        candidates=st.sampled_from([(NORTH,), (SOUTH,), (NORTH, SOUTH), (SOUTH, NORTH)]),
        role=st.sampled_from(["", "press"]),
        priority=st.integers(0, 2),
        struck=st.sampled_from([frozenset(), frozenset({"ins_north"})]),
    ).map(whole_role),
    max_size=8,
    unique_by=(lambda s: s.step, lambda s: s.since),
)
BENCHES = st.tuples(
    *(
        st.builds(
            replace,
            st.just(bench),
            tokens=st.sampled_from([(), (1,), (1, 2)]),
            online=st.booleans(),
            state=st.sampled_from(["idle", "busy", "error", "local"]),
            quarantined=st.booleans(),
        )
        for bench in (PRESS, OTHER)
    )
)


@given(STEPS, BENCHES)
def test_every_step_is_granted_or_has_a_reason_that_is_true(
    steps: list[WaitingStep], benches: tuple[Bench, ...]
) -> None:
    world = World(tuple(steps), benches)
    decision = decide(world.steps, world.benches)
    used = [(g.candidate.instrument, g.token) for g in decision.grants]
    assert len(set(used)) == len(used)
    assert all(token in next(b.tokens for b in benches if b.instrument == i) for i, token in used)
    assert sorted([g.step for g in decision.grants] + [r.step for r in decision.reasons]) == sorted(
        s.step for s in steps
    )
    where: dict[tuple[str, str], set[str]] = {}
    for grant in decision.grants:
        granted = next(s for s in steps if s.step == grant.step)
        if granted.role:
            where.setdefault((granted.experiment, granted.role), set()).add(grant.candidate.instrument)
    assert all(len(instruments) == 1 for instruments in where.values())
    for reason in decision.reasons:
        assert lift(world, reason).grantable(reason.step)


# --- place ------------------------------------------------------------------------------------------------------------


def test_place_counts_the_ready_steps_ahead_that_share_a_candidate() -> None:
    steps = [
        step("a", 1, candidates=(NORTH,)),
        step("b", 2, candidates=(SOUTH,)),
        step("c", 3),
        step("d", 4, candidates=(NORTH,)),
        step("w", 0, state=StepState.WAITING, after=("stp_a",)),
    ]
    assert dispatch.positions(steps) == {"stp_a": 0, "stp_b": 0, "stp_c": 2, "stp_d": 2}
