"""The demo is the main job: it recovers what it kills, and says plainly what it cannot recover.

The plain run is the README's first block (tests/docs); here are its two disturbed ones, each with real Ray clusters.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def demo(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labcommons.facility.demo"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )


def test_a_killed_agent_is_started_again_and_nothing_is_lost_or_doubled() -> None:
    done = demo(KILL="1", SEED="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Killed (-9) the agent of north while att_" in done.stdout
    assert re.search(r"Recovered: att_\w+, started 1 time; .* now in its session 2, .* STARTED -> RESULT", done.stdout)
    assert (
        "24 starts, the facility 24 attempts that ran, the ledger 24 charges; 2 Ray clusters for 2 labs" in done.stdout
    )
    assert "nothing is left behind" in done.stdout


def test_an_instrument_that_remembers_nothing_leaves_an_unknown_for_a_person() -> None:
    done = demo(KILL="1", DUMB="1")
    assert done.returncode == 5, done.stdout + done.stderr
    unknown = re.findall(r"UNKNOWN: (att_[0-9A-Z]{26})", done.stdout)
    assert len(unknown) == 1
    assert f"while {unknown[0]} ran there" in done.stdout
    assert f"Not recovered: {unknown[0]}, started 1 time" in done.stdout
    assert "MISMATCH" not in done.stdout
