"""What a node says of itself with every call: session, journal, tokens, manifests, health, progress.

A head of an older call is ignored, since a newer one has said better; entries of a journal never are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from labcommons.core.errors import Conflict, Forbidden, InvalidInput, LabCommonsError, NotFound
from labcommons.core.ids import InstrumentId, JournalId, NodeId, SessionId
from labcommons.facility.ports import (
    InstrumentRow,
    JournalRow,
    ManifestRow,
    NodeRow,
    NodeSessionRow,
    TokenRow,
    UnitOfWork,
)
from labcommons.facility.services.run import lifecycle
from labcommons.federation.versions import SPEAKS, agree
from labcommons.federation.wire import Head
from labcommons.protocols.capabilities import load_shipped
from labcommons.protocols.checks import check_manifest
from labcommons.protocols.manifests import Manifest, parse_manifest
from labcommons.scheduler import events
from labcommons.scheduler.attempts import LIVE

__all__ = ["Admitted", "admit", "known", "live_states", "quarantine"]

#: A node has at most two unconsumed ready tokens an instrument and session.
_TOKENS = 2
#: Progress is written when it has moved by this much: it is lossy and decides nothing.
_FRACTION = 0.01
_LARGEST_MANIFEST = 4 << 20


@dataclass(frozen=True)
class Admitted:
    """A call that is heard. ``fresh``: no newer call of the session was heard before; ``wire``: what to answer in."""

    node: NodeRow
    journal: JournalRow
    wire: int
    fresh: bool


def live_states() -> list[str]:
    """The states of a live attempt, as the rows spell them."""
    return [str(state) for state in LIVE]


def admit(uow: UnitOfWork, node: NodeId, head: Head, *, is_next: bool = False) -> Admitted:
    """Let a call in and take over what its head says.

    Raises ``NotFound`` or ``Forbidden`` (``node_pending``, ``node_revoked``), ``InvalidInput`` (``wire_version``, a bad
    id or manifest), ``Conflict`` (``session_superseded``, ``manifest_missing``, ``manifest_type``).
    """
    row = known(uow, node)
    wire = _wire(head)
    session, journal_id = SessionId.parse(head.session, "/session"), JournalId.parse(head.journal, "/journal")
    before = row
    row = _session(uow, row, session, journal_id)
    row, journal = _journal(uow, row, journal_id)
    fresh = head.call >= row.call
    if fresh:
        tokens: dict[str, Any] = {name: list(numbers) for name, numbers in head.tokens.items()}
        row = replace(row, call=head.call, epoch=head.epoch, wire=wire, tokens=tokens)
    if is_next and head.call > row.next_call:
        row = replace(row, next_call=head.call)
        # With the commit, never before it: a held call that woke earlier would find itself the newest and sleep on.
        uow.wake(f"node:{node}")
    if row != before or row.silence == "lost" or (fresh and head.call != before.call):
        row = _heard(uow, row)
    if row.epoch != before.epoch:
        # Its tokens were of no use while it lived in another epoch.
        uow.wake("dispatch")
    if (fresh and head.call != before.call) or row.session != before.session:
        _take_over(uow, row, head, is_next=is_next)
    return Admitted(row, journal, wire, fresh)


def known(uow: UnitOfWork, node: NodeId) -> NodeRow:
    """The node, if it may speak. Raises ``NotFound`` or ``Forbidden``."""
    row = uow.lab.nodes.get(node)
    if row is None:
        raise NotFound(f"there is no node {node}", remedy="enrol the node, then use the id that it was given")
    if row.state in ("pending", "revoked"):
        raise Forbidden(
            f"node {node} is {row.state}",
            code=f"node_{row.state}",
            remedy="ask the lab's operator to have it approved" if row.state == "pending" else "enrol it anew",
        )
    return row


def _wire(head: Head) -> int:
    if head.wire not in SPEAKS:
        raise InvalidInput(
            f"this message is in wire version {head.wire}; here {list(SPEAKS)} are read",
            code="wire_version",
            field="/wire",
            remedy=f"write one of {list(SPEAKS)}",
        )
    return agree(head.speaks)


def _session(uow: UnitOfWork, row: NodeRow, session: SessionId, journal: JournalId) -> NodeRow:
    """A session that was never heard of supersedes the present one; one of the past is heard no more."""
    if session == row.session:
        return row
    known = uow.lab.sessions.get(row.id, session)
    if known is not None:
        raise Conflict(
            f"session {session} of node {row.id} is over: a newer one has called",
            code="session_superseded",
            remedy="run one agent per node; end this one",
        )
    old = None if row.session is None else uow.lab.sessions.get(row.id, row.session)
    if old is not None:
        uow.lab.sessions.save(replace(old, state="past"))
    uow.lab.sessions.add(NodeSessionRow(row.id, session, journal, uow.now))
    for attempt in uow.run.attempts.find(node=row.id, state=live_states(), stop_mode=("safe_point", "now")):
        # The new agent knows of no stop: it is told again at once.
        uow.run.attempts.save(replace(attempt, stop_told_at=None))
    uow.audit(row.id, "node.session", row.id, {"session": session})
    return replace(row, session=session, call=0, next_call=0)


def _journal(uow: UnitOfWork, row: NodeRow, journal: JournalId) -> tuple[NodeRow, JournalRow]:
    """The journal that the call speaks of. Any but the one that is known puts the node into quarantine."""
    known = uow.lab.journals.get(row.id, journal)
    if known is not None and journal == row.journal:
        return row, known
    if known is None:
        known = JournalRow(row.id, journal, uow.now)
        uow.lab.journals.add(known)
    if row.journal is None:
        return replace(row, journal=journal), known
    if known.state == "current":
        old = uow.lab.journals.get(row.id, row.journal)
        if old is not None:
            uow.lab.journals.save(replace(old, state="retired"))
        row = uow.lab.nodes.save(replace(row, journal=journal))
    return quarantine(uow, row, f"journal {journal} in place of the one that is known"), known


def quarantine(uow: UnitOfWork, row: NodeRow, cause: str) -> NodeRow:
    """No more grants to this node; its live attempts are UNKNOWN. A person ends it, when the journal is read."""
    if row.state != "quarantined" or row.reason != cause:
        row = uow.lab.nodes.save(replace(row, state="quarantined", reason=cause))
        uow.audit(row.id, "node.quarantined", row.id, {"cause": cause})
        uow.emit("node.quarantined", row.id, "quarantined", lab=row.lab, node=row.id)
    for attempt in uow.run.attempts.find(node=row.id, state=live_states()):
        lifecycle.happen(uow, attempt, events.Quarantined(uow.now, "journal"), actor=row.id)
    return row


def _heard(uow: UnitOfWork, row: NodeRow) -> NodeRow:
    """The node calls: its lease runs from now."""
    if row.silence == "lost":
        uow.emit("node.heard", row.id, "heard", lab=row.lab, node=row.id, topics=("dispatch",))
        uow.audit(row.id, "node.heard", row.id)
    first = row.last_seen_at is None
    saved = uow.lab.nodes.save(replace(row, last_seen_at=uow.now, lease_from=uow.now, silence="heard"))
    if first or row.silence == "lost":
        uow.wake("silence", "dispatch")
    return saved


# --- what the head says -----------------------------------------------------------------------------------------------


def _take_over(uow: UnitOfWork, row: NodeRow, head: Head, *, is_next: bool) -> None:
    """Manifests, health, tokens and progress.

    A manifest that cannot be taken keeps work away (``next`` is refused), never evidence (``report`` is read).
    """
    try:
        _describe(uow, row, head)
    except LabCommonsError as refusal:
        if is_next or refusal.word == "manifest_missing":
            raise
    benches = {bench.name: bench for bench in uow.lab.instruments.find(node=row.id)}
    changed = False
    for name, health in head.health.items():
        if name in benches:
            changed |= _health(uow, benches[name], health.state, health.detail)
    for name, bench in benches.items():
        changed |= _tokens(uow, row, bench, head.tokens.get(name, []))
    for live in head.live:
        _progress(uow, row, live.attempt, live.fraction)
    if changed:
        uow.wake("dispatch")


def _describe(uow: UnitOfWork, row: NodeRow, head: Head) -> None:
    """The lab's word on its instruments, where it is new."""
    for name, sha256 in head.manifests.items():
        bench = uow.lab.instruments.one(node=row.id, name=name)
        if bench is not None and bench.manifest == sha256:
            continue
        manifest = _manifest(uow, row, sha256)
        spec = manifest.instrument(name)
        if spec is None:
            raise InvalidInput(
                f"manifest {sha256} does not describe {name!r}",
                code="bad_manifest",
                field=f"/manifests/{name}",
                remedy="name the manifest that describes the instrument",
            )
        if bench is None:
            bench = InstrumentRow(uow.ids.mint(InstrumentId), row.lab, row.id, name, spec.type, uow.now)
            uow.lab.instruments.add(bench)
        elif bench.type != spec.type:
            raise Conflict(
                f"{name} was enrolled as a {bench.type}, and its manifest calls it a {spec.type}",
                code="manifest_type",
                field=f"/manifests/{name}",
                remedy=f"write type {bench.type}, or ask the facility's staff to change it",
            )
        uow.lab.instruments.save(replace(bench, manifest=sha256, simulated=spec.simulated))
        uow.audit(row.id, "instrument.described", bench.id, {"manifest": sha256})
        uow.emit("instrument.described", bench.id, bench.state, lab=row.lab, node=row.id, topics=("dispatch",))
        _lab(uow, row, manifest)


def _manifest(uow: UnitOfWork, row: NodeRow, sha256: str) -> Manifest:
    known = uow.lab.manifests.get(sha256)
    if known is not None:
        return parse_manifest(known.document)
    if not uow.objects.has(sha256):
        raise Conflict(
            f"the manifest {sha256} is not here",
            code="manifest_missing",
            field="/manifests",
            remedy=f"PUT its bytes to /v1/node/objects/{sha256}, then call again",
        )
    if uow.objects.size(sha256) > _LARGEST_MANIFEST:
        raise InvalidInput(
            f"a manifest has at most {_LARGEST_MANIFEST} bytes",
            code="bad_manifest",
            remedy="describe fewer instruments in one manifest",
        )
    with uow.objects.open(sha256) as file:
        text = file.read()
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"the manifest {sha256} is not JSON: {error}", code="bad_manifest", remedy="send its canonical JSON"
        ) from error
    manifest = parse_manifest(document)
    # Capabilities of the lab's own are its own word; what the commons has published it cannot contradict.
    wrong = [one for one in check_manifest(manifest, load_shipped()) if one.code != "unknown_capability"]
    if wrong:
        raise InvalidInput(wrong[0].text, code="bad_manifest", field=wrong[0].field, remedy=wrong[0].remedy)
    uow.lab.manifests.add(ManifestRow(sha256, row.lab, row.id, document, uow.now))
    return manifest


def _lab(uow: UnitOfWork, row: NodeRow, manifest: Manifest) -> None:
    """What the manifest says of the whole lab."""
    lab = uow.lab.labs.get(row.lab)
    if lab is None:
        return
    said = replace(
        lab,
        time_scale=str(manifest.time_scale),
        time_zone=manifest.lab.time_zone,
        simulated=bool(manifest.instruments) and all(one.simulated for one in manifest.instruments),
    )
    if said != lab:
        uow.lab.labs.save(said)


def _health(uow: UnitOfWork, bench: InstrumentRow, state: str, detail: str) -> bool:
    if (bench.state, bench.detail) == (state, detail):
        return False
    # Whoever saves the bench next in this transaction reads it anew.
    current = uow.lab.instruments.get(bench.id) or bench
    uow.lab.instruments.save(replace(current, state=state, detail=detail))
    if bench.state != state:
        uow.emit(f"instrument.{state}", bench.id, state, lab=bench.lab, node=bench.node)
    return bench.state != state


def _tokens(uow: UnitOfWork, row: NodeRow, bench: InstrumentRow, numbers: list[int]) -> bool:
    """The instrument's ready tokens of this session: new ones are kept, ones that are withdrawn are forgotten."""
    if row.session is None:
        return False
    kept = {token.number: token for token in uow.lab.tokens.find(session=row.session, node=row.id, instrument=bench.id)}
    offered = sorted(set(numbers))[:_TOKENS]
    withdrawn = [number for number, token in kept.items() if token.attempt is None and number not in offered]
    if withdrawn:
        uow.lab.tokens.delete(node=row.id, session=row.session, instrument=bench.id, number=withdrawn)
    new = [number for number in offered if number not in kept]
    uow.lab.tokens.add(*(TokenRow(row.id, row.session, bench.id, number, uow.now) for number in new))
    return bool(new)


def _progress(uow: UnitOfWork, row: NodeRow, attempt_id: str, fraction: float | None) -> None:
    attempt = uow.run.attempts.get(attempt_id)
    if fraction is None or attempt is None or attempt.node != row.id or attempt.state != "RUNNING":
        return
    if attempt.fraction is None or abs(attempt.fraction - fraction) >= _FRACTION:
        uow.run.attempts.save(replace(attempt, fraction=fraction))
        uow.emit(
            "attempt.progress",
            attempt.id,
            attempt.state,
            project=attempt.project,
            experiment=attempt.experiment,
            lab=attempt.lab,
            node=attempt.node,
        )
