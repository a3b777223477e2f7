"""The node's decisions, by tables: no clock, no file, no instrument."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcommons.federation.wire import EntryKind, Grant
from labcommons.node.decisions import (
    LEGAL,
    OPEN,
    TOKENS,
    AskNext,
    Close,
    Follow,
    Known,
    Standing,
    Take,
    Tokens,
    answer_stop,
    judge,
    legal,
    overdue,
    questions,
    refused,
    verdict,
)
from labcommons.node.drivers.contract import PHASES, Status

R, I, S, D, U = (  # noqa: E741 - the letters of the journal
    EntryKind.RECEIVED,
    EntryKind.INTENT,
    EntryKind.STARTED,
    EntryKind.RESULT,
    EntryKind.UPLOADED,
)
T, B, X = EntryKind.TOMBSTONE, EntryKind.BARRED, EntryKind.UNKNOWN
ATTEMPT_KINDS = (R, I, S, D, U, T, B, X)
STANDING = Standing("ses_1", 3, frozenset({4, 5}), (3, 10))


def grant(**over: Any) -> Grant:
    document = {
        "attempt": "att_1",
        "experiment": "exp_1",
        "step": "stp_1",
        "project": "prj_1",
        "protocol": "sha256:" + "a" * 64,
        "protocol_id": "colour.mix",
        "instrument": "press",
        "manifest": "0" * 64,
        "action": "crush",
        "arguments": {},
        "expected_ms": 1,
        "maximum_ms": 2,
        "timeout_ms": 3,
        "session": "ses_1",
        "journal": "jnl_1",
        "epoch": 3,
        "fence": 11,
        "token": 4,
        **over,
    }
    return Grant.model_validate(document)


def histories() -> list[tuple[EntryKind, ...]]:
    """All histories that the table allows, up to seven entries."""
    found: list[tuple[EntryKind, ...]] = [()]
    for history in found:
        if len(history) < 7:
            found += [(*history, kind) for kind in ATTEMPT_KINDS if legal(history, kind)]
    return found


ALL = histories()


class TestJournalOfAnAttempt:
    def test_the_straight_path(self) -> None:
        path = (R, I, S, D, U)
        assert all(legal(path[:n], kind) for n, kind in enumerate(path))

    def test_no_start_after_a_tombstone_and_no_tombstone_after_a_start(self) -> None:
        for history in ALL:
            assert not (T in history and S in history[history.index(T) :]), history
            assert not (S in history and T in history[history.index(S) :]), history

    def test_intent_follows_received_at_once_and_never_twice(self) -> None:
        for history in ALL:
            assert history.count(I) <= 1
            if I in history:
                assert history[history.index(I) - 1] is R

    def test_a_result_comes_once_after_a_start_and_nothing_undoes_it(self) -> None:
        for history in ALL:
            assert history.count(D) <= 1
            if D in history:
                assert S in history[: history.index(D)]
                assert set(history[history.index(D) + 1 :]) <= {X, U}

    def test_uploaded_needs_a_result(self) -> None:
        assert all(D in history for history in ALL if U in history)

    def test_ends_are_ends(self) -> None:
        assert {kind for kind, after in LEGAL.items() if not after} == set(ATTEMPT_KINDS) - OPEN

    def test_late_evidence_leaves_unknown(self) -> None:
        assert legal((R, I, X), S)
        assert legal((R, I, S, X), S)
        assert legal((R, I, S, X), D)
        assert legal((R, I, X), T)
        assert not legal((R, I, X), D)
        assert not legal((R, I, S, X), T)


class TestGrants:
    def test_a_good_one_is_taken(self) -> None:
        assert judge(grant(), False, "jnl_1", STANDING) == Take()

    def test_a_known_id_changes_nothing_whatever_else_it_says(self) -> None:
        assert judge(grant(session="other", journal="other"), True, "jnl_1", STANDING) == Known()

    @pytest.mark.parametrize(
        ("over", "kind", "reason"),
        [
            ({"session": "ses_0"}, T, "stale_grant"),
            ({"epoch": 2}, T, "stale_grant"),
            ({"epoch": 4}, T, "stale_grant"),
            ({"token": 3}, T, "stale_grant"),
            ({"fence": 10}, T, "stale_grant"),
            ({"fence": 9}, T, "stale_grant"),
            ({"journal": "jnl_0"}, B, "other_journal"),
            ({"journal": "jnl_0", "session": "ses_0"}, B, "other_journal"),
        ],
    )
    def test_each_name_that_is_not_the_present_one_closes_it(
        self, over: dict[str, Any], kind: EntryKind, reason: str
    ) -> None:
        found = judge(grant(**over), False, "jnl_1", STANDING)
        assert isinstance(found, Close)
        assert (found.kind, found.reason) == (kind, reason)
        assert legal((), found.kind)

    def test_the_fence_is_a_pair(self) -> None:
        standing = Standing("ses_1", 3, frozenset({4}), (2, 99))
        assert judge(grant(fence=1), False, "jnl_1", standing) == Take()

    def test_an_instrument_that_is_not_there(self) -> None:
        found = judge(grant(), False, "jnl_1", None)
        assert isinstance(found, Close)
        assert found.reason == "bad_request"

    def test_of_another_journal_nothing_is_said_whether_the_instrument_is_there_or_not(self) -> None:
        found = judge(grant(journal="jnl_0"), False, "jnl_1", None)
        assert isinstance(found, Close)
        assert (found.kind, found.reason) == (B, "other_journal")

    def test_reasons_come_from_the_closed_list(self) -> None:
        with pytest.raises(ValueError, match="closed list"):
            Close(T, "a mood", "")


class TestTokens:
    @given(st.lists(st.sampled_from(["refill", "consume", "left"]), max_size=60))
    def test_two_at_most_and_never_the_same_again(self, events: list[str]) -> None:
        tokens, received, seen = Tokens(), 0, set[int]()
        for event in events:
            if event == "refill":
                before = tokens.out
                tokens = tokens.refill(received)
                assert not (tokens.out - before) & seen
                seen |= tokens.out
            elif event == "consume" and tokens.out:
                tokens = tokens.consume(min(tokens.out))
                received += 1
            elif event == "left":
                received = max(0, received - 1)
            assert len(tokens.out) + received <= TOKENS

    def test_a_grant_that_could_not_be_journalled_gives_its_token_back(self) -> None:
        tokens = Tokens().refill(0)
        assert tokens.consume(1).restore(1) == tokens


class TestStops:
    @pytest.mark.parametrize(
        ("history", "sent", "answer"),
        [
            ((), False, "tombstone"),
            ((R,), False, "tombstone"),
            ((R, I), False, "tombstone"),
            ((R, I), True, "stop"),
            ((R, I, S), True, "stop"),
            ((R, I, S), False, "stop"),
            ((R, I, X), True, "void"),
            ((R, I, S, X), True, "stop"),
            ((R, I, S, D), True, "nothing"),
            ((R, I, S, D, X), True, "nothing"),
            ((R, I, S, D, U), True, "nothing"),
            ((R, T), False, "nothing"),
            ((B,), False, "nothing"),
        ],
    )
    def test_what_a_stop_asks_for(self, history: tuple[EntryKind, ...], sent: bool, answer: str) -> None:
        assert answer_stop(history, sent) == answer

    def test_a_tombstone_is_never_answered_where_a_start_may_be_out(self) -> None:
        for history in ALL:
            if answer_stop(history, True) == "tombstone":
                assert I not in history


def _answers() -> list[Status | None]:
    return [None, *(Status(phase) for phase in sorted(PHASES))]  # type: ignore[arg-type]


class TestDoubt:
    @pytest.mark.parametrize("can_void", [True, False])
    @pytest.mark.parametrize("remembers", [True, False])
    def test_every_answer_decides_in_the_end_and_within_the_rules(self, can_void: bool, remembers: bool) -> None:
        if can_void and not remembers:
            return  # no such instrument: the contract refuses its description
        open_ones = [h for h in ALL if h and h[-1] in OPEN and D not in h]
        for history, restarted in itertools.product(open_ones, (True, False)):
            words = questions(history, can_void, remembers)
            for status in _answers() if words else [None]:
                found = verdict(history, status, can_void=can_void, remembers=remembers, restarted=restarted, last=True)
                assert not isinstance(found, AskNext)
                if isinstance(found, Close):
                    assert legal(history, found.kind) or (found.kind is X and history[-1] is X)
                    if found.kind is T:
                        # Rule 8: not-run is proved by `voided`, or by never having meant to start.
                        assert (status is not None and status.phase == "voided") or (history[-1] is R and not can_void)
                        assert S not in history
                else:
                    assert status is not None
                    assert status.phase not in ("never_seen", "voided", "cannot_tell")

    def test_void_is_asked_first_where_nothing_started(self) -> None:
        assert questions((R, I), True, True) == ("void",)
        assert questions((R,), True, True) == ("void",)
        assert "void" not in questions((R, I, S), True, True)
        assert questions((R,), False, True) == ()

    def test_never_seen_proves_nothing(self) -> None:
        found = verdict((R, I), Status("never_seen"), can_void=False, remembers=True, restarted=False, last=True)
        assert isinstance(found, Close)
        assert (found.kind, found.reason) == (X, "link_lost")

    def test_what_forgets_is_unknown_after_a_restart_whatever_it_says_now(self) -> None:
        for phase in ("running", "done", "never_seen"):
            found = verdict((R, I, S), Status(phase), can_void=False, remembers=False, restarted=True, last=True)
            assert isinstance(found, Close)
            assert (found.kind, found.reason) == (X, "agent_died")

    def test_the_same_process_may_follow_it_on(self) -> None:
        found = verdict((R, I, S), Status("running"), can_void=False, remembers=False, restarted=False, last=False)
        assert found == Follow(Status("running"))

    def test_what_forgets_is_unknown_when_its_start_got_no_reply(self) -> None:
        for phase in ("running", "done", "never_seen"):
            found = verdict((R, I), Status(phase), can_void=False, remembers=False, restarted=False, last=True)
            assert isinstance(found, Close)
            assert (found.kind, found.reason) == (X, "link_lost")

    def test_a_refused_void_proves_nothing(self) -> None:
        found = verdict((R,), None, can_void=True, remembers=True, restarted=True, last=True)
        assert isinstance(found, Close)
        assert (found.kind, found.reason) == (X, "link_lost")
        found = verdict((R,), None, can_void=False, remembers=True, restarted=True, last=True)
        assert isinstance(found, Close)
        assert (found.kind, found.reason) == (T, "restart")

    def test_voided_of_what_ran_is_a_contradiction(self) -> None:
        found = verdict((R, I, S), Status("voided"), can_void=False, remembers=True, restarted=False, last=True)
        assert isinstance(found, Close)
        assert (found.kind, found.reason) == (X, "garbage")

    def test_refusals_keep_their_word(self) -> None:
        assert refused("out_of_supply", "no dye").reason == "out_of_supply"
        assert refused("a_new_word", "?").reason == "hardware"


class TestTimeLimits:
    @pytest.mark.parametrize(
        ("elapsed", "asks"),
        [(0.0, ""), (9.9, ""), (10.0, "safe_point"), (14.9, "safe_point"), (15.0, "now"), (20.0, "give_up")],
    )
    def test_one_step_after_the_other(self, elapsed: float, asks: str) -> None:
        assert overdue(elapsed, 10.0, 5.0) == asks

    def test_no_limit(self) -> None:
        assert overdue(1e9, 0.0, 5.0) == ""
