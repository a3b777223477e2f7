"""Documents that the tests of protocols start from: the two-step colour protocol and its lab."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from labcommons.core.ids import InstrumentId, LabId
from labcommons.protocols.compile import Candidate
from labcommons.protocols.manifests import ManifestInstrument, parse_manifest

FOLDER = Path(__file__).parent.parent / "unit" / "protocols" / "documents"
ENTROPY = b"0123456789"
NORTH = LabId.mint(1, ENTROPY)
SOUTH = LabId.mint(2, ENTROPY)


def colour_document() -> dict[str, Any]:
    """The two-step protocol, fresh and changeable."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "colour.mix-and-measure.yaml").read_text(encoding="utf-8"))
    return loaded


def riverside_document() -> dict[str, Any]:
    """The manifest of the lab with the mixer, fresh and changeable."""
    loaded: dict[str, Any] = json.loads((FOLDER / "riverside.json").read_text(encoding="utf-8"))
    return loaded


def change(document: dict[str, Any], pointer: str, value: Any) -> dict[str, Any]:
    """A copy of ``document`` with ``value`` at the JSON pointer (``...`` takes the member out)."""
    out = copy.deepcopy(document)
    *path, last = pointer.split("/")[1:]
    place: Any = out
    for part in path:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    key: Any = int(last) if isinstance(place, list) else last
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return out


def instrument(offer: dict[str, Any], *, name: str = "device", kind: str = "device-type") -> ManifestInstrument:
    """An instrument of a manifest with one offer."""
    spec = {"name": name, "type": kind, "simulated": True, "remembers_attempts": True, "can_void": True}
    spec |= {"on_disconnect": "continue", "offers": [offer]}
    manifest = {"manifest": 1, "lab": {"name": "Lab", "time_zone": "UTC"}, "instruments": [spec]}
    return parse_manifest(manifest).instruments[0]


def candidate(spec: ManifestInstrument, number: int, lab: LabId = NORTH) -> Candidate:
    """A candidate with the identifier number ``number``."""
    lab_name = "north" if lab == NORTH else "south"
    return Candidate(InstrumentId.mint(number, ENTROPY), lab, lab_name, spec.name, spec.type, spec.simulated, spec)


def mixer(**duration: Any) -> dict[str, Any]:
    """The offer of the riverside mixer; ``expected_ms`` and ``maximum_ms`` can be changed."""
    offer: dict[str, Any] = riverside_document()["instruments"][0]["offers"][0]
    offer["actions"]["dispense"]["duration"] |= duration
    return offer


def reader(**duration: Any) -> dict[str, Any]:
    """An offer of ``colour.measure@1``."""
    times = {"expected_ms": "2000.0 + 2.0 * exposure * averages", "maximum_ms": 20000} | duration
    return {"capability": "colour.measure@1", "actions": {"read": {"duration": times}}}
