"""Who goes next: by age, each step to the first of its candidates that can take it now.

``decide`` is the whole policy. It reads plain values and gives back the grants to make and, for every step that is left
waiting, a reason. ``priority`` orders a project's own work only: the project's steps change places among themselves and
keep, together, the places that their ages give them. A place that was used is used up: whose age it was waits on with
the age of the one that went (``ages_after``). Else a project could feed urgent steps through the place of one old step
that never goes, and pass everybody by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple

from labcommons.scheduler.explain.reasons import Code, Condition, Reason, text
from labcommons.scheduler.steps import StepState

__all__ = [
    "AllowRule",
    "Bench",
    "Candidate",
    "Code",
    "Condition",
    "Decision",
    "Grant",
    "Reason",
    "WaitingStep",
    "ages_after",
    "assign",
    "decide",
    "order",
    "placed",
    "positions",
    "usable",
]


@dataclass(frozen=True)
class Candidate:
    """An instrument that can perform a step, by the compiled plan. Durations in lab ms."""

    instrument: str
    lab: str
    expected_ms: int
    maximum_ms: int


@dataclass(frozen=True)
class WaitingStep:
    """A step that has not ended, as the dispatcher sees it.

    ``since``: its age, kept when it is queued again. ``candidates`` in the order of preference. ``bound``: the
    instrument that its role in the experiment was bound to by the first grant. ``lab``: where the sample is that it
    takes. ``after``: the steps before it that are not DONE. ``held``: its hold is open. ``unknown``: an UNKNOWN attempt
    of this step, or of one before it. ``protocol``: the hash. An ACTIVE step is never granted; it can have a reason.
    """

    step: str
    experiment: str
    project: str
    since: datetime
    candidates: tuple[Candidate, ...]
    role: str = ""
    priority: int = 0
    state: StepState = StepState.READY
    protocol: str = ""
    protocol_id: str = ""
    bound: str | None = None
    lab: str | None = None
    struck: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()
    held: bool = True
    cancel_wished: bool = False
    unknown: str | None = None


@dataclass(frozen=True)
class AllowRule:
    """One line of a lab's allow-list.

    ``protocol``: a pattern on the document's id, or its hash; ``projects``: ``None`` for any. ``open``: whether its
    hours are open now; ``opens_at``: else when they are.
    """

    protocol: str
    projects: frozenset[str] | None = None
    open: bool = True
    opens_at: datetime | None = None

    def covers(self, step: WaitingStep) -> bool:
        """Whether the line speaks of this step at all, its hours aside."""
        named = self.protocol in ("*", step.protocol) or (
            bool(step.protocol_id) and fnmatchcase(step.protocol_id, self.protocol)
        )
        return named and (self.projects is None or step.project in self.projects)


@dataclass(frozen=True)
class Bench:
    """An instrument as the dispatcher sees it.

    ``state``: idle | busy | paused | error | maintenance | local | unknown. ``online``: its node calls. ``tokens``:
    numbers of its unused ready tokens. ``locked``: why its bench is locked out. ``allow``: its lab's list, ``None``
    where the facility does not know it (the lab then refuses by itself). ``busy_until``: when its present work is
    expected to end; ``back_at``: when it is expected back if it is down. ``time_scale``: lab time per wall time.
    """

    instrument: str
    lab: str
    name: str = ""
    online: bool = True
    state: str = "idle"
    quarantined: bool = False
    locked: str | None = None
    lent: bool = True
    tokens: tuple[int, ...] = ()
    allow: tuple[AllowRule, ...] | None = None
    busy_until: datetime | None = None
    back_at: datetime | None = None
    time_scale: str = "1"

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.instrument


@dataclass(frozen=True)
class Grant:
    """Permission to make: this step on this candidate, with this token."""

    step: str
    candidate: Candidate
    token: int


class Decision(NamedTuple):
    """``grants`` in the order of the queue; ``reasons``: one for every step that still waits, in the order given.

    ``ages``: step -> the age that it has from now on, where the grants change it; to be saved with them.
    """

    grants: tuple[Grant, ...]
    reasons: tuple[Reason, ...]
    ages: Mapping[str, datetime] = MappingProxyType({})


def order(steps: Iterable[WaitingStep]) -> list[WaitingStep]:
    """The queue: places by age, and each project's own places filled by its own priorities, higher first.

    Among equal priorities a project's steps go as they were submitted, which is the order of their identifiers.
    """
    by_age = _by_age(steps)
    mine: dict[str, list[WaitingStep]] = {}
    for s in by_age:
        mine.setdefault(s.project, []).append(s)
    for own in mine.values():
        own.sort(key=lambda s: s.step, reverse=True)
        own.sort(key=lambda s: s.priority)
    return [mine[s.project].pop() for s in by_age]


def placed(steps: Iterable[WaitingStep]) -> list[WaitingStep]:
    """The queue, each step with the age of the place that it holds: when one goes, its place goes with it."""
    owners = _by_age(steps)
    return [replace(h, since=o.since) if h.since != o.since else h for o, h in zip(owners, order(owners), strict=True)]


def _by_age(steps: Iterable[WaitingStep]) -> list[WaitingStep]:
    return sorted(steps, key=lambda s: (s.since, s.step))


def ages_after(steps: Iterable[WaitingStep], granted: Collection[str]) -> dict[str, datetime]:
    """The ages that change when ``granted`` leave the queue of ``steps``: step -> its age from now on.

    Each granted step takes the age of the place it held (and keeps that one should it come back); the step whose age it
    was takes one that has become free.
    """
    owners = _by_age(steps)
    holders = order(owners)
    changed: dict[str, datetime] = {}
    free: dict[str, list[datetime]] = {}
    for owner, holder in zip(owners, holders, strict=True):
        if holder.step in granted and holder.since != owner.since:
            changed[holder.step] = owner.since
        if owner.step in granted and holder.step not in granted:
            free.setdefault(owner.project, []).append(owner.since)
    for owner, holder in zip(owners, holders, strict=True):
        if holder.step in granted and owner.step not in granted:
            changed[owner.step] = free[owner.project].pop(0)
    return changed


def usable(step: WaitingStep) -> tuple[Candidate, ...]:
    """The candidates that its role's binding and its sample's place leave, struck ones included."""
    return tuple(
        c for c in step.candidates if step.bound in (None, c.instrument) and (step.lab is None or step.lab == c.lab)
    )


# --- deciding ---------------------------------------------------------------------------------------------------------


@dataclass
class _Tokens:
    """What is left to give during one decision: tokens by instrument, and the roles bound so far."""

    left: dict[str, list[int]]
    bound: dict[tuple[str, str], str] = field(default_factory=dict)


def decide(
    steps: Sequence[WaitingStep],
    benches: Sequence[Bench],
    *,
    barrier: bool = False,
    explain: bool | Collection[str] = True,
) -> Decision:
    """The grants to make now, and why each other step waits.

    ``barrier``: after a restore, nothing is granted. ``explain``: give no reasons, all, or those of the steps named.
    """
    by_id = {b.instrument: b for b in benches}
    queue = order(s for s in steps if _queued(s))
    grants = () if barrier else assign(queue, by_id)
    ages = ages_after(queue, {g.step for g in grants})
    if explain is False:
        return Decision(grants, (), ages)
    granted = {g.step: g.candidate.instrument for g in grants}
    # Places are counted as the queue stood: what was granted elsewhere just now might as well have gone here.
    ahead = _Ahead(queue)
    bound = {(s.experiment, s.role): granted[s.step] for s in queue if s.role and s.step in granted}
    in_queue = {s.step: replace(s, bound=bound.get((s.experiment, s.role), s.bound)) for s in queue}
    reasons = [
        _reason(in_queue.get(s.step, s), by_id, ahead, barrier=barrier)
        for s in steps
        if s.step not in granted and _waits(s) and (explain is True or s.step in explain)
    ]
    return Decision(grants, tuple(reasons), ages)


def assign(queue: Iterable[WaitingStep], benches: Mapping[str, Bench]) -> tuple[Grant, ...]:
    """The grants for a queue that is already in order; stops when no token is left. Each token is used once."""
    tokens = _Tokens({i: sorted(b.tokens, reverse=True) for i, b in benches.items() if b.tokens})
    grants: list[Grant] = []
    for s in queue:
        if not tokens.left:
            break
        role = (s.experiment, s.role)
        bound = tokens.bound.get(role) if s.role else None
        for c in usable(s):
            if c.instrument not in tokens.left or bound not in (None, c.instrument):
                continue
            if next(_bench_obstacles(s, benches[c.instrument]), None) is not None:
                continue
            numbers = tokens.left[c.instrument]
            grants.append(Grant(s.step, c, numbers.pop()))
            if not numbers:
                del tokens.left[c.instrument]
            tokens.bound[role] = c.instrument
            break
    return tuple(grants)


def _queued(step: WaitingStep) -> bool:
    return step.state is StepState.READY and step.held and not step.cancel_wished and step.unknown is None


def _waits(step: WaitingStep) -> bool:
    if step.state is StepState.ACTIVE:
        return step.cancel_wished or step.unknown is not None
    return step.state in (StepState.WAITING, StepState.READY)


# --- explaining -------------------------------------------------------------------------------------------------------


class _Obstacle(NamedTuple):
    code: Code
    condition: Condition
    detail: str = ""
    until: datetime | None = None


#: Of several candidates the one whose worst obstacle goes away first is named.
_RANK = {
    code: n
    for n, code in enumerate(
        (
            Code.AHEAD,
            Code.BUSY,
            Code.NO_TOKEN,
            Code.CALENDAR,
            Code.LOCAL,
            Code.DOWN,
            Code.QUARANTINED,
            Code.NOT_LENT,
            Code.NOT_ALLOWED,
        )
    )
}


def _bench_obstacles(step: WaitingStep, bench: Bench) -> Iterator[_Obstacle]:
    """What keeps this bench from this step, tokens and the queue aside."""
    i = bench.instrument
    if i in step.struck:
        yield _Obstacle(Code.NOT_ALLOWED, Condition(step.step, "struck_by", {"without": i}), "it has refused this step")
    if bench.allow is not None:
        covering = [r for r in bench.allow if r.covers(step)]
        if not covering:
            wanted = Condition(i, "allowed", {"protocol": step.protocol, "project": step.project})
            yield _Obstacle(Code.NOT_ALLOWED, wanted, "its lab's allow-list does not cover it")
        elif not any(r.open for r in covering):
            opens = min((r.opens_at for r in covering if r.opens_at), default=None)
            wanted = Condition(i, "open", {"protocol": step.protocol, "project": step.project})
            yield _Obstacle(Code.CALENDAR, wanted, until=opens)
    if not bench.lent:
        yield _Obstacle(Code.NOT_LENT, Condition(i, "lent", True))
    if bench.quarantined:
        yield _Obstacle(Code.QUARANTINED, Condition(i, "quarantined", False), "its node's journal is in doubt")
    if bench.locked is not None:
        yield _Obstacle(Code.QUARANTINED, Condition(i, "locked", False), bench.locked)
    if not bench.online:
        yield _Obstacle(Code.DOWN, Condition(i, "online", True), "its lab does not call", bench.back_at)
    if bench.state == "local":
        yield _Obstacle(Code.LOCAL, Condition(i, "state", "idle"), until=bench.back_at)
    elif bench.state not in ("idle", "busy", "paused"):
        yield _Obstacle(Code.DOWN, Condition(i, "state", "idle"), f"it is in {bench.state}", bench.back_at)


_Counts = dict[str, tuple[int, int]]


class _Ahead:
    """How many READY steps stand before a step on each of its instruments: (all, its own project's)."""

    def __init__(self, queue: Sequence[WaitingStep]) -> None:
        self._queue = queue
        self._places = _counts(queue)

    def of(self, step: WaitingStep) -> _Counts:
        """Of a step that is not in the queue: where it would stand if it were."""
        if step.step not in self._places:
            return _counts(order([*self._queue, step]))[step.step]
        return self._places[step.step]


def _counts(queue: Iterable[WaitingStep]) -> dict[str, _Counts]:
    places: dict[str, _Counts] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for s in queue:
        instruments = [c.instrument for c in usable(s)]
        places[s.step] = {i: (seen[i, ""], seen[i, s.project]) for i in instruments}
        seen.update((i, whose) for i in instruments for whose in ("", s.project))
    return places


def _candidate_obstacles(step: WaitingStep, bench: Bench, ahead: int) -> list[_Obstacle]:
    found = list(_bench_obstacles(step, bench))
    if not bench.tokens:
        code = Code.BUSY if bench.state in ("busy", "paused") else Code.NO_TOKEN
        found.append(_Obstacle(code, Condition(bench.instrument, "token", True), until=bench.busy_until))
    if ahead:
        found.append(_Obstacle(Code.AHEAD, Condition(step.step, "ahead", {"on": bench.instrument, "at_most": 0})))
    # The worst obstacle names the wait; once all are gone the step can be granted.
    found.sort(key=lambda o: -_RANK[o.code])
    if ahead and found[0].code in (Code.BUSY, Code.NO_TOKEN):
        # Of the steps that wait for a token only the foremost waits for nothing else.
        found.reverse()
    return found


def _step_obstacles(step: WaitingStep, *, barrier: bool) -> list[_Obstacle]:
    """What stands against the step itself, whatever the instruments; the first is the one to name."""
    found: list[_Obstacle] = []
    if step.cancel_wished:
        found.append(_Obstacle(Code.CANCELLING, Condition(step.step, "cancel_wished", False)))
    if step.unknown is not None:
        found.append(_Obstacle(Code.NEEDS_PERSON, Condition(step.unknown, "unknown", False)))
    if step.state is StepState.WAITING:
        found.extend(_Obstacle(Code.AFTER, Condition(s, "state", "DONE")) for s in step.after)
    if barrier:
        found.append(_Obstacle(Code.BARRIER, Condition("facility", "barrier", False)))
    if not step.held:
        found.append(_Obstacle(Code.BALANCE, Condition(step.step, "held", True)))
    return found


def _reason(step: WaitingStep, benches: Mapping[str, Bench], ahead: _Ahead, *, barrier: bool) -> Reason:
    own = _step_obstacles(step, barrier=barrier)
    counts = ahead.of(step)
    options = [
        (bench, _candidate_obstacles(step, bench, counts[c.instrument][0]))
        for c in usable(step)
        if (bench := benches.get(c.instrument)) is not None
    ]
    if not options:
        nowhere = _Obstacle(Code.NOT_ALLOWED, Condition(step.step, "candidates", "one"), "no instrument is left for it")
        return _told(step, "no instrument", [*own, nowhere], (0, 0))
    bench, found = min(options, key=lambda option: max((_RANK[o.code] for o in option[1]), default=-1))
    return _told(step, bench.title, [*own, *found], counts[bench.instrument])


def _told(step: WaitingStep, name: str, obstacles: Sequence[_Obstacle], ahead: tuple[int, int]) -> Reason:
    first = obstacles[0]
    same = [o for o in obstacles if o.code is first.code]
    names = [o.condition.of for o in same]
    sentence = text(first.code, name=name, detail=first.detail, ahead=ahead[0], own=ahead[1], names=names)
    until = max((o.until for o in same if o.until), default=None)
    return Reason(step.step, first.code, sentence, tuple(o.condition for o in obstacles), until)


def positions(steps: Iterable[WaitingStep]) -> dict[str, int]:
    """For each READY step, how many READY steps ahead of it share a candidate with it."""
    bits: dict[str, int] = {}
    masks: list[int] = []
    places: dict[str, int] = {}
    for s in order(s for s in steps if _queued(s)):
        mask = 0
        for c in usable(s):
            mask |= 1 << bits.setdefault(c.instrument, len(bits))
        places[s.step] = sum(1 for m in masks if m & mask)
        masks.append(mask)
    return places
