"""`try` and `new-driver`, as a person at a bench uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from labcommons.node.cli import main
from labcommons.node.cli.status import instrument_status
from labcommons.node.settings import parse
from witness.fixtures import WitnessProcess, start_witness

__all__ = ["start_witness"]
Start = Callable[..., WitnessProcess]
SIMULATED = ["--driver", "simulated", "--option", "model=crossed_barrel", "--option", 'time_scale="100000"']


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_names_are_those_of_the_interface() -> None:
    for command in ("try", "check", "new-driver"):
        assert "labcommons-node" in run(command, "--help").output


def test_try_shows_the_result_with_unit_and_uncertainty(start_witness: Start) -> None:
    witness = start_witness("--duration-ms", "50")
    found = run("try", "--driver", "line", "--address", witness.address, "--arg", "theta=0.7 rad", "--arg", "n=7")
    assert found.exit_code == 0, found.output
    assert "± 0.35 J" in found.output
    assert "curve.csv" in found.output
    (start,) = witness.starts()
    assert start["arguments"]["n"] == {"int": 7}
    assert start["arguments"]["theta"]["unit"] == "deg"
    assert start["arguments"]["r"] == {"value": "2.0", "unit": "mm"}


def test_try_as_json_prints_one_document_and_nothing_else() -> None:
    found = run("try", *SIMULATED, "--json")
    assert found.exit_code == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["status"]["result"]["outputs"]["toughness"]["unit"] == "J"
    assert document["instrument"]["simulated"] is True


def test_a_look_moves_nothing(start_witness: Start) -> None:
    witness = start_witness()
    assert "idle" in run("try", "--address", witness.address, "--look").output
    assert json.loads(run("try", "--address", witness.address, "--look", "--json").stdout)["health"]["state"] == "idle"
    assert witness.starts() == []


@pytest.mark.parametrize(
    ("flags", "arguments", "code", "word"),
    [
        (("--outcome", "failed", "--duration-ms", "10"), (), 1, "hardware: told to fail"),
        (("--refuse", "interlock"), (), 3, "nothing moved: interlock"),
        (("--fault", "drop-after-start"), (), 5, "it may have run"),
        (("--fault", "silent@describe"), (), 1, "no answer"),
        ((), ("--arg", "theta=400 deg"), 3, "out_of_range"),
        ((), ("--arg", "theta=40"), 3, "unit"),
        ((), ("--arg", "beta=40"), 3, "there are: n, theta, r, t"),
        ((), ("--arg", 'n={"int": 4'), 3, "no JSON"),
        ((), ("--action", "melt"), 2, "the instrument has: crush"),
        (("--duration-ms", "60000"), ("--timeout", "0.3"), 5, "running"),
        ((), ("--option", "colour"), 2, "KEY=VALUE"),
        ((), ("--option", "colour=red"), 2, "no option 'colour'"),
    ],
)
def test_try_says_what_is_wrong_with_its_exit_code(
    start_witness: Start, flags: tuple[str, ...], arguments: tuple[str, ...], code: int, word: str
) -> None:
    witness = start_witness(*flags)
    found = run("try", "--address", witness.address, "--option", "reply_timeout_s=0.5", *arguments)
    assert found.exit_code == code, found.output
    assert word in found.output


def test_an_argument_may_be_a_value_in_json() -> None:
    found = run("try", *SIMULATED, "--json", "--arg", 'n={"int": 12}')
    assert json.loads(found.stdout)["arguments"]["n"] == {"int": 12}


@pytest.mark.parametrize("command", ["try", "check"])
def test_without_an_instrument_it_asks_which(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(command)
    assert found.exit_code == 2
    assert "--address" in found.output
    assert run(command, "--driver", "telepathy").exit_code == 2
    assert run(command, "--config", "none.yaml").exit_code == 3


NODE: dict[str, Any] = {
    "node": 1,
    "lab": {"name": "North", "time_zone": "UTC"},
    "time_scale": "100000",
    "instruments": {"press": {"type": "barrel-press", "driver": "simulated", "model": "crossed_barrel"}},
}


def test_try_and_check_take_an_instrument_from_node_yaml(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text(json.dumps(NODE))
    assert run("try", "--config", str(file)).exit_code == 0
    found = run("check", "press", "--config", str(file), "--no-motion", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["kept"] is True
    assert run("try", "melter", "--config", str(file)).exit_code == 3
    assert not (tmp_path / "state").exists()


def test_an_instrument_of_node_yaml_says_how_it_is(start_witness: Start, tmp_path: Path) -> None:
    witness = start_witness()
    line = {"type": "barrel-press", "driver": "line", "address": witness.address, "connect_timeout_s": 0.2}
    settings = parse(NODE | {"instruments": {**NODE["instruments"], "there": line}}, tmp_path)
    states = {name: instrument_status(settings, name)["state"] for name in settings.instruments}
    assert states == {"press": "in process", "there": "idle"}
    witness.kill()
    gone = instrument_status(settings, "there")
    assert (gone["state"], "nothing answers" in gone["detail"]) == ("lost", True)


def test_a_new_driver_works_as_it_is_written(tmp_path: Path) -> None:
    found = run("new-driver", "shaker_table", "--into", str(tmp_path), "--json")
    assert found.exit_code == 0, found.output
    root = Path(json.loads(found.stdout)["folder"])
    assert '"labcommons.drivers"' in (root / "pyproject.toml").read_text()
    assert "@" not in (root / "src/labcommons_shaker_table/driver.py").read_text()
    program = (
        f"import sys; sys.path.insert(0, {str(root / 'src')!r}); sys.path.insert(0, {str(root / 'tests')!r});"
        "import test_driver; test_driver.test_it_keeps_the_contract()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
    assert run("new-driver", "shaker_table", "--into", str(tmp_path)).exit_code == 3
    assert run("new-driver", "Shaker Table", "--into", str(tmp_path)).exit_code == 2
    assert "pyproject.toml" in run("new-driver", "other", "--into", str(tmp_path)).output
