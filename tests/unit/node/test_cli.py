"""The commands of the agent, on a state folder without an agent."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from labcommons.core.ids import JournalId
from labcommons.federation.wire import EntryKind
from labcommons.node.agent.local import StateFolder
from labcommons.node.cli import main
from labcommons.node.clock import mint, utc_now
from labcommons.node.journal import Draft, Journal
from unit.node.test_decisions import grant

COMMANDS = ["run", "status", "local", "allow", "refusals", "journal", "stop-cluster", "try", "check", "new-driver"]
Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    document = {
        "node": 1,
        "lab": {"name": "Riverside", "time_zone": "Europe/Lisbon", "ror": None},
        "facility": {"url": "http://127.0.0.1:9"},
        "runtime": "inprocess",
        "allow": [{"protocol": "colour.*", "projects": "any", "hours": "Mon-Fri 08:00-20:00"}, {"protocol": "*"}],
    }
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def run(config: Path) -> Run:
    def call(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--config", str(config)])

    return call


@pytest.fixture
def journal(config: Path) -> Journal:
    state = StateFolder(config.parent / "state")
    found = Journal.create(state.journal, utc_now, mint(JournalId))
    found.append(
        [
            Draft(EntryKind.SESSION, detail={"session": "ses_1", "node": "nod_1", "ray_cluster": "c1"}),
            Draft(EntryKind.RECEIVED, "att_1", grant=grant(attempt="att_1")),
            Draft(
                EntryKind.TOMBSTONE, "att_2", {"reason": "not_allowed", "text": "no"}, grant(attempt="att_2", fence=12)
            ),
        ]
    )
    found.close()
    return found


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_help_lists_what_there_is_and_each_has_an_example() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert name in result.output
        told = CliRunner().invoke(main, [name, "--help"])
        assert told.exit_code == 0
        assert "Example" in told.output
        assert f"labcommons-node {name}" in told.output


def test_a_command_that_is_not_there_is_usage() -> None:
    assert CliRunner().invoke(main, ["join"]).exit_code == 2


def test_export_has_the_published_fields(run: Run, journal: Journal) -> None:
    exported = lines(run("journal", "export"))
    assert len(exported) == 3
    fields = {"journal", "session", "seq", "at", "attempt", "state", "detail", "previous", "hash"}
    assert all(set(line) == fields for line in exported)
    assert exported[0]["detail"]["ray_cluster"] == "c1"
    assert [line["state"] for line in exported] == ["SESSION", "RECEIVED", "TOMBSTONE"]


def test_show_tells_one_attempts_story(run: Run, journal: Journal) -> None:
    result = run("journal", "show", "--attempt", "att_2")
    assert result.exit_code == 0
    assert "TOMBSTONE" in result.stdout
    assert "not_allowed" in result.stdout
    assert "att_1" not in result.stdout
    assert len(lines(run("journal", "show", "--after", "1", "--json"))) == 2


def test_verify_says_whether_the_chain_holds(run: Run, journal: Journal, config: Path) -> None:
    assert "the chain holds" in run("journal", "verify").stdout
    (found,) = lines(run("journal", "verify", "--json"))
    assert found["holds"] is True
    with sqlite3.connect(config.parent / "state" / "journal.sqlite") as db:
        db.execute("UPDATE entries SET attempt = 'att_9' WHERE seq = 2")
    db.close()
    broken = run("journal", "verify")
    assert broken.exit_code == 1
    assert "at entry 2" in broken.stdout
    refused = run("run")
    assert refused.exit_code == 3  # not enrolled: said before the journal is opened


def test_status_says_which_driver_is_not_there(run: Run, config: Path) -> None:
    document = yaml.safe_load(config.read_text())
    document["instruments"] = {"press": {"type": "press", "driver": "nope", "offers": []}}
    config.write_text(yaml.safe_dump(document))
    done = run("status")
    assert done.exit_code == 0, done.output
    assert "no driver is called 'nope'" in done.output


def test_status_without_an_agent(run: Run, journal: Journal) -> None:
    (found,) = lines(run("status", "--json"))
    assert found["pid"] is None
    assert found["session"] == "ses_1"
    assert found["open"] == {"att_1": "RECEIVED"}
    assert "agent not running" in run("status").stdout


def test_refusals_are_told_with_their_reason(run: Run, journal: Journal) -> None:
    (found,) = lines(run("refusals", "--json"))
    assert (found["attempt"], found["reason"], found["protocol"]) == ("att_2", "not_allowed", "colour.mix")
    assert "not_allowed" in run("refusals").stdout


def test_local_on_and_off(run: Run, config: Path) -> None:
    state = StateFolder(config.parent / "state")
    assert "service visit" in run("local", "on", "--reason", "service visit").stdout
    assert state.local()
    (found,) = lines(run("local", "status", "--json"))
    assert found["local"] is True
    assert "not LOCAL" in run("local", "off").stdout
    assert not state.local()


def test_allow_show(run: Run) -> None:
    (found,) = lines(run("allow", "show", "--json"))
    assert [rule["protocol"] for rule in found["allow"]] == ["colour.*", "*"]
    assert found["allow"][0]["hours"] == "Mon-Fri 08:00-20:00"
    assert "Europe/Lisbon" in run("allow", "show").stdout


def test_no_journal_and_no_cluster_are_told_not_raised(run: Run) -> None:
    missing = run("journal", "show", "--json")
    assert missing.exit_code == 1
    assert lines(missing)[0]["type"] == "journal_broken"
    assert "no cluster" in run("stop-cluster").stdout


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"node": 2}, "node"),
        ({"node": 1, "lab": {"name": "x", "time_zone": "UTC"}, "facility": {"url": "http://x.example"}}, "loopback"),
    ],
)
def test_a_wrong_node_yaml_is_refused_with_its_place(run: Run, config: Path, document: object, word: str) -> None:
    config.write_text(yaml.safe_dump(document))
    result = run("run", "--json")
    assert result.exit_code == 3
    (problem,) = lines(result)
    assert {"type", "detail", "field", "remedy"} <= set(problem)
    assert word in json.dumps(problem)


def test_run_without_a_facility_or_an_identity_is_refused(run: Run, config: Path) -> None:
    result = run("run")
    assert result.exit_code == 3
    assert "not enrolled" in result.stderr
    document = yaml.safe_load(config.read_text())
    del document["facility"]
    config.write_text(yaml.safe_dump(document))
    result = run("run")
    assert result.exit_code == 3
    assert "facility" in result.stderr
