"""The house itself: no test on it leaves books that contradict themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from integration.api.house import house


def test_books_that_contradict_themselves_fail_the_test_at_its_end(model_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(model_home, home)
    turned = "UPDATE ledger SET account = counter_account, counter_account = account WHERE kind = 'grant'"
    with (
        pytest.raises(AssertionError, match="overspent"),
        house(home) as found,
        found.facility.engine.begin() as connection,
    ):
        connection.exec_driver_sql(turned)
