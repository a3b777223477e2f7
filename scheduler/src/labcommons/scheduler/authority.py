"""Who may do what: one function, one table, deny by default.

Coarse roles come with the token; what a person is in a project or a lab is read from the database at the time of the
request and handed in with the ``Principal``. What is not yours to know of answers HIDE (404), what you know of and may
not do answers DENY (403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

__all__ = [
    "TABLE",
    "Decision",
    "PlatformRole",
    "Principal",
    "ProjectRole",
    "Resource",
    "Rule",
    "Scope",
    "authorize",
    "scope",
]


class Decision(StrEnum):
    """What the shell answers: go on, 403, or 404."""

    ALLOW = "allow"
    DENY = "deny"
    HIDE = "hide"


class PlatformRole(StrEnum):
    """Roles of a token that reach over the whole platform. An administrator may nothing by the role alone."""

    STAFF = "staff"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class ProjectRole(StrEnum):
    """What a person is in a project."""

    PI = "pi"
    MANAGER = "manager"
    RESEARCHER = "researcher"
    VIEWER = "viewer"


@dataclass(frozen=True)
class Principal:
    """Who asks: a ``person`` or a ``node``. ``projects``: id -> role there; ``labs``: those the person operates."""

    person: str | None = None
    node: str | None = None
    roles: frozenset[str] = frozenset()
    projects: Mapping[str, str] = field(default_factory=dict)
    labs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Resource:
    """What it is about. Empty fields: the thing belongs to no project, lab, node or person (a list, a public page)."""

    kind: str = ""
    project: str | None = None
    lab: str | None = None
    node: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Rule:
    """Who may: any of these suffices.

    - ``public``: everybody, without a token; ``everyone``: every person with one; ``node``: the node itself
    - ``common``: every person, of what belongs to no project and no node
    - ``platform``: coarse roles, unless ``outsider`` is set and the person belongs to the project
    - ``project``: roles in the resource's project (in any project, where the resource is no one thing)
    - ``owner``: whose it is, while still in its project as more than a viewer
    - ``operator``: who operates its lab (any lab, where the resource is no one thing)
    """

    public: bool = False
    everyone: bool = False
    node: bool = False
    common: bool = False
    platform: frozenset[PlatformRole] = frozenset()
    outsider: bool = False
    project: frozenset[ProjectRole] = frozenset()
    owner: bool = False
    operator: bool = False


_STAFF = frozenset({PlatformRole.STAFF})
_OVERSEE = frozenset({PlatformRole.STAFF, PlatformRole.AUDITOR})
_LEAD = frozenset({ProjectRole.PI, ProjectRole.MANAGER})
_WORK = _LEAD | {ProjectRole.RESEARCHER}
_READ = frozenset(ProjectRole)

_PUBLIC = Rule(public=True)
_EVERYONE = Rule(everyone=True)
_NODE = Rule(node=True)
_MEMBERS = Rule(project=_READ)
_MEMBERS_STAFF = Rule(project=_READ, platform=_STAFF)
_MEMBERS_OVERSEERS = Rule(project=_READ, platform=_OVERSEE)

#: action -> who may. An endpoint without a row here fails a test; an action without a row is denied.
TABLE: Mapping[str, Rule] = MappingProxyType(
    {
        "health.read": _PUBLIC,
        "version.read": _PUBLIC,
        "metrics.read": Rule(platform=_OVERSEE),
        "me.read": _EVERYONE,
        "project.list": _MEMBERS_OVERSEERS,
        "project.read": _MEMBERS_OVERSEERS,
        "project.create": Rule(platform=_STAFF),
        "project.members": Rule(project=_LEAD, platform=_STAFF),
        "allocation.read": _MEMBERS_OVERSEERS,
        # Nobody grants time to themselves, staff or not.
        "allocation.grant": Rule(platform=_STAFF, outsider=True),
        "allocation.reverse": Rule(platform=_STAFF, outsider=True),
        # Of a lab: its operators. Of a pool: those who oversee.
        "ledger.read": Rule(project=_READ, platform=_OVERSEE, operator=True),
        "lab.read": _EVERYONE,
        "node.read": Rule(platform=_OVERSEE, operator=True),
        "instrument.read": _EVERYONE,
        "capability.read": _EVERYONE,
        "protocol.read": _EVERYONE,
        "protocol.store": Rule(project=_WORK, platform=_STAFF),
        "protocol.compile": _MEMBERS_STAFF,
        "experiment.submit": Rule(project=_WORK),
        "experiment.list": _MEMBERS_STAFF,
        "experiment.read": _MEMBERS_STAFF,
        "experiment.why": _MEMBERS_STAFF,
        "experiment.cancel": Rule(project=_LEAD, owner=True),
        "study.list": _MEMBERS_STAFF,
        "study.read": _MEMBERS_STAFF,
        "attempt.list": Rule(project=_READ, platform=_OVERSEE, operator=True),
        "attempt.read": Rule(project=_READ, platform=_OVERSEE, operator=True),
        "attempt.adjudicate": Rule(platform=_STAFF, operator=True),
        # A project's data are the project's: staff run the facility without reading them.
        "record.list": _MEMBERS,
        "record.read": _MEMBERS,
        "object.read": _MEMBERS,
        # Of labs and instruments: everybody. Of projects: their people, the labs concerned, the staff.
        "event.read": Rule(project=_READ, platform=_STAFF, operator=True, common=True),
        "node.report": _NODE,
        "node.next": _NODE,
        "node.object": _NODE,
    }
)


def authorize(principal: Principal | None, action: str, resource: Resource | None = None) -> Decision:
    """Whether ``principal`` (``None``: nobody is logged in) may do ``action`` to ``resource`` (``None``: no one thing).

    A principal that is neither person nor node, or both, may nothing.
    """
    resource = resource or Resource()
    rule = TABLE.get(action)
    if rule is None:
        return Decision.DENY
    if rule.public:
        return Decision.ALLOW
    if principal is None or (principal.person is None) == (principal.node is None):
        return Decision.DENY
    if principal.node is not None:
        if not rule.node:
            return Decision.DENY
        return Decision.ALLOW if resource.node in (None, principal.node) else Decision.HIDE
    if _may(principal, rule, resource):
        return Decision.ALLOW
    return Decision.DENY if _knows(principal, resource) else Decision.HIDE


def _may(principal: Principal, rule: Rule, resource: Resource) -> bool:
    if rule.everyone or (rule.common and resource.project is None and resource.node is None):
        return True
    if rule.platform & principal.roles and not (rule.outsider and resource.project in principal.projects):
        return True
    if _unbound(resource):
        in_a_project = bool(rule.project.intersection(principal.projects.values()))
        return in_a_project or (rule.operator and bool(principal.labs))
    role = principal.projects.get(resource.project) if resource.project else None
    if role in rule.project or (rule.owner and resource.owner == principal.person and role in _WORK):
        return True
    return rule.operator and resource.lab in principal.labs


def _unbound(resource: Resource) -> bool:
    return resource == Resource(resource.kind)


def _knows(principal: Principal, resource: Resource) -> bool:
    """Whether the person may know that the thing is there."""
    if _unbound(resource) or _OVERSEE & principal.roles:
        return True
    return resource.project in principal.projects or resource.lab in principal.labs


@dataclass(frozen=True)
class Scope:
    """What a list may show: ``everything``, or what belongs to these projects or labs."""

    everything: bool = False
    projects: frozenset[str] = frozenset()
    labs: frozenset[str] = frozenset()


def scope(principal: Principal, action: str) -> Scope:
    """What of its kind ``principal`` may see by ``action``: the filter of every list and of the event stream."""
    rule = TABLE.get(action)
    if rule is None or principal.person is None:
        return Scope()
    if rule.public or rule.everyone or rule.platform & principal.roles:
        return Scope(everything=True)
    projects = frozenset(p for p, role in principal.projects.items() if role in rule.project)
    return Scope(projects=projects, labs=principal.labs if rule.operator else frozenset())
