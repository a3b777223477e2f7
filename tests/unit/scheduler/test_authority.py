"""Who may do what: the whole matrix of the demo's people against every action, and the difference of 403 and 404."""

from __future__ import annotations

import pytest

from labcommons.scheduler.authority import TABLE, Decision, Principal, Resource, Scope, authorize, scope

MINE = Resource("experiment", project="prj_a", owner="per_rae")
LABS_OWN = Resource("attempt", project="prj_a", lab="lab_north")

PEOPLE = {
    "nobody": None,
    "stranger": Principal("per_eve"),
    "rae": Principal("per_rae", projects={"prj_a": "researcher"}),
    "ben": Principal("per_ben", projects={"prj_a": "researcher"}),
    "pia": Principal("per_pia", projects={"prj_a": "pi"}),
    "max": Principal("per_max", projects={"prj_a": "manager"}),
    "vic": Principal("per_vic", projects={"prj_a": "viewer"}),
    "other": Principal("per_oth", projects={"prj_b": "pi"}),
    "sam": Principal("per_sam", roles=frozenset({"staff"})),
    "ada": Principal("per_ada", roles=frozenset({"auditor"})),
    "adm": Principal("per_adm", roles=frozenset({"administrator"})),
    "olga": Principal("per_olga", labs=frozenset({"lab_north"})),
    "omar": Principal("per_omar", labs=frozenset({"lab_south"})),
    "node": Principal(node="nod_north", labs=frozenset({"lab_north"})),
    "nothing": Principal(),
    "chimera": Principal("per_sam", "nod_north", frozenset({"staff"})),
}

PROJECT = Resource("thing", project="prj_a")
READERS = {"rae", "ben", "pia", "max", "vic"}
WORKERS = {"rae", "ben", "pia", "max"}
LEADERS = {"pia", "max"}
PERSONS = {n for n, p in PEOPLE.items() if p and p.person and not p.node}

#: action -> the resource it is asked about, and exactly who may.
MATRIX: dict[str, tuple[Resource, set[str]]] = {
    "health.read": (Resource(), set(PEOPLE)),
    "version.read": (Resource(), set(PEOPLE)),
    "metrics.read": (Resource(), {"sam", "ada"}),
    "me.read": (Resource("person", owner="per_rae"), PERSONS),
    "project.list": (PROJECT, READERS | {"sam", "ada"}),
    "project.read": (PROJECT, READERS | {"sam", "ada"}),
    "project.create": (Resource("project"), {"sam"}),
    "project.members": (PROJECT, LEADERS | {"sam"}),
    "allocation.read": (PROJECT, READERS | {"sam", "ada"}),
    "allocation.grant": (PROJECT, {"sam"}),
    "allocation.reverse": (PROJECT, {"sam"}),
    "ledger.read": (PROJECT, READERS | {"sam", "ada"}),
    "lab.read": (Resource("lab", lab="lab_north"), PERSONS),
    "node.read": (Resource("node", lab="lab_north", node="nod_north"), {"sam", "ada", "olga"}),
    "instrument.read": (Resource("instrument", lab="lab_north"), PERSONS),
    "capability.read": (Resource("capability"), PERSONS),
    "protocol.read": (Resource("protocol"), PERSONS),
    "protocol.store": (Resource("protocol"), WORKERS | {"other", "sam"}),
    "protocol.compile": (PROJECT, READERS | {"sam"}),
    "experiment.submit": (PROJECT, WORKERS),
    "experiment.list": (PROJECT, READERS | {"sam"}),
    "experiment.read": (MINE, READERS | {"sam"}),
    "experiment.why": (MINE, READERS | {"sam"}),
    "experiment.cancel": (MINE, LEADERS | {"rae"}),
    "study.list": (PROJECT, READERS | {"sam"}),
    "study.read": (PROJECT, READERS | {"sam"}),
    "attempt.list": (LABS_OWN, READERS | {"sam", "ada", "olga"}),
    "attempt.read": (LABS_OWN, READERS | {"sam", "ada", "olga"}),
    "attempt.adjudicate": (LABS_OWN, {"sam", "olga"}),
    "record.list": (PROJECT, READERS),
    "record.read": (Resource("record", project="prj_a", lab="lab_north"), READERS),
    "object.read": (Resource("object", project="prj_a", lab="lab_north"), READERS),
    "event.read": (Resource("event", project="prj_a", lab="lab_north"), READERS | {"sam", "olga"}),
    "node.report": (Resource("node", node="nod_north"), {"node"}),
    "node.next": (Resource("node", node="nod_north"), {"node"}),
    "node.object": (Resource("node", node="nod_north"), {"node"}),
}


def test_every_action_has_its_line_here() -> None:
    assert set(MATRIX) == set(TABLE)


@pytest.mark.parametrize("action", sorted(MATRIX))
def test_exactly_these_may(action: str) -> None:
    resource, allowed = MATRIX[action]
    may = {name for name, who in PEOPLE.items() if authorize(who, action, resource) is Decision.ALLOW}
    assert may == allowed


def test_an_action_without_a_row_is_denied_to_all() -> None:
    assert {authorize(who, "audit.alter", PROJECT) for who in PEOPLE.values()} == {Decision.DENY}


@pytest.mark.parametrize(
    ("who", "action", "resource", "decision"),
    [
        ("other", "experiment.read", MINE, Decision.HIDE),
        ("olga", "experiment.read", MINE, Decision.HIDE),
        ("stranger", "project.read", PROJECT, Decision.HIDE),
        ("ben", "experiment.cancel", MINE, Decision.DENY),
        ("vic", "experiment.submit", PROJECT, Decision.DENY),
        ("sam", "record.read", PROJECT, Decision.DENY),
        ("pia", "allocation.grant", PROJECT, Decision.DENY),
        ("omar", "node.read", Resource("node", lab="lab_north"), Decision.HIDE),
        ("olga", "ledger.read", Resource("ledger", lab="lab_north"), Decision.ALLOW),
        ("omar", "ledger.read", Resource("ledger", lab="lab_north"), Decision.HIDE),
        ("rae", "ledger.read", Resource("ledger"), Decision.ALLOW),
        ("olga", "ledger.read", Resource("ledger"), Decision.ALLOW),
        ("stranger", "ledger.read", Resource("ledger"), Decision.DENY),
        ("node", "experiment.list", PROJECT, Decision.DENY),
        ("node", "node.report", Resource("node", node="nod_south"), Decision.HIDE),
        ("node", "node.report", Resource("node"), Decision.ALLOW),
        ("omar", "event.read", Resource("event", lab="lab_north"), Decision.ALLOW),
        ("omar", "event.read", Resource("event", lab="lab_north", node="nod_north"), Decision.HIDE),
        ("omar", "event.read", Resource("event", project="prj_a", lab="lab_north"), Decision.HIDE),
    ],
)
def test_what_is_foreign_is_hidden_and_what_is_forbidden_is_denied(
    who: str, action: str, resource: Resource, decision: Decision
) -> None:
    assert authorize(PEOPLE[who], action, resource) is decision


def test_staff_grant_no_time_to_a_project_of_their_own() -> None:
    kim = Principal("per_kim", roles=frozenset({"staff"}), projects={"prj_a": "pi"})
    assert authorize(kim, "allocation.grant", PROJECT) is Decision.DENY
    assert authorize(kim, "allocation.grant", Resource("allocation", project="prj_b")) is Decision.ALLOW


def test_who_submitted_and_became_a_viewer_cancels_no_more() -> None:
    was = Principal("per_rae", projects={"prj_a": "viewer"})
    assert authorize(was, "experiment.cancel", MINE) is Decision.DENY
    assert authorize(Principal("per_rae"), "experiment.cancel", MINE) is Decision.HIDE


def test_without_a_resource_the_action_itself_is_judged() -> None:
    assert authorize(PEOPLE["rae"], "experiment.submit") is Decision.ALLOW
    assert authorize(PEOPLE["vic"], "experiment.submit") is Decision.DENY


@pytest.mark.parametrize(
    ("who", "action", "seen"),
    [
        ("sam", "experiment.list", Scope(everything=True)),
        ("rae", "experiment.list", Scope(projects=frozenset({"prj_a"}))),
        ("stranger", "experiment.list", Scope()),
        ("olga", "attempt.list", Scope(labs=frozenset({"lab_north"}))),
        ("olga", "experiment.list", Scope()),
        ("rae", "lab.read", Scope(everything=True)),
        ("vic", "experiment.submit", Scope()),
        ("node", "experiment.list", Scope()),
        ("rae", "no.such", Scope()),
    ],
)
def test_what_a_list_may_show(who: str, action: str, seen: Scope) -> None:
    principal = PEOPLE[who]
    assert principal is not None
    assert scope(principal, action) == seen
