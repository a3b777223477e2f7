"""The border of a runtime: what an instrument says in text is made fit for a journal, once, in every word."""

from __future__ import annotations

from typing import Any

import pytest

from labcommons.federation.wire import Health as WireHealth
from labcommons.node.drivers.contract import InstrumentLost, InstrumentRefused, Json
from labcommons.node.runtime.calls import HostedInstrument
from labcommons.protocols.canonical import canonical

BAD = "a\ud800b"


def instrument(answer: Json | Exception) -> HostedInstrument:
    async def call(word: str, *_: Any) -> Json:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close() -> None:
        return None

    return HostedInstrument("press", call, close)


async def test_lone_surrogates_are_replaced_in_names_and_texts() -> None:
    given = {"phase": "done", "result": {"outputs": {BAD: [{"enum": BAD}]}, "files": [{"name": BAD}]}, "flags": [BAD]}
    status = await instrument(given).status("att_1")
    assert canonical(status.to_json()).count("\ufffd".encode()) >= 4
    assert status.result is not None
    assert status.result["files"][0]["name"].startswith("a")


async def test_what_is_well_formed_stays_as_it_is() -> None:
    given = {"phase": "failed", "error": {"code": "hardware", "message": "Prüfling \U0001f52c gebrochen"}}
    assert (await instrument(given).wait("att_1", 1.0)).to_json() == given


async def test_refusals_losses_and_health_too() -> None:
    with pytest.raises(InstrumentRefused) as refused:
        await instrument(InstrumentRefused("hardware", BAD, retryable=True)).start("att_1", "crush", {})
    assert (refused.value.code, refused.value.retryable) == ("hardware", True)
    canonical({"text": refused.value.message})
    with pytest.raises(InstrumentLost) as lost:
        await instrument(InstrumentLost(BAD, sent=False)).health()
    assert lost.value.sent is False
    canonical({"text": lost.value.reason})
    health = await instrument({"state": "error", "detail": BAD}).health()
    assert WireHealth(state=health.state, detail=health.detail).model_dump_json()


async def test_an_answer_without_bottom_proves_nothing() -> None:
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InstrumentLost, match="nested"):
        await instrument({"phase": "done", "result": {"outputs": {"x": deep}}}).status("att_1")
    while isinstance(deep, list):
        # Taken apart by hand: to let go of it at once would be as deep a recursion.
        deep = deep.pop()
