"""Fixtures: a fake facility, a lab around the real agent, and the witness."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.node.fake import FakeFacility, Lab, facility, lab
from witness.fixtures import WitnessProcess, start_witness

__all__ = ["start_witness"]


@pytest.fixture
async def fake() -> AsyncIterator[FakeFacility]:
    async with facility() as found:
        yield found


@pytest.fixture
def new_lab(tmp_path: Path, fake: FakeFacility) -> Iterator[Lab]:
    with lab(tmp_path / "lab", fake.url) as found:
        yield found


@pytest.fixture
def running(
    fake: FakeFacility, new_lab: Lab, start_witness: Callable[..., WitnessProcess]
) -> Callable[..., tuple[WitnessProcess, Lab]]:
    """`running(*witness flags, **node.yaml)`: a witness, and an agent that has it."""

    def run(*flags: str, **over: Any) -> tuple[WitnessProcess, Lab]:
        witness = start_witness(*flags)
        new_lab.write(witness, **over)
        new_lab.start()
        return witness, new_lab

    return run
