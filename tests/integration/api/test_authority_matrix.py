"""Who may do what: every operation, by every kind of caller, on what is theirs and on what is not.

A row is a word of eight letters, one for each of CALLERS: A allowed, D denied (403: they know of it and may not),
H hidden (404: as if it were not there), U unauthenticated (401). An operation without a row fails the test, and so does
one whose action is not in the authority's own table.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from integration.api.bench import HandNode
from integration.api.house import House
from integration.api.test_bad_input import document
from integration.api.test_link import CURVE, submitted
from labcommons.core.ids import PersonId
from labcommons.facility.api.app import ROOMS
from labcommons.facility.api.auth import Action
from labcommons.facility.api.run.records import ark_router
from labcommons.facility.ports import PersonRow
from labcommons.scheduler.authority import TABLE

#: Nobody; researcher and PI of the project; staff; operator of the lab where it ran; operator of another lab; PI of
#: another project; the node of the lab where it ran.
CALLERS = ("nobody", "rae", "pia", "sam", "olga", "omar", "zed", "node")

ANYBODY = "UAAAAAAD"
PROJECT = "UAAAHHHD"
DATA = "UAADDHHD"
NODE = "UDDDDDDA"

MATRIX: dict[str, str] = {
    "GET /v1/me": ANYBODY,
    "GET /v1/projects": ANYBODY,
    "POST /v1/projects": "UDDADDDD",
    "GET /v1/projects/{project}": PROJECT,
    "GET /v1/projects/{project}/members": PROJECT,
    "POST /v1/projects/{project}/members": "UDAAHHHD",
    "GET /v1/allocations": ANYBODY,
    "GET /v1/allocations?project={project}": PROJECT,
    "GET /v1/allocations/{allocation}": PROJECT,
    "POST /v1/allocations": "UDDAHHHD",
    "GET /v1/ledger/entries": ANYBODY,
    "GET /v1/ledger/entries?project={project}": PROJECT,
    "GET /v1/ledger/statement?project={project}": PROJECT,
    "GET /v1/ledger/statement?lab={lab}": "UHHAAHHD",
    "GET /v1/labs": ANYBODY,
    "GET /v1/labs/{lab}": ANYBODY,
    "GET /v1/nodes": ANYBODY,
    "GET /v1/nodes/{node}": "UHHAAHHD",
    "GET /v1/instruments": ANYBODY,
    "GET /v1/instruments/{instrument}": ANYBODY,
    "GET /v1/capabilities": ANYBODY,
    "GET /v1/protocols": ANYBODY,
    "POST /v1/protocols": "UAAADDAD",
    "GET /v1/protocols/{reference}": ANYBODY,
    "POST /v1/protocols/compile": PROJECT,
    "POST /v1/protocols/{reference}/compile": PROJECT,
    "POST /v1/experiments": "UAADHHHD",
    "GET /v1/experiments": ANYBODY,
    "GET /v1/experiments?project={project}": PROJECT,
    "GET /v1/experiments/{experiment}": PROJECT,
    "GET /v1/experiments/{experiment}/why": PROJECT,
    "GET /v1/experiments/{experiment}/events": PROJECT,
    "POST /v1/experiments/{experiment}/cancel": "UAADHHHD",
    "GET /v1/experiments/{experiment}/records": "UAADHHHD",
    "GET /v1/studies": ANYBODY,
    "GET /v1/studies?project={project}": PROJECT,
    "GET /v1/studies/{study}": PROJECT,
    "GET /v1/attempts": ANYBODY,
    "GET /v1/attempts?project={project}": PROJECT,
    "GET /v1/attempts?lab={lab}": "UHHAAHHD",
    "GET /v1/attempts/{attempt}": "UAAAAHHD",
    "GET /v1/records": ANYBODY,
    "GET /v1/records?project={project}": "UAADHHHD",
    "GET /v1/records/{record}": DATA,
    "GET /ark:/{naan}/{name}": DATA,
    # What cannot be seen is not there, whoever asks.
    "GET /v1/objects/{sha256}": "UAAHHHHH",
    "GET /v1/events": ANYBODY,
    "POST /v1/node/report": NODE,
    "POST /v1/node/next": NODE,
    "PUT /v1/node/objects/{sha256}": NODE,
}


def routes() -> dict[str, APIRoute]:
    """Every operation that needs a token, by method and address."""
    found: dict[str, APIRoute] = {}
    for prefix, routers in (("/v1", ROOMS), ("", (ark_router,))):
        for router in routers:
            for route in router.routes:
                assert isinstance(route, APIRoute)
                for method in route.methods or ():
                    found[f"{method} {prefix}{route.path}"] = route
    return found


def test_every_operation_has_a_row_and_no_row_is_of_nothing() -> None:
    assert {row.partition("?")[0] for row in MATRIX} == set(routes())


@pytest.mark.parametrize("operation", sorted(routes()))
def test_every_operation_declares_an_action_of_the_table(operation: str) -> None:
    called = [one.call for one in routes()[operation].dependant.dependencies]
    actions = [one.word for one in called if isinstance(one, Action)]
    assert len(actions) == 1, f"{operation} declares {actions}"
    assert actions[0] in TABLE


def test_the_description_lists_the_same_operations(house: House) -> None:
    listed = {
        f"{method.upper()} {path}"
        for path, operations in house.app.openapi()["paths"].items()
        for method in operations
        if path.startswith(("/v1/", "/ark:"))
    }
    assert listed == set(routes())


async def things(house: House) -> dict[str, str]:
    """One of everything, all of rae's project and the lab north; ids by the words of the addresses."""
    with house.facility.work.write() as uow:
        zed = uow.ids.mint(PersonId)
        uow.office.people.add(PersonRow(id=zed, username="zed", name="Zed", created_at=uow.now))
        uow.commit()
    made = await house.call("POST", "/v1/projects", "sam", json={"name": "other", "title": "Other", "pi": "zed"})
    assert made.status_code == 201, made.text
    node = HandNode(house, "north")
    await node.arrive()
    experiment = await submitted(house)
    grant = await node.granted()
    await node.perform(grant, CURVE)
    shown = (await house.call("GET", f"/v1/experiments/{experiment}", "rae")).json()
    (record,) = (await house.call("GET", f"/v1/experiments/{experiment}/records", "rae")).json()["items"]
    (allocation,) = (await house.call("GET", "/v1/allocations", "rae")).json()["items"]
    naan, name = record["ark"].removeprefix("ark:/").split("/")
    return {
        "project": house.project,
        "lab": house.seeded.labs["north"].lab,
        "node": node.node,
        "manifest": node.manifest,
        "instrument": record["instrument"],
        "allocation": allocation["id"],
        "reference": "compression-toughness",
        "experiment": experiment,
        "study": shown["study"],
        "attempt": grant.attempt,
        "record": record["id"],
        "sha256": record["objects"][0]["sha256"],
        "naan": naan,
        "name": name,
    }


def body_of(house: House, operation: str, names: dict[str, str]) -> dict[str, Any]:
    """A body of the right form; where it would leave something behind, one that fails right after the question."""
    head = house.head("north", names["manifest"], call=1_000)
    backwards = {"starts_at": "2027-01-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}
    bodies: dict[str, dict[str, Any]] = {
        "POST /v1/projects": {"name": "third", "title": "Third", "pi": "nobody"},
        "POST /v1/projects/{project}/members": {"username": "nobody", "role": "viewer"},
        "POST /v1/allocations": {"project": house.project, "instrument_type": "x", "amount_ms": 1, **backwards},
        "POST /v1/protocols": document(),
        "POST /v1/protocols/compile": house.submission(),
        "POST /v1/protocols/{reference}/compile": house.submission(),
        "POST /v1/experiments": house.submission(item={"arguments": {}}),
        "POST /v1/experiments/{experiment}/cancel": {},
        "POST /v1/node/report": head | {"entries": []},
        "POST /v1/node/next": head | {"wait_ms": 0},
    }
    return bodies[operation]


async def call(house: House, operation: str, who: str, names: dict[str, str]) -> httpx.Response:
    """The operation as this caller."""
    method, _, template = operation.partition(" ")
    more: dict[str, Any] = {}
    if method == "POST":
        more["json"] = body_of(house, operation, names)
    elif method == "PUT":
        more["content"] = CURVE
    if who == "node":
        more["headers"] = {"Authorization": f"Bearer {house.node_token('north')}"}
    person = None if who in {"nobody", "node"} else who
    return await house.call(method, template.format(**names), person, **more)


LETTERS = {401: "U", 403: "D", 404: "H"}


async def test_the_matrix(house: House) -> None:
    names = await things(house)
    # Held calls and streams answer and end at once.
    house.app.state.wiring.stopping.set()
    found: dict[str, str] = {}
    for operation in MATRIX:
        answers = [await call(house, operation, who, names) for who in CALLERS]
        assert all(answer.status_code < 500 for answer in answers), operation
        found[operation] = "".join(LETTERS.get(answer.status_code, "A") for answer in answers)
    wrong = {operation: (row, found[operation]) for operation, row in MATRIX.items() if row != found[operation]}
    assert not wrong, "operation: (as it should be, as it is)"
