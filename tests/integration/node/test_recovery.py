"""Agent, instrument and link die where it hurts. The witness's own log says how often it moved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from integration.node.fake import FakeFacility, Lab, until
from witness.fixtures import WitnessProcess

pytestmark = [pytest.mark.slow]

Running = Callable[..., tuple[WitnessProcess, Lab]]
DONE = ["RECEIVED", "INTENT", "STARTED", "RESULT", "UPLOADED"]


async def test_agent_killed_in_mid_run_reattaches_and_the_result_arrives_once(
    fake: FakeFacility, running: Running
) -> None:
    witness, lab = running("--duration-ms", "3000")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt))
    lab.kill()
    lab.start()
    await until(lambda: fake.kinds(attempt) == DONE)
    result = fake.detail(attempt, "RESULT")
    assert (result["outcome"], result["used_ms"]) == ("done", None)
    assert len(witness.starts()) == 1
    assert "re-attached" in lab.log()
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)


async def test_received_alone_is_voided_and_tombstoned_and_the_step_can_run_anew(
    fake: FakeFacility, running: Running
) -> None:
    witness, lab = running("--duration-ms", "3000")
    first = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(first))
    second = await fake.grant()
    await until(lambda: fake.kinds(second) == ["RECEIVED"])
    lab.kill()
    lab.start()
    await until(lambda: fake.kinds(second) == ["RECEIVED", "TOMBSTONE"])
    assert fake.last(second).detail["reason"] == "restart"
    await until(lambda: fake.kinds(first) == DONE)
    assert [e["attempt"] for e in witness.events("void")] == [second]
    anew = await fake.grant()
    await until(lambda: fake.kinds(anew) == DONE)
    assert [e["attempt"] for e in witness.starts()] == [first, anew]


async def _killed_after_intent(fake: FakeFacility, running: Running, *flags: str) -> tuple[WitnessProcess, str]:
    """INTENT is durable, the instrument is off and nothing was sent; then the agent is killed."""
    witness, lab = running(*flags)
    await until(lambda: fake.free_token("press"))
    if "--no-void" in flags or "--no-memory" in flags:
        # Here the start waits for the facility's acknowledgement: a deaf one holds it between the two.
        fake.deaf = True
        attempt = await fake.grant()
        await until(lambda: f"attempt={attempt}" in lab.log())
        await asyncio.sleep(0.5)
    else:
        witness.kill()
        attempt = await fake.grant()
        await until(lambda: "INTENT" in fake.kinds(attempt))
    lab.kill()
    fake.deaf = False
    if witness.process is None:
        witness.start()
    lab.start()
    return witness, attempt


async def test_killed_between_intent_and_start_void_decides(fake: FakeFacility, running: Running) -> None:
    witness, attempt = await _killed_after_intent(fake, running)
    await until(lambda: fake.kinds(attempt) == ["RECEIVED", "INTENT", "TOMBSTONE"])
    assert fake.last(attempt).detail["reason"] == "voided"
    assert witness.starts() == []


@pytest.mark.parametrize("flag", ["--no-void", "--no-memory"])
async def test_killed_between_intent_and_start_without_void_is_unknown(
    fake: FakeFacility, running: Running, flag: str
) -> None:
    witness, attempt = await _killed_after_intent(fake, running, flag)
    await until(lambda: fake.kinds(attempt) == ["RECEIVED", "INTENT", "UNKNOWN"])
    assert fake.last(attempt).detail["reason"] in ("link_lost", "agent_died")
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)
    assert witness.starts(attempt) == []


@pytest.mark.parametrize("flags", [(), ("--no-void",)])
async def test_start_lost_on_its_way_back_is_seen_running(
    fake: FakeFacility, running: Running, flags: tuple[str, ...]
) -> None:
    witness, lab = running("--duration-ms", "2000", "--fault", "drop-after-start*1", *flags)
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.detail(attempt, "RESULT")["outcome"] == "done"
    assert len(witness.starts()) == 1
    assert lab.end() == 0


async def test_start_lost_on_its_way_there_is_voided(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--fault", "drop-before-start*1")
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == ["RECEIVED", "INTENT", "TOMBSTONE"])
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)
    assert witness.starts(attempt) == []


async def test_an_instrument_that_remembers_nothing_is_unknown_after_a_kill(
    fake: FakeFacility, running: Running
) -> None:
    witness, lab = running("--no-memory", "--duration-ms", "1500")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt))
    lab.kill()
    lab.start()
    await until(lambda: fake.kinds(attempt) == ["RECEIVED", "INTENT", "STARTED", "UNKNOWN"])
    assert fake.last(attempt).detail["reason"] == "agent_died"
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)
    assert len(witness.starts(attempt)) == 1


async def test_a_result_whose_bytes_did_not_arrive_is_sent_by_the_next_life(
    fake: FakeFacility, running: Running
) -> None:
    fake.no_objects = True
    witness, lab = running()
    attempt = await fake.grant()
    await until(lambda: "RESULT" in fake.kinds(attempt))
    assert not fake.objects
    lab.kill()
    fake.no_objects = False
    lab.start()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert len(fake.objects) == 1
    assert len(witness.starts()) == 1


async def test_bytes_that_the_node_lost_are_said_to_be_missing(fake: FakeFacility, running: Running) -> None:
    fake.no_objects = True
    _, lab = running()
    attempt = await fake.grant()
    await until(lambda: "RESULT" in fake.kinds(attempt))
    lab.kill()
    for kept in (lab.state / "objects").iterdir():
        kept.unlink()
    lab.start()
    await until(lambda: fake.kinds(attempt)[-2:] == ["RESULT", "UNKNOWN"])
    assert fake.last(attempt).detail["reason"] == "bytes_missing"


@pytest.mark.parametrize("fault", ["garbage@status*2", "half-line@status*2", "drop@status*2", "no-phase@status*1"])
async def test_nonsense_in_mid_run_is_asked_about_and_never_started_twice(
    fake: FakeFacility, running: Running, fault: str
) -> None:
    witness, _ = running("--duration-ms", "2500")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt))
    witness.plant(fault)
    await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.detail(attempt, "RESULT")["outcome"] == "done"
    assert len(witness.starts()) == 1


@pytest.mark.parametrize("fault", ["garbage@start*1", "half-line@start*1", "late@start*1", "silent@start*1"])
async def test_a_start_answered_by_nonsense_late_or_not_is_never_hung(
    fake: FakeFacility, running: Running, fault: str
) -> None:
    witness, _ = running("--duration-ms", "1000", "--fault", fault, press={"reply_timeout_s": 1})
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt)[-1:] in (["UPLOADED"], ["UNKNOWN"], ["TOMBSTONE"]))
    assert fake.kinds(attempt) == DONE
    assert len(witness.starts()) == 1


@pytest.mark.parametrize("fault", ["garbage@start*1", "drop-after-start*1"])
async def test_on_a_forgetful_instrument_a_lost_start_is_not_sent_again(
    fake: FakeFacility, running: Running, fault: str
) -> None:
    witness, _ = running("--no-memory", "--duration-ms", "500", "--fault", fault)
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt)[-1:] in (["UPLOADED"], ["UNKNOWN"]))
    assert len(witness.starts(attempt)) == 1


async def test_a_result_in_the_wrong_unit_fails_with_its_data_kept(fake: FakeFacility, running: Running) -> None:
    running("--fault", "wrong-unit*1")
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    result = fake.detail(attempt, "RESULT")
    assert (result["outcome"], result["error"]["code"]) == ("failed", "wrong_unit")
    assert "wrong_unit" in result["flags"]
    # The unit is none that we know: what came is kept as it came.
    received = next(o for o in result["objects"] if o["name"] == "outputs-as-received.json")
    assert b"ft.lbf" in fake.objects[received["sha256"]]


@pytest.mark.parametrize(("flags", "ends"), [((), DONE), (("--no-memory",), [*DONE[:3], "UNKNOWN"])])
async def test_the_instrument_loses_its_power_in_mid_run(
    fake: FakeFacility, running: Running, flags: tuple[str, ...], ends: list[str]
) -> None:
    witness, _ = running("--duration-ms", "20000", *flags)
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt))
    witness.restart()
    await until(lambda: fake.kinds(attempt) == ends)
    if ends == DONE:
        result = fake.detail(attempt, "RESULT")
        assert (result["outcome"], result["error"]["code"]) == ("failed", "hardware")
    else:
        assert fake.last(attempt).detail["reason"] == "instrument_forgot"
    assert len(witness.starts()) == 1


async def test_local_mode_needs_no_facility_and_starts_nothing(fake: FakeFacility, running: Running) -> None:
    import subprocess
    import sys

    witness, lab = running("--duration-ms", "20000")
    first = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(first))
    second = await fake.grant()
    await until(lambda: fake.kinds(second) == ["RECEIVED"])

    def local(*words: str) -> str:
        run = "from labcommons.node.cli import main; main()"
        command = [sys.executable, "-c", run, "local", *words, "--config", str(lab.config), "--json"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert '"local": true' in await asyncio.to_thread(local, "on", "--reason", "service visit")
    await until(lambda: fake.kinds(second) == ["RECEIVED", "TOMBSTONE"])
    assert "service visit" in str(fake.last(second).detail["text"])
    await until(lambda: fake.kinds(first) == DONE)
    assert fake.detail(first, "RESULT")["outcome"] == "stopped"
    await until(lambda: fake.head and fake.head.health["press"].state == "local")
    assert fake.head is not None
    assert fake.head.tokens["press"] == []
    assert '"local": false' in await asyncio.to_thread(local, "off")
    third = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(third))
    assert witness.starts(second) == []


async def test_a_clean_end_closes_what_had_not_started(fake: FakeFacility, running: Running) -> None:
    witness, lab = running("--duration-ms", "20000")
    first = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(first))
    second = await fake.grant()
    await until(lambda: fake.kinds(second) == ["RECEIVED"])
    ended = asyncio.create_task(asyncio.to_thread(lab.end))
    await until(lambda: fake.kinds(second) == ["RECEIVED", "TOMBSTONE"])
    assert await ended == 0
    assert fake.kinds(first)[-1] == "STARTED"
    assert len(witness.starts()) == 1


async def test_a_second_agent_on_the_same_state_is_refused(fake: FakeFacility, running: Running) -> None:
    _, lab = running()
    await until(lambda: fake.free_token("press"))
    other = Lab(lab.folder, lab.url)
    other.start()
    assert other.process is not None
    assert await asyncio.to_thread(other.process.wait, 20) == 3
    assert "already works on this state folder" in lab.log()
