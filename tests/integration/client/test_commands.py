"""Every command of `labcommons` as its users call it: as a process, against the real facility with a lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.federation import Federation, federation
from witness.fixtures import witness_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
BIN = Path(sys.executable).parent / "labcommons"
ARGUMENTS = ("--arg", "n=9", "--arg", "theta=40 deg", "--arg", "r=2.1 mm", "--arg", "t=1.05 mm")
PROTOCOL = "compression-toughness"
NOBODY = "exp_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("commands")
    with (
        witness_process(folder / "witness", "--duration-ms", "150") as witness,
        federation(folder / "home", {"bench": witness}) as running,
    ):
        yield running


def runner(made: Federation, who: str) -> Run:
    """Runs `labcommons` as one of the demo people, with a home of their own."""
    made.as_person(who).close()
    home = made.home / "at" / who
    environment = {**os.environ, "LABCOMMONS_HOME": str(home), "LABCOMMONS_URL": made.url}

    def run(*words: str, code: int = 0, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN), *words],
            env={**environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def rae(made: Federation) -> Run:
    return runner(made, "rae")


@pytest.fixture(scope="module")
def done(rae: Run) -> dict[str, Any]:
    """A study of one experiment that has ended."""
    found = rae("submit", PROTOCOL, *ARGUMENTS, "--label", "one", "--study", "first", "--wait", "--json")
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def as_json(run: Run, *words: str, code: int = 0) -> Any:
    """The one JSON document on stdout."""
    return json.loads(run(*words, "--json", code=code).stdout)


def test_who_and_where(rae: Run) -> None:
    me = as_json(rae, "whoami")
    assert me["username"] == "rae"
    assert "Rae Ortiz" in rae("whoami").stdout
    assert as_json(rae, "status")["labs"][0]["name"] == "bench"
    assert "lab bench: online" in rae("status").stdout


@pytest.mark.parametrize("what", ["labs", "instruments", "protocols"])
def test_lists_are_tables_for_people_and_json_for_programs(rae: Run, what: str) -> None:
    items = as_json(rae, what)
    assert items
    lines = rae(what).stdout.splitlines()
    assert lines[0].startswith("id")
    assert len(lines) == len(items) + 1


def test_a_protocol_shows_its_parameters(rae: Run) -> None:
    assert "theta: quantity 0 to 200 deg" in rae("protocols", PROTOCOL).stdout
    assert as_json(rae, "protocols", PROTOCOL)["document"]["id"] == PROTOCOL


def test_a_protocol_is_added_from_a_file(rae: Run, tmp_path: Path) -> None:
    document = as_json(rae, "protocols", PROTOCOL)["document"]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({**document, "id": "mine.toughness", "title": "Mine"}))
    assert "mine.toughness is sha256:" in rae("protocols", "--add", str(file)).stdout
    for text in ("{", "[]"):
        file.write_text(text)
        assert as_json(rae, "protocols", "--add", str(file), code=3)["type"] == "bad_document"
    assert as_json(rae, "protocols", "--add", str(tmp_path / "none.json"), code=3)["type"] == "bad_document"
    # A name is its first owner's: nobody else may say what it means to everybody.
    file.write_text(json.dumps({**document, "title": "Another meaning"}))
    taken = as_json(rae, "protocols", "--add", str(file), code=3)
    assert (taken["type"], taken["field"]) == ("name_taken", "/id")


def test_compile_says_cost_and_place_or_reasons(rae: Run) -> None:
    text = rae("compile", PROTOCOL, *ARGUMENTS).stdout
    assert "costs at most" in text
    (item,) = as_json(rae, "compile", PROTOCOL, *ARGUMENTS)["items"]
    assert item["cost_ms"]["barrel-press"] == item["steps"][0]["hold_ms"]
    refused = rae("compile", PROTOCOL, *ARGUMENTS[:2], "--arg", "theta=400 deg", *ARGUMENTS[4:], code=3)
    assert "out_of_range" in refused.stdout
    assert "remedy" in refused.stdout


def test_results_come_with_unit_uncertainty_and_a_name_to_cite(rae: Run, done: dict[str, Any], tmp_path: Path) -> None:
    text = rae("result", done["study"], "--files", str(tmp_path)).stdout
    assert " ± " in text
    assert " J " in text
    assert "ark:/99999/lc1rec_" in text
    (record,) = as_json(rae, "result", done["experiments"][0])
    assert record["outputs"]["toughness"]["u"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["curve.csv"]


def test_watch_show_list_and_why_of_ended_work(rae: Run, done: dict[str, Any]) -> None:
    (experiment,) = done["experiments"]
    assert "succeeded" in rae("watch", done["study"]).stdout
    assert json.loads(rae("watch", experiment, "--json").stdout)["id"] == experiment
    assert "SUCCEEDED" in rae("show", experiment).stdout
    assert as_json(rae, "show", done["study"])["states"] == {"succeeded": 1}
    assert "first: 1 succeeded" in rae("show", done["study"]).stdout
    assert experiment in rae("list", "--state", "succeeded").stdout
    assert "nothing holds it back" in rae("why", experiment).stdout
    assert as_json(rae, "why", experiment)["reasons"] == []
    rae("why", done["study"], code=2)


def test_the_ledger_and_its_export_agree(rae: Run, done: dict[str, Any]) -> None:
    statement = as_json(rae, "ledger")
    lines = [json.loads(line) for line in rae("export", "ledger").stdout.splitlines()]
    assert lines == statement["entries"]
    fields = {"entry", "at", "kind", "account", "counter_account", "instrument_type", "amount_ms", "cause", "actor"}
    assert fields <= set(lines[0])
    assert "barrel-press" in rae("ledger").stdout
    charged = sum(one["amount_ms"] for one in lines if one["kind"] == "charge")
    assert statement["allocations"][0]["charged_ms"] == charged


def test_attempts_are_exported_in_the_published_form(rae: Run, done: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in rae("export", "attempts").stdout.splitlines()]
    published = (
        "attempt experiment step project lab instrument epoch fence state granted_at started_at ended_at used_ms "
        "charged_ms outputs objects"
    )
    assert set(published.split()) <= set(lines[0])
    assert done["experiments"][0] in {line["experiment"] for line in lines}


def test_a_file_of_experiments_is_submitted_whole_and_once(rae: Run, tmp_path: Path) -> None:
    arguments = {"n": 9, "theta": "40 deg", "r": "2.1 mm", "t": "1.05 mm"}
    body = {"protocol": PROTOCOL, "study": "two", "experiments": [{"arguments": arguments, "label": "a"}] * 2}
    text = json.dumps(body)
    first = json.loads(rae("submit", "--file", "-", "--key", "k-1", "--json", stdin=text).stdout)
    assert len(first["experiments"]) == 2
    again = json.loads(rae("submit", "--file", "-", "--key", "k-1", "--json", stdin=text).stdout)
    assert again == first
    other = json.dumps({**body, "study": "three"})
    assert "idempotency_mismatch" in rae("submit", "--file", "-", "--key", "k-1", stdin=other, code=3).stderr
    file = tmp_path / "none.yaml"
    file.write_text("protocol: x\n")
    assert as_json(rae, "submit", "--file", str(file), code=3)["field"] == "/experiments"


def test_cancelled_work_ends_with_one(rae: Run) -> None:
    # The last of a queue: it waits, whatever the machine is doing meanwhile.
    body = {
        "protocol": PROTOCOL,
        "experiments": [{"arguments": dict(pair.split("=") for pair in ARGUMENTS[1::2])}] * 20,
    }
    made = json.loads(rae("submit", "--file", "-", "--json", stdin=json.dumps(body)).stdout)
    experiment = made["experiments"][-1]
    assert f"{experiment} is cancelled" in rae("cancel", experiment).stdout
    assert "cancelled" in rae("watch", experiment, code=1).stdout


@pytest.mark.parametrize(
    ("words", "code", "type_"),
    [
        (("show", NOBODY), 3, "not_found"),
        (("show", "nonsense"), 3, "bad_identifier"),
        (("cancel", "../../version"), 3, "bad_identifier"),
        (("cancel", NOBODY), 3, "not_found"),
        (("result", NOBODY), 3, "not_found"),
        (("submit", PROTOCOL, "--arg", "n=9.5"), 3, "wrong_kind"),
        (("submit", PROTOCOL, "--arg", "theta=40"), 3, "bare_number"),
        (("submit", "no-such-protocol"), 3, "unknown_protocol"),
        (("ledger", "--project", "prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"), 3, "not_found"),
    ],
)
def test_refusals_are_one_problem_document(rae: Run, words: Sequence[str], code: int, type_: str) -> None:
    problem = as_json(rae, *words, code=code)
    assert problem["type"] == type_
    assert problem["remedy"]
    assert rae(*words, code=code).stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ("submit",),
        ("submit", PROTOCOL, "--arg", "n"),
        ("submit", PROTOCOL, "--arg", "n=9", "--arg", "n=8"),
        ("submit", PROTOCOL, *ARGUMENTS, "--key", ""),
        ("submit", "--file", "-", *ARGUMENTS),
        ("show",),
        ("frobnicate",),
    ],
)
def test_usage_is_two(rae: Run, words: Sequence[str]) -> None:
    rae(*words, code=2)


def test_no_facility_is_four(rae: Run) -> None:
    # A port on which nobody can listen: discard, below 1024 and unassigned to any of ours.
    done = rae("labs", "--json", "--api-url", "http://127.0.0.1:9", code=4)
    assert json.loads(done.stdout)["type"] == "unreachable"


def test_no_token_goes_out_in_the_clear(rae: Run) -> None:
    done = rae("whoami", "--json", "--api-url", "http://192.0.2.2:1", code=3)
    assert json.loads(done.stdout)["type"] == "insecure_transport"


def test_logging_out_and_in_again(made: Federation) -> None:
    pia = runner(made, "pia")
    assert as_json(pia, "logout") == {"logged_out": True}
    assert "Nobody was logged in" in pia("logout").stdout
    assert as_json(pia, "whoami", code=3)["type"] == "not_logged_in"
    people = json.loads((made.home / "people.json").read_text())
    password = next(one["password"] for one in people if one["username"] == "pia")
    assert "Pia Moreau" in pia("login", "--user", "pia", "--password-stdin", stdin=password + "\n").stdout
    pia("login", "--user", "pia", "--password-stdin", stdin="wrong\n", code=3)


def test_anothers_experiment_does_not_exist(made: Federation, done: dict[str, Any]) -> None:
    olga = runner(made, "omar")
    assert as_json(olga, "show", done["experiments"][0], code=3)["type"] == "not_found"


def test_a_missing_extra_is_named(made: Federation) -> None:
    for verb in ("up", "down", "admin"):
        assert verb in subprocess.run([str(BIN), "--help"], capture_output=True, text=True, check=True).stdout
