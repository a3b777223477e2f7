"""Labs, their nodes and instruments, as the facility knows them: rows, and what manifests say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcommons.core.errors import NotFound
from labcommons.facility.ports import InstrumentRow, LabRow, NodeRow, UnitOfWork

LIVE_ATTEMPTS = ("GRANTED", "RUNNING", "RESULT_STORED", "SUSPECT", "UNKNOWN")


def get_lab(uow: UnitOfWork, lab: str) -> LabRow:
    """The lab with this id or name. Raises `NotFound`."""
    row = uow.lab.labs.get(lab) or uow.lab.labs.one(name=lab)
    if row is None:
        raise NotFound(f"There is no lab {lab}.", remedy="see GET /v1/labs for the labs of the federation")
    return row


def get_node(uow: UnitOfWork, node: str) -> NodeRow:
    """The node with this id. Raises `NotFound`."""
    row = uow.lab.nodes.get(node)
    if row is None:
        raise NotFound(f"There is no node {node}.", remedy="see GET /v1/nodes for those that you may see")
    return row


def get_instrument(uow: UnitOfWork, instrument: str) -> InstrumentRow:
    """The instrument with this id. Raises `NotFound`."""
    row = uow.lab.instruments.get(instrument)
    if row is None:
        raise NotFound(f"There is no instrument {instrument}.", remedy="see GET /v1/instruments for all of them")
    return row


def lab_state(nodes: list[NodeRow]) -> str:
    """`online`: a node was heard within its lease; `silent`: none was, one is overdue; `offline`: none ever called."""
    calling = [node for node in nodes if node.last_seen_at is not None and node.state != "revoked"]
    if not calling:
        return "offline"
    return "online" if any(node.silence == "heard" for node in calling) else "silent"


def described(uow: UnitOfWork, instrument: InstrumentRow) -> Mapping[str, Any]:
    """What the lab's manifest says of the instrument; empty before the first manifest came."""
    manifest = uow.lab.manifests.get(instrument.manifest) if instrument.manifest is not None else None
    listed = manifest.document.get("instruments", []) if manifest is not None else []
    return next((one for one in listed if one.get("name") == instrument.name), {})


def running(uow: UnitOfWork, instrument: InstrumentRow) -> str | None:
    """The attempt that has the instrument now."""
    attempt = uow.run.attempts.one(instrument=instrument.id, state=LIVE_ATTEMPTS)
    return attempt.id if attempt is not None else None
