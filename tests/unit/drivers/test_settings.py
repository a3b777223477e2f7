"""node.yaml is read whole or refused with the place in it; the manifest offers what the instrument covers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from labcommons.core.errors import InvalidInput
from labcommons.node.drivers.contract import Description
from labcommons.node.manifest import derive
from labcommons.node.settings import NodeSettings, load, parse
from labcommons.protocols.manifests import parse_manifest

NODE = """
node: 1
lab: {name: Riverside colour lab, time_zone: Europe/Lisbon, ror: null}
facility: {url: "https://commons.example", authority: facility-ca.pem}
state: ./state
ray: {ports: 21000-21099, token_file: ./state/ray.token}
time_scale: "60"
instruments:
  mixer:
    type: colour-mixer
    driver: line
    address: "127.0.0.1:7401"
    shared_folder: ./shared
    offers:
      - capability: liquid.mix@1
        actions: {dispense: {parameters: {red: {max: "80"}, yellow: {max: "80"}, blue: {max: "80"}}}}
  reader:
    type: colour-reader
    driver: simulated
    model: colour_reader
    seed: 11
    offers: [{capability: colour.measure@1}]
    calibration: {id: cal-2026-10, at: "2026-10-01T09:00:00Z", due: "2027-04-01T09:00:00Z"}
allow:
  - {protocol: "colour.*", projects: any, hours: "Mon-Fri 08:00-20:00"}
  - {protocol: "sha256:9f2c", projects: [prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7]}
"""


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    (tmp_path / "node.yaml").write_text(NODE)
    return load(tmp_path / "node.yaml")


def test_the_whole_file_is_read_and_paths_are_relative_to_it(settings: NodeSettings, tmp_path: Path) -> None:
    assert settings.state == tmp_path / "state"
    assert settings.ray.token_file == tmp_path / "state/ray.token"
    assert settings.ray.port_range == (21000, 21099)
    assert settings.facility is not None
    assert settings.facility.authority == tmp_path / "facility-ca.pem"
    assert settings.time_scale == Decimal(60)
    assert settings.driver_options("mixer") == {
        "name": "mixer",
        "lab": "Riverside colour lab",
        "time_scale": "60",
        "address": "127.0.0.1:7401",
        "shared_folder": str(tmp_path / "shared"),
    }
    assert settings.driver_options("reader")["calibration"] == "cal-2026-10"
    first, second = settings.rules
    assert (first.protocol, first.projects, first.hours_text) == ("colour.*", None, "Mon-Fri 08:00-20:00")
    assert second.projects == frozenset({"prj_01J8Z3V5Q2M4T6W8Y0A1B3C5D7"})


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    found = parse({"node": 1, "lab": {"name": "L", "time_zone": "UTC"}, "runtime": "inprocess"}, tmp_path)
    assert (found.state, found.facility, found.ray.port_range) == (tmp_path / "state", None, None)
    assert (found.runtime, found.time_scale, found.rules) == ("inprocess", Decimal(1), ())


MINIMAL: dict[str, Any] = {"node": 1, "lab": {"name": "L", "time_zone": "UTC"}}
BALANCE = {"type": "balance", "driver": "line"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"node": 2}, "/node"),
        ({"colour": "red"}, "/colour"),
        ({"folder": "/"}, "/folder"),
        ({"lab": {"name": "L", "time_zone": "Mars/Olympus"}}, "/lab/time_zone"),
        ({"facility": {"url": "http://commons.example"}}, "/facility/url"),
        ({"facility": {"url": "commons.example"}}, "/facility/url"),
        ({"ray": {"ports": "21000"}}, "/ray/ports"),
        ({"ray": {"ports": "21000-21001"}}, "/ray/ports"),
        ({"runtime": "slurm"}, "/runtime"),
        ({"time_scale": 60}, "/time_scale"),
        ({"time_scale": "0"}, "/time_scale"),
        ({"state": 4}, "/state"),
        ({"instruments": {"Big Press": BALANCE}}, "/instruments/Big Press"),
        ({"instruments": {"b": {"driver": "line"}}}, "/instruments/b/type"),
        ({"instruments": {"b": {**BALANCE, "offers": [{"capability": "mass"}]}}}, "/instruments/b/offers/0/capability"),
        ({"instruments": {"b": {**BALANCE, "capacity": 0}}}, "/instruments/b/capacity"),
        ({"allow": [{"protocol": "*", "hours": "sometimes"}]}, "/allow/0/hours"),
        ({"allow": [{"protocol": "*", "projects": ["prj_x"]}]}, "/allow/0/projects/0"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(changed: dict[str, Any], field: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse({**MINIMAL, **changed}, tmp_path)
    assert refused.value.field == field


def test_files_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(file)
    file.write_text("node: [1")
    with pytest.raises(InvalidInput, match="is no YAML at line 1"):
        load(file)
    file.write_text("just text")
    with pytest.raises(InvalidInput, match="no object"):
        load(file)


def test_an_instrument_that_is_not_there_is_refused_with_those_that_are(settings: NodeSettings) -> None:
    with pytest.raises(InvalidInput) as refused:
        settings.driver_options("press")
    assert "mixer, reader" in refused.value.remedy


def described(**changed: Any) -> Description:
    dye = {"kind": "quantity", "unit": "uL", "min": "0", "max": "200"}
    action: dict[str, Any] = {
        "name": "dispense",
        "parameters": {"red": dye, "yellow": dye, "blue": dye},
        "outputs": {"volume": {"kind": "quantity", "unit": "uL"}},
        "duration": {"expected_ms": 4000, "max_ms": 60000},
    }
    for path, value in changed.items():
        where = action
        *folders, last = path.split("__")
        for folder in folders:
            where[folder] = dict(where[folder])
            where = where[folder]
        if value is None:
            del where[last]
        else:
            where[last] = value
    return Description.from_json(
        {
            "protocol": 1,
            "instrument": {
                "name": "DyeMix 3",
                "manufacturer": "Example Robotics",
                "model": "DM-3",
                "serial": "DM3-0042",
            },
            "actions": [action],
            "remembers_attempts": True,
            "can_void": True,
            "on_disconnect": "continue",
            "simulated": True,
            "time_scale": "60",
        }
    )


def test_the_manifest_is_the_one_of_the_design(settings: NodeSettings) -> None:
    manifest = derive(settings, {"mixer": described()})
    parse_manifest(manifest)
    (mixer,) = manifest["instruments"]
    assert mixer["pidinst"] == {
        "name": "DyeMix 3",
        "manufacturers": [{"name": "Example Robotics"}],
        "model": {"name": "DM-3"},
        "alternateIdentifiers": [{"type": "SerialNumber", "value": "DM3-0042"}],
    }
    dispense = mixer["offers"][0]["actions"]["dispense"]
    assert dispense["driver_action"] == "dispense"
    assert dispense["parameters"]["red"] == {"kind": "quantity", "unit": "uL", "min": "0", "max": "80"}
    assert dispense["duration"] == {"expected_ms": "4000", "maximum_ms": "60000"}
    assert (manifest["time_scale"], mixer["simulated"]) == ("60", True)


def offering(settings: NodeSettings, **action: Any) -> NodeSettings:
    mixer = {"type": "colour-mixer", "driver": "line", "address": "127.0.0.1:1"}
    offers = [{"capability": "liquid.mix@1", "actions": {"dispense": action}}]
    document = {**MINIMAL, "time_scale": "60", "instruments": {"mixer": {**mixer, "offers": offers}}}
    return parse(document, settings.folder)


HERE = "/instruments/mixer/offers/0/actions/dispense"


@pytest.mark.parametrize(
    ("description", "action", "field", "word"),
    [
        ({}, {"driver_action": "pour"}, f"{HERE}/driver_action", "describes no action 'pour'"),
        ({"parameters__red": None}, {}, f"{HERE}/parameters/red", "takes no parameter 'red'"),
        ({"parameters__green": {"kind": "int"}}, {}, HERE, "wants a parameter 'green'"),
        ({"parameters__red": {"kind": "int"}}, {}, f"{HERE}/parameters/red", "describes int"),
        ({"parameters__red": {"kind": "quantity", "unit": "mg"}}, {}, f"{HERE}/parameters/red", "describes mg"),
        ({"parameters__red": {"kind": "quantity"}}, {}, f"{HERE}/parameters/red", "without a unit"),
        ({"parameters__red": {"kind": "quantity", "unit": "uL", "max": 4}}, {}, f"{HERE}/parameters/red", "badly"),
        ({}, {"parameters": {"red": {"max": "300"}}}, f"{HERE}/parameters/red/max", "outside the instrument's range"),
        ({}, {"parameters": {"red": {"min": "-1"}}}, f"{HERE}/parameters/red/min", "outside the instrument's range"),
        (
            {"parameters__red": {"kind": "quantity", "unit": "uL", "max": "5000"}},
            {"parameters": {"red": {"max": "2000"}}},
            f"{HERE}/parameters/red/max",
            "outside the capability's range",
        ),
        ({}, {"parameters": {"red": {"min": "9", "max": "8"}}}, f"{HERE}/parameters/red", "nothing is left"),
        ({}, {"parameters": {"mauve": {"max": "8"}}}, f"{HERE}/parameters/mauve", "no parameter 'mauve'"),
        ({"outputs__volume": None}, {}, f"{HERE}/outputs/volume", "gives no output 'volume'"),
        ({"outputs__volume": {"kind": "quantity", "unit": "s"}}, {}, f"{HERE}/outputs/volume", "describes s"),
        ({}, {"duration": {"expected_ms": "60001"}}, f"{HERE}/duration/maximum_ms", "above the maximum"),
        ({}, {"duration": {"expected_ms": "100.0 * mauve"}}, f"{HERE}/duration/expected_ms", "mauve"),
    ],
)
def test_what_the_instrument_does_not_cover_is_not_offered(
    settings: NodeSettings, description: dict[str, Any], action: dict[str, Any], field: str, word: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        derive(offering(settings, **action), {"mixer": described(**description)})
    assert refused.value.field == field
    assert word in refused.value.detail
    assert refused.value.remedy


def test_ranges_are_those_of_both_in_the_unit_of_the_instrument(settings: NodeSettings) -> None:
    small = {"kind": "quantity", "unit": "mL", "min": "0.05", "max": "5"}
    manifest = derive(offering(settings), {"mixer": described(parameters__red=small)})
    red = manifest["instruments"][0]["offers"][0]["actions"]["dispense"]["parameters"]["red"]
    assert (red["unit"], Decimal(red["min"]), Decimal(red["max"])) == ("mL", Decimal("0.05"), Decimal(1))


def test_a_duration_may_be_an_expression(settings: NodeSettings) -> None:
    found = derive(offering(settings, duration={"expected_ms": "4000.0 + 15.0 * red"}), {"mixer": described()})
    duration = found["instruments"][0]["offers"][0]["actions"]["dispense"]["duration"]
    assert duration == {"expected_ms": "4000.0 + 15.0 * red", "maximum_ms": "60000"}


def test_unknown_capabilities_and_actions_are_refused(settings: NodeSettings) -> None:
    mixer = {"type": "m", "driver": "line", "offers": [{"capability": "cold.fusion@1"}]}
    document = {**MINIMAL, "time_scale": "60", "instruments": {"mixer": mixer}}
    with pytest.raises(InvalidInput, match=r"no capability is called cold\.fusion@1"):
        derive(parse(document, settings.folder), {"mixer": described()})
    mixer["offers"] = [{"capability": "liquid.mix@1", "actions": {"shake": {}}}]
    with pytest.raises(InvalidInput, match="has no action 'shake'"):
        derive(parse(document, settings.folder), {"mixer": described()})


def test_time_scales_that_differ_are_refused(settings: NodeSettings) -> None:
    other = settings.model_copy(update={"time_scale": Decimal(1)})
    with pytest.raises(InvalidInput, match=r"time scale is 60, node\.yaml says 1"):
        derive(other, {"mixer": described()})


def test_an_enum_offers_the_words_that_both_have(tmp_path: Path) -> None:
    from labcommons.protocols.capabilities import parse_capability

    mode = {"kind": "enum", "values": ["slow", "quick", "wild"]}
    capability = parse_capability(
        {"capability": 1, "id": "x.y", "version": 1, "title": "t", "actions": {"go": {"parameters": {"mode": mode}}}}
    )
    own = {"kind": "enum", "values": ["quick", "slow", "turbo"]}
    base = described().to_json() | {"time_scale": "1"}
    go = {"name": "go", "parameters": {"mode": own}, "outputs": {}, "duration": {"expected_ms": 1, "max_ms": 2}}
    robot = Description.from_json(base | {"actions": [go]})

    def words(**narrowed: Any) -> Any:
        offers = [{"capability": "x.y@1", "actions": {"go": {"parameters": {"mode": narrowed}}}}]
        document = {**MINIMAL, "instruments": {"r": {"type": "r", "driver": "line", "offers": offers}}}
        found = derive(parse(document, tmp_path), {"r": robot}, {"x.y@1": capability})
        return found["instruments"][0]["offers"][0]["actions"]["go"]["parameters"]["mode"]["values"]

    assert words() == ["slow", "quick"]
    assert words(values=["quick"]) == ["quick"]
    with pytest.raises(InvalidInput, match="'turbo', which is not there"):
        words(values=["turbo"])
    with pytest.raises(InvalidInput, match="no word is left"):
        words(values=[])
