"""Instruments as compiling and granting see them: rows joined with the lab's word, its manifest."""

from __future__ import annotations

from labcommons.core.errors import InvalidTransition
from labcommons.facility.ports import InstrumentRow, LabRow, UnitOfWork
from labcommons.protocols.compile import Candidate
from labcommons.protocols.manifests import Manifest, parse_manifest

__all__ = ["candidate", "candidates", "manifest"]

#: Manifests by their hash. What a hash names never changes, so nothing here can be stale.
_PARSED: dict[str, Manifest] = {}
_MOST = 512


def manifest(uow: UnitOfWork, sha256: str) -> Manifest:
    """The manifest of this hash. Raises ``InvalidTransition`` when the books name one that they do not hold."""
    known = _PARSED.get(sha256)
    if known is not None:
        return known
    row = uow.lab.manifests.get(sha256)
    if row is None:
        raise InvalidTransition(f"manifest {sha256} is named and not in the books")
    if len(_PARSED) >= _MOST:
        _PARSED.clear()
    _PARSED[sha256] = parsed = parse_manifest(row.document)
    return parsed


def candidate(uow: UnitOfWork, bench: InstrumentRow, lab: LabRow) -> Candidate | None:
    """The instrument as a candidate; ``None`` while its lab has not said what it offers."""
    spec = None if bench.manifest is None else manifest(uow, bench.manifest).instrument(bench.name)
    if spec is None:
        return None
    return Candidate(bench.id, lab.id, lab.name, bench.name, bench.type, bench.simulated, spec)


def candidates(uow: UnitOfWork) -> list[Candidate]:
    """Every instrument of a node that is not revoked and whose lab has said what it offers, oldest first."""
    labs = {lab.id: lab for lab in uow.lab.labs.find()}
    gone = {node.id for node in uow.lab.nodes.find(state=("revoked", "pending"))}
    found = (candidate(uow, bench, labs[bench.lab]) for bench in uow.lab.instruments.find() if bench.node not in gone)
    return [one for one in found if one is not None]
