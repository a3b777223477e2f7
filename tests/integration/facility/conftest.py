"""A facility on a SQLite file of its own; its books are judged when the test ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bench import Books, Member, NodeDouble


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    made.library()
    yield made
    made.close()


@pytest.fixture
def pia(books: Books) -> Member:
    """The PI of a project with an hour of lab time."""
    return books.project("barrels")


@pytest.fixture
def north(books: Books) -> NodeDouble:
    """A lab whose press is ready for one grant."""
    node = books.lab("north")
    node.hello()
    return node
