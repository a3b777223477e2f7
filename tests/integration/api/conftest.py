"""One house for each test, thrown away after it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.api.house import House
from integration.api.house import house as build


@pytest.fixture(scope="session")
def model_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with schema, people and keys, which the tests' homes are copies of."""
    home = tmp_path_factory.mktemp("model") / "home"
    with build(home):
        pass
    return home


@pytest.fixture
async def house(model_home: Path, tmp_path: Path) -> AsyncIterator[House]:
    """The facility with its demo people; no lab has called yet, and no worker runs."""
    home = tmp_path / "home"
    shutil.copytree(model_home, home)
    with build(home) as found:
        async with found.client:
            yield found


@pytest.fixture
async def open_house(house: House) -> House:
    """The same after the labs' nodes have called: experiments can be compiled."""
    for lab in house.seeded.labs:
        await house.announce(lab)
    return house
