"""Silence gets its name: GRANTED and RUNNING become SUSPECT past the lease, SUSPECT becomes UNKNOWN later.

Time alone never frees an attempt: nothing is released here, and nothing is sent anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from labcommons.facility.ports import AttemptRow, NodeRow, UnitOfWork
from labcommons.facility.services.lab.heads import live_states
from labcommons.facility.services.lab.node_link import RETELL
from labcommons.facility.services.run import lifecycle
from labcommons.scheduler import events

__all__ = ["Lease", "judge", "next_deadline", "rearm"]

_HEARD = ("active", "quarantined")


@dataclass(frozen=True)
class Lease:
    """How long a node may be silent before its attempts are SUSPECT, and how long they stay that."""

    lease: timedelta
    suspect: timedelta

    @classmethod
    def of_ms(cls, lease_ms: int, suspect_ms: int) -> Lease:
        """From the settings, in ms of wall time."""
        return cls(timedelta(milliseconds=lease_ms), timedelta(milliseconds=suspect_ms))


def rearm(uow: UnitOfWork) -> None:
    """The platform has just started: it was itself deaf until now, so every lease runs from here."""
    for node in uow.lab.nodes.find(state=_HEARD):
        if node.lease_from is not None:
            uow.lab.nodes.save(replace(node, lease_from=uow.now))


def next_deadline(uow: UnitOfWork, lease: Lease) -> datetime | None:
    """When something is due next, if nobody calls before; it may lie in the past. ``None``: nothing is ever due."""
    due: list[datetime] = []
    for node in uow.lab.nodes.find(state=_HEARD):
        if node.lease_from is None:
            continue
        attempts = uow.run.attempts.find(node=node.id, state=live_states())
        if node.silence == "heard" or _in(attempts, ("GRANTED", "RUNNING")):
            due.append(node.lease_from + lease.lease)
        if node.silence == "lost" and _in(attempts, ("SUSPECT",)):
            due.append(node.lease_from + lease.lease + lease.suspect)
        if node.silence == "heard":
            due.extend(told + RETELL for told in (_told(attempt) for attempt in attempts) if told is not None)
    return min(due, default=None)


def _in(attempts: Iterable[AttemptRow], states: tuple[str, ...]) -> bool:
    return any(attempt.state in states and attempt.outcome is None for attempt in attempts)


def _told(attempt: AttemptRow) -> datetime | None:
    """When a stop was told that no entry has answered yet."""
    waits = attempt.stop_mode is not None and attempt.outcome is None and attempt.state != "UNKNOWN"
    return attempt.stop_told_at if waits else None


def judge(uow: UnitOfWork, lease: Lease) -> None:
    """Let everything happen that is due by now."""
    for node in uow.lab.nodes.find(state=_HEARD):
        if node.lease_from is None:
            continue
        if uow.now >= node.lease_from + lease.lease:
            _silent(uow, node)
        if uow.now >= node.lease_from + lease.lease + lease.suspect:
            for attempt in uow.run.attempts.find(node=node.id, state="SUSPECT"):
                lifecycle.happen(uow, attempt, events.SuspectExpired(uow.now))
        if node.silence == "heard":
            for attempt in uow.run.attempts.find(node=node.id, state=live_states()):
                told = _told(attempt)
                if told is not None and uow.now >= told + RETELL:
                    # Untold until a call takes it; a deadline that stayed in the past would never let the worker sleep.
                    uow.run.attempts.save(replace(attempt, stop_told_at=None))
                    uow.wake(f"node:{node.id}")


def _silent(uow: UnitOfWork, node: NodeRow) -> None:
    if node.silence == "heard":
        uow.lab.nodes.save(replace(node, silence="lost"))
        uow.audit("facility", "node.lost", node.id)
        uow.emit("node.lost", node.id, "lost", lab=node.lab, node=node.id, topics=("dispatch",))
    for attempt in uow.run.attempts.find(node=node.id, state=("GRANTED", "RUNNING")):
        if attempt.outcome is None:
            lifecycle.happen(uow, attempt, events.LeaseLapsed(uow.now))
