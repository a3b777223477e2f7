"""What takes minutes in a lab, with the limits of seconds: silence, patience, stops that are not heard, a full disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from integration.node.fake import FakeFacility, Lab, until
from labcommons.node.agent.process import run_agent
from labcommons.node.agent.services import Limits
from labcommons.node.journal import JournalWriter
from labcommons.node.lines import Lines
from labcommons.node.settings import load
from witness.fixtures import WitnessProcess

pytestmark = [pytest.mark.slow]

Witness = Callable[..., WitnessProcess]
DONE = ["RECEIVED", "INTENT", "STARTED", "RESULT", "UPLOADED"]
QUICK = Limits(lease=1.0, patience=1.0, grace=0.5, ready=1.0, look=0.3, slice=0.2)


@contextlib.asynccontextmanager
async def agent(lab: Lab, limits: Limits = QUICK) -> AsyncIterator[None]:
    """The real agent in this process."""
    ended = asyncio.Event()
    work = asyncio.create_task(run_agent(load(lab.config), Lines("labcommons.node"), limits=limits, ended=ended))
    try:
        yield
    finally:
        ended.set()
        await work


def _cut(fake: FakeFacility) -> None:
    """From now on nothing that the facility says can be read."""
    fake.spoil["report"] = [b"-"] * 1000
    fake.spoil["next"] = [b"-"] * 1000
    for writer in list(fake.links):
        writer.transport.abort()


def _mend(fake: FakeFacility) -> None:
    fake.spoil["report"], fake.spoil["next"] = [], []


@pytest.mark.parametrize(("wish", "outcome"), [("safe_point", "failed"), ("continue", "done")])
async def test_silence_past_the_lease_ends_only_what_asks_for_it(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness, wish: str, outcome: str
) -> None:
    witness = start_witness("--duration-ms", "4000")
    new_lab.write(witness)
    async with agent(new_lab):
        attempt = await fake.grant(on_partition=wish)
        await until(lambda: "STARTED" in fake.kinds(attempt))
        _cut(fake)
        await until(lambda: witness.ask(op="status", attempt=attempt)["phase"] != "running")
        _mend(fake)
        await until(lambda: fake.kinds(attempt) == DONE)
    result = fake.detail(attempt, "RESULT")
    assert result["outcome"] == outcome
    assert (result["error"] or {}).get("code") == ("lost" if wish == "safe_point" else None)


async def test_an_instrument_away_past_the_patience_is_unknown_and_late_evidence_counts(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness
) -> None:
    witness = start_witness("--duration-ms", "20000")
    new_lab.write(witness, press={"connect_timeout_s": 0.2})
    async with agent(new_lab):
        attempt = await fake.grant()
        await until(lambda: "STARTED" in fake.kinds(attempt))
        witness.kill()
        await until(lambda: fake.kinds(attempt) == [*DONE[:3], "UNKNOWN"])
        assert fake.last(attempt).detail["reason"] == "link_lost"
        witness.start()
        await until(lambda: fake.kinds(attempt) == [*DONE[:3], "UNKNOWN", "STARTED", "RESULT", "UPLOADED"])
        following = await fake.grant()
        await until(lambda: "STARTED" in fake.kinds(following))
    assert fake.detail(attempt, "RESULT")["outcome"] == "failed"
    assert len(witness.starts(attempt)) == 1


async def test_a_run_that_does_not_stop_is_unknown_in_the_end(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness
) -> None:
    witness = start_witness("--duration-ms", "30000", "--unsupported", "stop")
    new_lab.write(witness)
    async with agent(new_lab, Limits(grace=0.3, slice=0.1, look=0.3)):
        attempt = await fake.grant(timeout_ms=1_000)
        await until(lambda: fake.kinds(attempt) == [*DONE[:3], "UNKNOWN"])
        assert fake.last(attempt).detail["reason"] == "timeout"
        # It still runs: nothing is started beside it.
        following = await fake.grant()
        await until(lambda: fake.kinds(following) == ["RECEIVED"])
        await asyncio.sleep(0.5)
        assert [start["attempt"] for start in witness.starts()] == [attempt]


async def test_a_stop_that_pauses_at_the_safe_point_ends_there(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness
) -> None:
    witness = start_witness("--duration-ms", "20000", "--safe-point-pauses")
    new_lab.write(witness)
    async with agent(new_lab):
        attempt = await fake.grant()
        await until(lambda: "STARTED" in fake.kinds(attempt))
        fake.stop(attempt)
        await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.detail(attempt, "RESULT")["outcome"] == "stopped"


async def test_a_start_refused_as_busy_for_too_long_is_a_tombstone(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness
) -> None:
    witness = start_witness("--refuse", "busy")
    new_lab.write(witness)
    async with agent(new_lab):
        attempt = await fake.grant()
        await until(lambda: fake.kinds(attempt) == ["RECEIVED", "INTENT", "TOMBSTONE"])
    assert fake.last(attempt).detail["reason"] == "busy"
    assert witness.starts() == []


async def test_a_full_disk_starts_nothing_and_loses_nothing(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = start_witness("--duration-ms", "400")
    new_lab.write(witness)
    writers: list[JournalWriter] = []
    begin = JournalWriter.__init__

    def kept(self: JournalWriter, *words: Any) -> None:
        writers.append(self)
        begin(self, *words)

    monkeypatch.setattr(JournalWriter, "__init__", kept)

    def pages(limit: int | None) -> None:
        db = writers[0].journal._db
        size = db.execute("PRAGMA page_count").fetchone()[0] if limit is None else limit
        db.execute(f"PRAGMA max_page_count = {size}")

    async with agent(new_lab):
        first = await fake.grant()
        await until(lambda: "STARTED" in fake.kinds(first))
        pages(None)
        # Larger than what is left of the pages that are there.
        second = await fake.grant(protocol_id="x" * 6000)
        await until(lambda: writers[0].broken)
        await asyncio.sleep(0.6)
        assert witness.starts(second) == []
        pages(1_000_000)
        await until(lambda: fake.kinds(first) == DONE)
        await until(lambda: fake.kinds(second) == DONE)
    assert all(len(witness.starts(one)) == 1 for one in (first, second))


async def test_an_instrument_with_a_wrong_setting_harms_no_other(
    fake: FakeFacility, new_lab: Lab, start_witness: Witness
) -> None:
    witness = start_witness()
    wrong = {"type": "barrel-press", "driver": "line", "address": witness.address, "colour": "red"}
    missing = {"type": "barrel-press", "driver": "no-such-driver"}
    offers = {"offers": [{"capability": "no.such@1"}]}
    press = {
        "type": "barrel-press",
        "driver": "line",
        "address": witness.address,
        "offers": [{"capability": "compression.test@1"}],
    }
    new_lab.write(witness, instruments={"press": press, "wrong": wrong, "missing": missing, "odd": {**press, **offers}})
    async with agent(new_lab):
        attempt = await fake.grant()
        await until(lambda: fake.kinds(attempt) == DONE)
        head = fake.head
        assert head is not None
        assert {name: health.state for name, health in head.health.items() if name != "press"} == {
            "wrong": "error",
            "missing": "error",
            "odd": "error",
        }
        assert "colour" in head.health["wrong"].detail
        assert "no.such@1" in head.health["odd"].detail
        assert [head.tokens[name] for name in ("wrong", "missing", "odd")] == [[], [], []]
