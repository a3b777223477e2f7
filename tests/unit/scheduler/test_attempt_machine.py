"""An attempt under any sequence of evidence, time and people: what must hold whatever comes, in whatever order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from labcommons.scheduler import attempts
from labcommons.scheduler import events as ev
from labcommons.scheduler.attempts import LIVE, TERMINAL, TRANSITIONS, AttemptState, InvalidTransition
from labcommons.scheduler.events import Fault, Verdict
from support.clocks import at

S = AttemptState
SOURCES = st.none() | st.tuples(st.sampled_from(["jnl_1", "jnl_2"]), st.integers(1, 9))
OBJECTS = st.frozensets(st.sampled_from(["aa", "bb"]))
REASONS = st.sampled_from(["not_allowed", "restart", "stopped", "busy", "voided"])
DOUBTS = st.sampled_from(["link_lost", "agent_died", "bytes_missing"])
PEOPLE = st.lists(st.sampled_from(["per_kim", "per_olga"]), max_size=2).map(tuple)
T = at(1)

EVIDENCE: st.SearchStrategy[ev.Event] = st.one_of(
    st.builds(ev.Received, st.just(T), SOURCES),
    st.builds(ev.Intended, st.just(T), SOURCES),
    st.builds(ev.Started, st.just(T), SOURCES),
    st.builds(
        ev.ResultRead,
        st.just(T),
        st.sampled_from(["done", "failed", "stopped"]),
        st.none() | st.integers(0, 99),
        OBJECTS,
        OBJECTS,
        st.sampled_from(Fault),
        SOURCES,
        st.booleans(),
    ),
    st.builds(ev.Tombstoned, st.just(T), REASONS, st.booleans(), SOURCES),
    st.builds(ev.Barred, st.just(T), source=SOURCES),
    st.builds(ev.UnknownReported, st.just(T), DOUBTS, SOURCES),
    st.builds(ev.BytesStored, st.just(T), OBJECTS, st.booleans()),
)
TIME: st.SearchStrategy[ev.Event] = st.sampled_from([ev.LeaseLapsed(T), ev.SuspectExpired(T)])
REST: st.SearchStrategy[ev.Event] = st.one_of(
    st.sampled_from([ev.ContactRegained(T), ev.Quarantined(T), ev.BarrierLifted(T), ev.PlannedAnew(T)]),
    st.builds(ev.StopAsked, st.just(T), st.just("per_rae"), st.sampled_from(["safe_point", "now"])),
    st.builds(ev.Adjudicated, st.just(T), st.sampled_from(Verdict), PEOPLE, st.just("seen"), barrier=st.booleans()),
)


class Life(RuleBasedStateMachine):
    """One attempt. ``effects``: all that were ever asked for."""

    @initialize(repeatable=st.booleans(), consumes=st.booleans())
    def born(self, repeatable: bool, consumes: bool) -> None:
        self.attempt, effects = attempts.grant("att_1", "stp_1", at(0), repeatable=repeatable, consumes=consumes)
        self.effects: list[ev.Effect] = list(effects)

    def happen(self, event: ev.Event) -> tuple[ev.Effect, ...]:
        before = self.attempt
        try:
            after, effects = attempts.step(before, event)
        except InvalidTransition:
            return ()
        # Whatever it was, its repetition changes nothing and asks for nothing; a contradiction whose source is not
        # given may sound its alarm again.
        again, repeated = attempts.step(after, event)
        assert again == after
        assert all(isinstance(e, ev.Alarm) and getattr(event, "source", None) is None for e in repeated)
        moves = [e for e in effects if isinstance(e, ev.Audit)]
        assert len(after.history) == len(before.history) + len(moves)
        if before.started:
            assert after.started
            assert after.outcome == before.outcome or before.outcome is None
        if before.state in TERMINAL:
            assert after.state is before.state
        self.attempt = after
        self.effects.extend(effects)
        return effects

    @rule(event=EVIDENCE)
    def evidence(self, event: ev.Event) -> None:
        # Evidence never raises: a node may say what it likes.
        attempts.step(self.attempt, event)
        self.happen(event)

    @rule(event=TIME)
    def time(self, event: ev.Event) -> None:
        before = self.attempt.state
        effects = self.happen(event)
        assert self.attempt.state is before or self.attempt.state in (S.SUSPECT, S.UNKNOWN)
        assert all(isinstance(e, ev.Audit | ev.NeedsPerson | ev.PlanAnewPossible) for e in effects)

    @rule(event=REST)
    def rest(self, event: ev.Event) -> None:
        self.happen(event)

    def asked(self, kind: type[ev.Effect]) -> int:
        return sum(isinstance(e, kind) for e in self.effects)

    @invariant()
    def charged_and_ended_once(self) -> None:
        assert self.asked(ev.ChargeWanted) <= 1
        assert self.asked(ev.AttemptEnded) <= 1
        assert self.asked(ev.RefundWanted) <= self.asked(ev.ChargeWanted)
        assert self.asked(ev.AcknowledgeResult) == self.attempt.stored
        assert self.asked(ev.RecordWanted) <= 1

    @invariant()
    def nothing_is_freed_while_live(self) -> None:
        if self.attempt.state in LIVE and not self.attempt.accounted:
            assert self.asked(ev.AttemptEnded) == 0
            assert self.asked(ev.ChargeWanted) == 0
        if self.attempt.state not in LIVE:
            assert self.asked(ev.AttemptEnded) == 1

    @invariant()
    def story_is_a_path(self) -> None:
        path = [AttemptState(p.after) for p in self.attempt.history]
        assert path[0] is S.GRANTED
        assert path[-1] is self.attempt.state
        assert all(b in TRANSITIONS[a] for a, b in pairwise(path))

    @invariant()
    def outcomes_have_their_evidence(self) -> None:
        if self.attempt.state in (S.SUCCEEDED, S.FAILED_RAN, S.STOPPED, S.RESULT_STORED):
            assert self.attempt.stored
        if self.attempt.state is S.SUPERSEDED:
            assert self.attempt.repeatable
        if self.attempt.state is S.RUNNING:
            assert self.attempt.started


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
TestLife = Life.TestCase
