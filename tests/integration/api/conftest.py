"""One house for each test, thrown away after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.api.house import House
from integration.api.house import house as build


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The facility with its demo people; no lab has called yet, and no worker runs."""
    with build(tmp_path) as found:
        async with found.client:
            yield found


@pytest.fixture
async def open_house(house: House) -> House:
    """The same after the labs' nodes have called: experiments can be compiled."""
    for lab in house.seeded.labs:
        await house.announce(lab)
    return house
