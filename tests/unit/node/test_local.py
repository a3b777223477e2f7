"""The small files of the state folder, the pauses of the link, and log lines."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from labcommons.node.agent.local import AlreadyRunning, StateFolder
from labcommons.node.lines import Lines
from labcommons.node.link.calls import Backoff


def test_local_is_a_file_and_any_file_counts(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert state.local() == ""
    state.set_local(True, "service visit", "2026-10-01T09:00:00.000Z")
    assert state.local() == "the lab works in LOCAL mode: service visit"
    (tmp_path / "local.json").write_text("half a l")
    assert state.local() == "the lab works in LOCAL mode"
    state.set_local(False)
    state.set_local(False)
    assert state.local() == ""


def test_one_agent_a_state_folder(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    assert state.running_pid() is None
    with state.only_agent():
        assert state.running_pid() == os.getpid()
        with pytest.raises(AlreadyRunning), state.only_agent():
            pass
    assert state.running_pid() is None


def test_what_the_agent_said_last(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert state.told() is None
    state.tell({"session": "ses_1"})
    assert state.told() == {"session": "ses_1"}
    (tmp_path / "status.json").write_text("[]")
    assert state.told() is None


def test_pauses_grow_to_half_a_minute_with_jitter_and_end_with_success() -> None:
    backoff = Backoff()
    pauses = [backoff.failed() for _ in range(20)]
    for number, pause in enumerate(pauses):
        whole = min(30.0, 0.25 * 2**number)
        assert whole / 2 <= pause <= whole
    backoff.succeeded()
    assert backoff.failed() <= 0.25
    assert len({round(Backoff().failed(), 6) for _ in range(20)}) > 1


def test_a_log_line_is_one_line_whatever_is_in_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="labcommons.test"):
        lines = Lines("labcommons.test")
        lines.info("grant taken", attempt="att_1", why='a "word"\nand more', nothing=None, number=3)
        lines.debug("d")
        lines.warning("w")
        lines.error("e", detail="")
    assert caplog.messages[0] == 'grant taken attempt=att_1 why="a \\"word\\"\\nand more" number=3'
    assert caplog.messages[3] == 'e detail=""'
