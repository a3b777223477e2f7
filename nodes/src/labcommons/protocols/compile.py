"""Compiling: protocol, arguments and instruments become a plan with its cost, or the reasons why they cannot.

All steps of a role run on one instrument, so the candidates of a role are those that can run every one of its steps;
and they are of one type, because the ledger holds time by type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labcommons.core.ids import LabId
from labcommons.core.values import Value
from labcommons.protocols.arguments import Bound, bind, duration, narrow, read_arguments, resolve_arguments
from labcommons.protocols.capabilities import Capability
from labcommons.protocols.checks import check_document, dependencies
from labcommons.protocols.documents import Protocol
from labcommons.protocols.guards import evaluate_guard
from labcommons.protocols.plans import Candidate, Plan, PlannedCandidate, PlannedStep, Reason, Refusal

__all__ = [
    "Candidate",
    "Plan",
    "PlannedCandidate",
    "PlannedStep",
    "Reason",
    "Refusal",
    "compile_experiment",
    "duration",
    "evaluate_guard",
    "narrow",
    "resolve_arguments",
]

Types = Sequence[str] | Mapping[str, str]


def compile_experiment(
    protocol: Protocol,
    capabilities: Mapping[str, Capability],
    arguments: Mapping[str, object],
    candidates: Sequence[Candidate],
    *,
    labs: Sequence[LabId] = (),
    types: Types = (),
    available_ms: Mapping[str, int] | None = None,
) -> Plan | Refusal:
    """A plan, or every reason that the first failing stage found.

    ``arguments``: parameter to ``Value`` (or its JSON, read here). ``labs``: only these; empty: any. ``types``: the
    instrument types that are wished, in order of preference, or role to type; empty: the first type, in the order of
    ``candidates``, for which there is time. ``available_ms``: lab time per type that the project can still hold
    (a type that is missing has none); ``None``: not asked.
    """
    reasons = check_document(protocol, capabilities)
    if reasons:
        return Refusal(tuple(reasons))
    values, reasons = read_arguments(protocol, arguments)
    if reasons:
        return Refusal(tuple(reasons))
    bound, reasons = _bind(protocol, capabilities, values)
    reasons += _check_types(protocol, types)
    if reasons:
        return Refusal(tuple(reasons))
    fitting: dict[str, list[Candidate]] = {}
    for role in _roles(protocol):
        uses = [bound[step.id] for step in protocol.steps if step.role == role]
        fitting[role], found = _fitting(role, uses, candidates, labs, types)
        reasons += found
    if reasons:
        return Refusal(tuple(reasons))
    return _choose(protocol, bound, fitting, types, available_ms, values)


def _roles(protocol: Protocol) -> list[str]:
    """The roles that have steps, in the order of their first."""
    return list(dict.fromkeys(step.role for step in protocol.steps))


def _bind(
    protocol: Protocol, capabilities: Mapping[str, Capability], values: Mapping[str, Value]
) -> tuple[dict[str, Bound], list[Reason]]:
    bound, reasons = {}, []
    for index, step in enumerate(protocol.steps):
        key = protocol.roles[step.role].capability
        bound[step.id], found = bind(step, index, key, capabilities[key].actions[step.action], values)
        reasons += found
    return bound, reasons


def _wished(role: str, types: Types) -> list[str]:
    """The types wished for the role, in order; empty: any."""
    if isinstance(types, Mapping):
        return [types[role]] if role in types else []
    return list(types)


def _check_types(protocol: Protocol, types: Types) -> list[Reason]:
    remedy = f"name one of: {', '.join(sorted(protocol.roles))}"
    return [
        Reason(None, None, "unknown_role", None, f"/types/{role}", remedy, f"there is no role {role!r}")
        for role in (types if isinstance(types, Mapping) else ())
        if role not in protocol.roles
    ]


def _fitting(
    role: str, uses: Sequence[Bound], candidates: Sequence[Candidate], labs: Sequence[LabId], types: Types
) -> tuple[list[Candidate], list[Reason]]:
    """The candidates that can run every step of the role and match the wishes; if none, why each cannot."""
    key = uses[0].capability
    offering = [c for c in candidates if any(offer.capability == key for offer in c.spec.offers)]
    if not offering:
        text = f"no instrument in the federation offers {key} now"
        remedy = "see the labs' instruments, and use a protocol that they can run"
        return [], [Reason(uses[0].id, None, "no_candidate", None, "", remedy, text)]
    in_labs = [c for c in offering if not labs or c.lab in labs]
    if not in_labs:
        known = ", ".join(sorted({c.lab for c in offering}))
        text = f"none of the labs that are wished offers {key}"
        remedy = f"name one of: {known}, or leave labs out"
        return [], [Reason(uses[0].id, None, "labs_unmatched", None, "/labs", remedy, text)]
    wished = _wished(role, types)
    of_type = [c for c in in_labs if not wished or c.type in wished]
    if not of_type:
        known = ", ".join(sorted({c.type for c in in_labs}))
        text = f"no instrument of the types that are wished offers {key}"
        remedy = f"name one of: {known}, or leave types out"
        return [], [Reason(uses[0].id, None, "types_unmatched", None, "/types", remedy, text)]
    fitting, dropped = [], []
    for candidate in of_type:
        found = [reason for use in uses for reason in narrow(candidate, use, use.known(), use.fields)]
        dropped += found
        if not found:
            fitting.append(candidate)
    return fitting, [] if fitting else dropped


def _choose(
    protocol: Protocol,
    bound: Mapping[str, Bound],
    fitting: Mapping[str, Sequence[Candidate]],
    types: Types,
    available_ms: Mapping[str, int] | None,
    values: Mapping[str, Value],
) -> Plan | Refusal:
    """One type for each role, the first whose time suffices beside what the roles before it hold."""
    cost: dict[str, int] = {}
    steps: dict[str, PlannedStep] = {}
    reasons: list[Reason] = []
    for role, candidates in fitting.items():
        order = _wished(role, types) or [candidate.type for candidate in candidates]
        offered = [t for t in dict.fromkeys(order) if any(c.type == t for c in candidates)]
        short: list[Reason] = []
        for instrument_type in offered:
            planned = _plan_role(protocol, bound, role, [c for c in candidates if c.type == instrument_type])
            held = cost.get(instrument_type, 0) + sum(step.hold_ms for step in planned)
            if available_ms is None or held <= available_ms.get(instrument_type, 0):
                cost[instrument_type] = held
                steps.update({step.id: step for step in planned})
                break
            short.append(_short(planned[0], held, available_ms.get(instrument_type, 0)))
        else:
            reasons += short
    if reasons:
        return Refusal(tuple(reasons))
    return Plan(tuple(steps[step.id] for step in protocol.steps), cost, values)


def _plan_role(
    protocol: Protocol, bound: Mapping[str, Bound], role: str, candidates: Sequence[Candidate]
) -> list[PlannedStep]:
    """The role's steps on candidates of one type."""
    planned = []
    for step in protocol.steps:
        if step.role != role:
            continue
        use = bound[step.id]
        times = [duration(candidate, use, use.known()) for candidate in candidates]
        hold_ms = max(maximum for _, maximum in times)
        planned.append(
            PlannedStep(
                id=step.id,
                role=role,
                action=step.action,
                capability=use.capability,
                after=dependencies(protocol, step),
                arguments=use.arguments,
                guard=step.guard,
                timeout_ms=step.timeout_ms or hold_ms,
                instrument_type=candidates[0].type,
                candidates=tuple(
                    PlannedCandidate(
                        candidate.instrument,
                        candidate.lab,
                        expected,
                        maximum,
                        candidate.spec.driver_action(use.capability, step.action),
                    )
                    for candidate, (expected, maximum) in zip(candidates, times, strict=True)
                ),
                hold_ms=hold_ms,
                repeatable=protocol.repeatable,
                on_partition=protocol.on_partition,
            )
        )
    return planned


def _short(step: PlannedStep, needed_ms: int, available_ms: int) -> Reason:
    return Reason(
        step.id,
        None,
        "insufficient_allocation",
        str(available_ms),
        "/project",
        f"ask for one allocation of {needed_ms} ms of {step.instrument_type} time, or submit less at once",
        f"this holds {needed_ms} ms of {step.instrument_type} time, and the project has {available_ms} ms",
    )
