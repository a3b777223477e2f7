"""Compiling the colour protocol, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labcommons.protocols.capabilities import Capability, load_shipped
from labcommons.protocols.compile import (
    Candidate,
    Plan,
    Reason,
    Refusal,
    compile_experiment,
)
from labcommons.protocols.documents import parse_protocol
from support.documents import candidate, colour_document, instrument, mixer, reader

UL = {"red": ("30", "uL"), "yellow": ("0.04", "mL"), "blue": ("0", "uL")}
ARGUMENTS: dict[str, Any] = {name: {"value": value, "unit": unit} for name, (value, unit) in UL.items()}
MIXER = candidate(instrument(mixer(), name="mixer", kind="colour-mixer"), 1)
READER = candidate(instrument(reader(), name="reader", kind="colour-reader"), 2)
BOTH = [MIXER, READER]


def run(
    document: dict[str, Any] | None = None,
    arguments: Mapping[str, object] = ARGUMENTS,
    candidates: list[Candidate] | None = None,
    capabilities: Mapping[str, Capability] | None = None,
    **wishes: Any,
) -> Plan | Refusal:
    protocol = parse_protocol(document if document is not None else colour_document())
    found = BOTH if candidates is None else candidates
    return compile_experiment(protocol, capabilities or load_shipped(), arguments, found, **wishes)


def plan(*given: Any, **more: Any) -> Plan:
    got = run(*given, **more)
    assert isinstance(got, Plan), got.to_json()
    return got


def reasons(*given: Any, **more: Any) -> tuple[Reason, ...]:
    got = run(*given, **more)
    assert isinstance(got, Refusal)
    assert got.reasons
    assert all(reason.remedy and reason.text for reason in got.reasons)
    assert got.to_json() == {"reasons": [reason.to_json() for reason in got.reasons]}
    return got.reasons


def only(*given: Any, **more: Any) -> Reason:
    (reason,) = reasons(*given, **more)
    return reason


def two_mixes() -> dict[str, Any]:
    document = colour_document()
    again = json.loads(json.dumps(document["steps"][0])) | {"id": "again"}
    document["steps"].insert(1, again)
    return document


def chain() -> tuple[dict[str, Any], Mapping[str, Capability]]:
    """A protocol whose second step dispenses what the first one reports, with no word of `after`."""
    document = two_mixes()
    document["steps"][1]["arguments"]["red"] = {"from": "steps.mix.outputs.volume"}
    return document, load_shipped()
