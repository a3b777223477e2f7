"""Once on the instrument: the real agent, a facility that repeats itself, and the witness's own log as the truth."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from integration.node.fake import FakeFacility, Lab, until
from witness.fixtures import WitnessProcess

pytestmark = [pytest.mark.slow]

Running = Callable[..., tuple[WitnessProcess, Lab]]
DONE = ["RECEIVED", "INTENT", "STARTED", "RESULT", "UPLOADED"]


async def test_a_grant_runs_once_and_its_result_arrives_with_its_bytes(fake: FakeFacility, running: Running) -> None:
    witness, lab = running("--calibration", "cal-1")
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    result = fake.detail(attempt, "RESULT")
    assert result["outcome"] == "done"
    assert result["outputs"]["toughness"]["unit"] == "J"
    assert result["calibration"] == "cal-1"
    assert 150 <= result["used_ms"] <= 5_000
    (ref,) = result["objects"]
    assert hashlib.sha256(fake.objects[ref["sha256"]]).hexdigest() == ref["sha256"]
    assert len(witness.starts()) == 1
    await until(lambda: witness.ask(op="status", attempt=attempt).get("result") is None)
    assert lab.end() == 0
    assert [e.kind.value for e in fake.entries[:1]] == ["SESSION"]


async def test_the_same_grant_again_and_again_starts_once(fake: FakeFacility, running: Running) -> None:
    witness, _ = running()
    attempt = await fake.grant()
    again = dict(fake.grants[attempt])
    await until(lambda: fake.kinds(attempt) == DONE)
    answer = fake.answer
    fake.answer = lambda *, work: {**answer(work=work), "grants": [again] if work else []}  # type: ignore[method-assign]
    fake.news.set()
    other = await fake.grant()
    await asyncio.sleep(0.5)
    fake.answer = answer  # type: ignore[method-assign]
    fake.news.set()
    await until(lambda: fake.kinds(other) == DONE)
    assert fake.kinds(attempt) == DONE
    assert len(witness.starts(attempt)) == 1


async def test_many_grants_in_order_with_two_tokens_at_most(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--duration-ms", "30")
    attempts = [await fake.grant() for _ in range(6)]
    await until(lambda: all(fake.kinds(a) == DONE for a in attempts))
    assert [e["attempt"] for e in witness.starts()] == attempts
    assert all(len(numbers) <= 2 for head in fake.heads for numbers in head.tokens.values())


@pytest.mark.parametrize(
    ("over", "kind", "reason"),
    [
        ({"session": "ses_00000000000000000000000000"}, "TOMBSTONE", "stale_grant"),
        ({"epoch": 7}, "TOMBSTONE", "stale_grant"),
        ({"token": 99}, "TOMBSTONE", "stale_grant"),
        ({"journal": "jnl_00000000000000000000000000"}, "BARRED", "other_journal"),
        ({"action": "melt"}, "TOMBSTONE", "unsupported"),
        ({"arguments": {"n": {"int": 8}}}, "TOMBSTONE", "bad_request"),
    ],
)
async def test_what_the_node_does_not_take_it_closes(
    fake: FakeFacility, running: Running, over: dict[str, Any], kind: str, reason: str
) -> None:
    witness, _ = running()
    attempt = await fake.grant(**over)
    await until(lambda: fake.kinds(attempt) == [kind])
    assert fake.last(attempt).detail["reason"] == reason
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)
    assert witness.starts(attempt) == []


async def test_the_lab_checks_ranges_and_its_allow_list_itself(fake: FakeFacility, running: Running) -> None:
    witness, _ = running(allow=[{"protocol": "compression-*", "projects": "any"}])
    narrow = await fake.grant(
        arguments={
            "n": {"int": 13},
            "theta": {"value": "75", "unit": "deg"},
            "r": {"value": "2.0", "unit": "mm"},
            "t": {"value": "1.05", "unit": "mm"},
        }
    )
    foreign = await fake.grant(protocol_id="melting")
    await until(lambda: fake.kinds(narrow) and fake.kinds(foreign))
    assert fake.last(narrow).detail["reason"] == "out_of_range"
    assert fake.last(foreign).detail["reason"] == "not_allowed"
    assert witness.starts() == []


async def test_units_are_converted_to_those_of_the_instrument(fake: FakeFacility, running: Running) -> None:
    witness, _ = running()
    attempt = await fake.grant(
        arguments={
            "n": {"int": 8},
            "theta": {"value": "75", "unit": "deg"},
            "r": {"value": "0.2", "unit": "cm"},
            "t": {"value": "1.05", "unit": "mm"},
        }
    )
    await until(lambda: fake.kinds(attempt) == DONE)
    assert len(witness.starts(attempt)) == 1


async def test_a_new_epoch_is_journalled_before_its_grants_are_taken(fake: FakeFacility, running: Running) -> None:
    running()
    await until(lambda: any(e.kind.value == "EPOCH" for e in fake.entries))
    fake.epoch = 5
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    kinds = [(e.kind.value, e.detail.get("epoch")) for e in fake.entries if e.kind.value in ("EPOCH", "RECEIVED")]
    assert kinds.index(("EPOCH", 5)) < kinds.index(("RECEIVED", 5))


async def test_a_stop_ends_a_run_and_its_partial_result_is_kept(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--duration-ms", "20000")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt))
    fake.stop(attempt)
    await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.detail(attempt, "RESULT")["outcome"] == "stopped"
    assert len(witness.starts()) == 1


async def test_a_stop_before_the_start_is_a_tombstone_and_unknown_ids_too(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--duration-ms", "20000")
    first = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(first))
    second = await fake.grant()
    await until(lambda: fake.kinds(second) == ["RECEIVED"])
    fake.stop(second)
    fake.stop("att_00000000000000000000000000")
    await until(lambda: fake.kinds(second) == ["RECEIVED", "TOMBSTONE"])
    await until(lambda: fake.kinds("att_00000000000000000000000000") == ["TOMBSTONE"])
    fake.stop(first, "now")
    await until(lambda: fake.kinds(first) == DONE)
    assert witness.starts(second) == []


async def test_timeout_is_lab_time_and_ends_at_the_safe_point(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--duration-ms", "60000", "--time-scale", "1000", time_scale="1000")
    attempt = await fake.grant(timeout_ms=500_000)
    await until(lambda: fake.kinds(attempt) == DONE)
    result = fake.detail(attempt, "RESULT")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "timeout")
    assert result["used_ms"] >= 500
    assert len(witness.starts()) == 1


async def test_without_void_the_start_waits_for_the_acknowledgement(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--no-void")
    await until(lambda: fake.free_token("press"))
    fake.deaf = True
    attempt = await fake.grant()
    await asyncio.sleep(1.0)
    assert witness.starts() == []
    fake.deaf = False
    await until(lambda: fake.kinds(attempt) == DONE)
    assert len(witness.starts()) == 1


async def test_an_instrument_that_is_not_ready_gives_no_token(fake: FakeFacility, running: Running) -> None:
    witness, lab = running("--refuse", "interlock*1")
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == ["RECEIVED", "INTENT", "TOMBSTONE"])
    assert fake.last(attempt).detail["reason"] == "interlock"
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)
    witness.kill()
    await until(lambda: fake.head and fake.head.health["press"].state == "error")
    assert fake.head is not None
    assert fake.head.tokens["press"] == []
    witness.start()
    # Its refusals are counted anew: this one is refused too, and the instrument serves on.
    third = await fake.grant()
    await until(lambda: fake.kinds(third) == ["RECEIVED", "INTENT", "TOMBSTONE"])
    fourth = await fake.grant()
    await until(lambda: fake.kinds(fourth) == DONE)
    assert lab.end() == 0


async def test_a_busy_instrument_that_remembers_is_asked_again(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--refuse", "busy*2")
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert len(witness.starts(attempt)) == 1
