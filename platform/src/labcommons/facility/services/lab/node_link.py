"""The platform's half of the link: two lanes over one set of cursors (delivery.md).

Every verb is idempotent: a call that is lost, repeated, reordered or cut changes nothing. They raise ``core.errors``
for a message that cannot be taken; the caller then writes ``refused`` in a transaction of its own and answers with the
problem.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Literal

from labcommons.core.errors import InvalidInput, LabCommonsError
from labcommons.core.ids import NodeId
from labcommons.facility.ports import AttemptRow, NodeRow, ObjectRow, UnitOfWork
from labcommons.facility.services.lab import heads, reading
from labcommons.facility.services.run import lifecycle
from labcommons.federation.wire import Answer, Cursor, Grant, NextCall, ReportCall, Stop
from labcommons.scheduler import events

__all__ = ["RETELL", "idle_answer", "next_answer", "put_object", "refused", "report"]

#: A stop that no entry has answered is told again after this long.
RETELL = timedelta(seconds=1)
_OUTCOMES = ("done", "failed", "stopped")


def report(uow: UnitOfWork, node: NodeId, call: ReportCall) -> Answer:
    """Read the node's journal since the cursor; the answer says how far, and which results are kept for good."""
    admitted = heads.admit(uow, node, call)
    done = reading.read(uow, admitted.node, admitted.journal, call.entries)
    if done.whole and done.node.state == "active":
        # Read to its head: what only our own silence had put in doubt runs, if its last word is that it runs.
        for attempt in uow.run.attempts.find(node=node, state=("SUSPECT", "UNKNOWN")):
            lifecycle.happen(uow, attempt, events.ContactRegained(uow.now), actor=node)
    return _answer(uow, replace(admitted, node=done.node, journal=done.journal))


def next_answer(uow: UnitOfWork, node: NodeId, call: NextCall) -> Answer | None:
    """What the node is to do now, stops first; ``None`` while there is nothing: wait on the topic ``node:<id>``.

    A ``next`` that a newer one has superseded is answered at once, with nothing to do.
    """
    admitted = heads.admit(uow, node, call, is_next=True)
    if call.call < admitted.node.next_call:
        return _answer(uow, admitted)
    answer, due = _work(uow, admitted)
    return answer if due else None


def idle_answer(uow: UnitOfWork, node: NodeId, call: NextCall) -> Answer:
    """The answer when ``wait_ms`` is over: all that is pending, though it may be on its way already."""
    admitted = heads.admit(uow, node, call, is_next=True)
    if call.call < admitted.node.next_call:
        return _answer(uow, admitted)
    return _work(uow, admitted)[0]


def _answer(uow: UnitOfWork, admitted: heads.Admitted) -> Answer:
    """What every answer holds: version, epoch, cursor, stored."""
    journal = admitted.journal
    kept = uow.run.attempts.find(node=admitted.node.id, stored=True, uploaded=False)
    return Answer(
        wire=admitted.wire,
        epoch=uow.epoch,
        cursor=Cursor(journal=journal.journal, seq=journal.seq, hash=journal.hash),
        stored=[attempt.id for attempt in kept],
    )


def _work(uow: UnitOfWork, admitted: heads.Admitted) -> tuple[Answer, bool]:
    """The whole answer to ``next``, and whether something in it may not have reached the node yet."""
    answer = _answer(uow, admitted)
    live = uow.run.attempts.find(node=admitted.node.id, state=heads.live_states())
    stops = [attempt for attempt in live if attempt.stop_mode is not None and attempt.outcome is None]
    grants = [attempt for attempt in live if not attempt.answered and _to_send(attempt, admitted)]
    told = [attempt for attempt in stops if _untold(uow, attempt)]
    for attempt in told:
        uow.run.attempts.save(replace(attempt, stop_told_at=uow.now))
    if told:
        uow.wake("silence")
    # A journal that was lost never says UPLOADED: its results are named in each answer, and hurry none.
    stored = uow.run.attempts.count(node=admitted.node.id, journal=admitted.node.journal, stored=True, uploaded=False)
    due = bool(stored or told or admitted.node.epoch != uow.epoch) or any(
        _unarrived(attempt, admitted.node) for attempt in grants
    )
    full = answer.model_copy(
        update={
            "stops": [Stop(attempt=a.id, mode=_mode(a)) for a in stops],
            "grants": [Grant.model_validate(a.grant) for a in grants],
        }
    )
    return full, due


def _mode(attempt: AttemptRow) -> Literal["now", "safe_point"]:
    return "now" if attempt.stop_mode == "now" else "safe_point"


def _untold(uow: UnitOfWork, attempt: AttemptRow) -> bool:
    if attempt.stop_told_at is None:
        return True
    return attempt.state != "UNKNOWN" and uow.now - attempt.stop_told_at >= RETELL


def _to_send(attempt: AttemptRow, admitted: heads.Admitted) -> bool:
    """In quarantine only grants that the node cannot take go out: it closes them, and that is evidence."""
    return admitted.node.state == "active" or attempt.session != admitted.node.session


def _unarrived(attempt: AttemptRow, node: NodeRow) -> bool:
    """Whether the node has not got the grant, by its newest word: it still lists the grant's token as unused.

    The newest call's word, not the held one's: the token may have been given while that one was held.
    """
    if attempt.session != node.session:
        return True
    return attempt.token in node.tokens.get(str(attempt.grant["instrument"]), [])


# --- bytes ------------------------------------------------------------------------------------------------------------


def put_object(uow: UnitOfWork, node: NodeId, sha256: str) -> bool:
    """The bytes of ``sha256`` are in the store: write them down, settle the results that waited for them.

    Call it after ``ObjectStore.put`` has returned. ``True`` for bytes that were not known before.
    """
    row = heads.known(uow, node)
    if not uow.objects.has(sha256):
        raise InvalidInput(
            f"the bytes of {sha256} are not in the store", code="hash_mismatch", remedy="send them again"
        )
    new = uow.run.objects.get(sha256) is None
    if new:
        uow.run.objects.add(ObjectRow(sha256, uow.objects.size(sha256), row.id, uow.now))
    for attempt in uow.run.attempts.find(node=row.id, stored=False, outcome=_OUTCOMES):
        if sha256 in attempt.awaiting:
            lifecycle.happen(uow, attempt, events.BytesStored(uow.now, frozenset({sha256})), actor=row.id)
    return new


def refused(uow: UnitOfWork, node: NodeId, error: LabCommonsError) -> None:
    """Write down that a message of this node could not be taken. The node goes on with its next one."""
    uow.audit(node, "node.message_refused", node, {"code": error.word, "detail": error.detail[:500]})
