"""`labcommons admin` where there is nothing to administer: words, and nothing made."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from labcommons.facility.cli import admin
from labcommons.facility.storage.engine import make_engine


def test_no_facility_is_said_and_none_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(admin, ["check", "--home", str(tmp_path / "none")])
    assert done.exit_code == 3
    assert "labcommons up" in done.output
    assert not (tmp_path / "none").exists()


def test_an_empty_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "facility").mkdir()
    make_engine(f"sqlite:///{tmp_path}/facility/facility.sqlite", busy_ms=1000).dispose()
    done = CliRunner().invoke(admin, ["check", "--home", str(tmp_path)])
    assert done.exit_code == 3
    assert "admin migrate" in done.output
