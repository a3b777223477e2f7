"""What the agent may rely on, whatever the place where instruments live."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused
from labcommons.node.runtime import Instrument, Runtime
from labcommons.node.runtime.ray_cluster import RayRuntime
from labcommons.node.runtime.ray_processes import known_cluster
from witness.fixtures import CRUSH, WitnessProcess

Start = Callable[..., WitnessProcess]
_numbers = itertools.count(1)


async def _open(runtime: Runtime, witness: WitnessProcess, name: str = "", **options: Any) -> Instrument:
    # A name of its own: the session's cluster keeps the actors of other tests.
    name = name or f"press-{next(_numbers)}"
    about = {"name": name, "lab": "Test lab", "time_scale": "1", "address": witness.address, **options}
    return await runtime.open(name, "line", about)


async def test_the_words_from_start_to_release(runtime: Runtime, start_witness: Start) -> None:
    witness = start_witness("--duration-ms", "150")
    press = await _open(runtime, witness)
    assert witness.starts() == []
    description = await press.describe()
    assert (description.can_void, description.remembers_attempts) == (True, True)
    assert (await press.health()).state == "idle"
    assert (await press.start("att_a", "crush", CRUSH)).phase == "running"
    status = await press.wait("att_a", 10.0)
    assert status.phase == "done"
    assert status.result is not None
    assert status.result["outputs"]["toughness"]["unit"] == "J"
    assert (await press.status("att_a")).result == status.result
    assert (await press.readback("att_a")).phase == "done"
    assert (await press.release("att_a")).phase == "done"
    assert len(witness.starts("att_a")) == 1
    assert await runtime.alive()


async def test_stop_and_status_are_answered_while_wait_waits(runtime: Runtime, start_witness: Start) -> None:
    press = await _open(runtime, start_witness("--duration-ms", "20000"))
    await press.start("att_b", "crush", CRUSH)
    waiting = asyncio.create_task(press.wait("att_b", 15.0))
    await asyncio.sleep(0.2)
    before = time.monotonic()
    assert (await press.status("att_b")).phase == "running"
    assert (await press.stop("att_b", "now")).phase == "stopped"
    assert (await waiting).phase == "stopped"
    assert time.monotonic() - before < 5


async def test_wait_gives_the_status_when_its_time_is_over(runtime: Runtime, start_witness: Start) -> None:
    press = await _open(runtime, start_witness("--duration-ms", "20000"))
    await press.start("att_c", "crush", CRUSH)
    assert (await press.wait("att_c", 0.2)).phase == "running"
    await press.stop("att_c", "now")


async def test_void_bars_an_id(runtime: Runtime, start_witness: Start) -> None:
    witness = start_witness()
    press = await _open(runtime, witness)
    assert (await press.void("att_d")).phase == "voided"
    with pytest.raises(InstrumentRefused) as refused:
        await press.start("att_d", "crush", CRUSH)
    assert refused.value.code == "voided"
    assert witness.starts() == []


async def test_a_refusal_crosses_with_its_words(runtime: Runtime, start_witness: Start) -> None:
    press = await _open(runtime, start_witness("--refuse", "not_ready"))
    with pytest.raises(InstrumentRefused) as refused:
        await press.start("att_e", "crush", CRUSH)
    assert refused.value.code == "not_ready"
    assert refused.value.message
    with pytest.raises(InstrumentRefused, match="bad_request"):
        await press.resume("x" * 65)


async def test_a_lost_link_says_whether_anything_was_sent(runtime: Runtime, start_witness: Start) -> None:
    witness = start_witness("--fault", "drop-after-start*1")
    press = await _open(runtime, witness, connect_timeout_s=0.5)
    with pytest.raises(InstrumentLost) as lost:
        await press.start("att_f", "crush", CRUSH)
    assert lost.value.sent
    witness.kill()
    with pytest.raises(InstrumentLost) as unsent:
        await press.start("att_g", "crush", CRUSH)
    assert not unsent.value.sent


async def test_a_wrong_option_is_refused_by_name(runtime: Runtime, start_witness: Start) -> None:
    witness = start_witness()
    with pytest.raises(ValueError, match="colour"):
        await _open(runtime, witness, "press-wrong", colour="red")
    press = await _open(runtime, witness, "press-wrong")
    assert (await press.health()).state == "idle"


async def test_opened_again_it_is_the_same_one(runtime: Runtime, start_witness: Start) -> None:
    witness = start_witness("--duration-ms", "400", "--on-disconnect", "abort")
    press = await _open(runtime, witness, "press-again")
    await press.start("att_h", "crush", CRUSH)
    again = await _open(runtime, witness, "press-again")
    assert (await again.wait("att_h", 10.0)).phase == "done"


@pytest.mark.slow
async def test_a_dead_actor_proves_nothing_and_its_successor_remembers(
    ray_runtime: RayRuntime, start_witness: Start
) -> None:
    import ray

    witness = start_witness("--no-memory", "--duration-ms", "200")
    press = await _open(ray_runtime, witness, "press-dies")
    await press.start("att_i", "crush", CRUSH)
    assert (await press.wait("att_i", 10.0)).phase == "done"
    ray.kill(ray.get_actor("instrument:press-dies", namespace="labcommons"), no_restart=True)
    with pytest.raises(InstrumentLost) as lost:
        await press.status("att_i")
    assert lost.value.sent
    assert await ray_runtime.alive()
    again = await _open(ray_runtime, witness, "press-dies")
    assert (await again.status("att_i")).phase == "done"


@pytest.mark.slow
async def test_other_settings_replace_an_idle_instrument(ray_runtime: RayRuntime, start_witness: Start) -> None:
    one, other = start_witness(name="one"), start_witness(name="other")
    press = await _open(ray_runtime, one, "press-moves")
    await press.start("att_j", "crush", CRUSH)
    await press.wait("att_j", 10.0)
    moved = await _open(ray_runtime, other, "press-moves")
    await moved.start("att_k", "crush", CRUSH)
    assert len(other.starts("att_k")) == 1


@pytest.mark.slow
def test_the_clusters_sockets_are_for_this_user_alone(ray_runtime: RayRuntime, ray_state: Path) -> None:
    cluster = known_cluster(ray_state / "ray")
    assert cluster is not None
    assert Path(cluster.temp).stat().st_mode & 0o777 == 0o700
    assert cluster.whole()


@pytest.mark.slow
def test_the_cluster_has_a_name_for_the_journal(ray_runtime: RayRuntime) -> None:
    assert ray_runtime.cluster_id
    assert len(ray_runtime.cluster_id) == 56
