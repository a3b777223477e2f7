"""What the demo begins with: people, labs and their nodes' keys, a project with time, a protocol to run.

Done once; done again it changes nothing but what is missing, so that `up` after `down` finds everybody's data.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from labcommons.core.ids import LabId, NodeId, PersonId
from labcommons.facility.bootstrap import Facility
from labcommons.facility.identity.issuer.keys import write_private
from labcommons.facility.ports import LabMemberRow, LabRow, NodeRow, PersonRow, UnitOfWork
from labcommons.facility.services.office import allocations, projects
from labcommons.facility.services.run import protocols
from labcommons.protocols.library import load_library

__all__ = ["INSTRUMENT_TYPE", "LABS", "PROJECT", "DemoLab", "DemoPerson", "Seeded", "SeededLab", "seed"]

INSTRUMENT_TYPE = "barrel-press"
PROJECT = "tough-barrels"
#: A hundred hours of lab time: a study of 24 experiments holds less than five.
GRANT_MS = 100 * 3_600_000
WINDOW = timedelta(days=365)


@dataclass(frozen=True)
class DemoPerson:
    """Somebody of the demo. `role`: in the project; `lab`: where they are operator."""

    username: str
    name: str
    about: str
    roles: tuple[str, ...] = ()
    role: str | None = None
    lab: str | None = None


@dataclass(frozen=True)
class DemoLab:
    """A lab of the demo. `driver`: how its instrument is reached; `line`: it is a process of its own, over TCP."""

    name: str
    title: str
    time_zone: str
    driver: str
    instrument: str = "press"


PEOPLE = (
    DemoPerson("sam", "Sam Okafor", "facility staff", roles=("staff",)),
    DemoPerson("kim", "Kim Lindqvist", "facility staff", roles=("staff",)),
    DemoPerson("pia", "Pia Moreau", "principal investigator", role="pi"),
    DemoPerson("rae", "Rae Ortiz", "researcher", role="researcher"),
    DemoPerson("olga", "Olga Novak", "operator of the lab north", lab="north"),
    DemoPerson("omar", "Omar Haddad", "operator of the lab south", lab="south"),
)
LABS = (
    DemoLab("north", "Northern additive manufacturing lab", "Europe/Oslo", driver="simulated"),
    DemoLab("south", "Southern additive manufacturing lab", "Europe/Lisbon", driver="line"),
)


@dataclass(frozen=True)
class SeededLab:
    """A lab's identifiers, for its node's state folder."""

    lab: str
    node: str


@dataclass(frozen=True)
class Seeded:
    """What there is now. `labs` by name."""

    project: str
    labs: Mapping[str, SeededLab]


def seed(
    facility: Facility, people_file: Path, keys: Mapping[str, Path], *, time_scale: str, labs: Sequence[DemoLab] = LABS
) -> Seeded:
    """Bring what is missing. `people_file`: where the passwords are kept (0600); `keys`: each lab's key file by name.

    Needs the embedded issuer. Raises `RuntimeError` without it: people of an outside issuer are not ours to make.
    """
    if facility.issuer is None:
        raise RuntimeError("demo people need the embedded issuer: unset LABCOMMONS_IDENTITY__ISSUER")
    with facility.work.write() as uow:
        ids = {person.username: _person(uow, person) for person in PEOPLE}
        project = _project(uow, ids)
        found = {lab.name: _lab(uow, lab, ids, time_scale) for lab in labs}
        jwks = {name: _node_key(uow, one.node, keys[name]) for name, one in found.items()}
        for document in load_library().values():
            protocols.store(uow, ids["sam"], document.document)
        uow.commit()
    for name, one in found.items():
        facility.issuer.add_client(one.node, jwks={"keys": [jwks[name]]})
    _passwords(facility, people_file, ids)
    return Seeded(project=project, labs=found)


def _person(uow: UnitOfWork, person: DemoPerson) -> PersonId:
    known = uow.office.people.one(username=person.username)
    if known is not None:
        return known.id
    row = PersonRow(
        id=uow.ids.mint(PersonId),
        username=person.username,
        name=person.name,
        created_at=uow.now,
        roles=person.roles,
    )
    uow.office.people.add(row)
    uow.audit(row.id, "person.seed", row.id, {"username": person.username})
    return row.id


def _project(uow: UnitOfWork, ids: Mapping[str, PersonId]) -> str:
    known = uow.office.projects.one(name=PROJECT)
    if known is not None:
        return known.id
    staff = ids["sam"]
    row = projects.create(uow, staff, name=PROJECT, title="Barrels that take a hit", pi="pia")
    for person in PEOPLE:
        if person.role not in {None, "pi"}:
            projects.put_member(uow, staff, row, username=person.username, role=str(person.role), cap_ms=None)
    allocations.grant(
        uow,
        staff,
        project=row.id,
        instrument_type=INSTRUMENT_TYPE,
        amount_ms=GRANT_MS,
        starts_at=uow.now - timedelta(days=1),
        ends_at=uow.now + WINDOW,
    )
    return row.id


def _lab(uow: UnitOfWork, lab: DemoLab, ids: Mapping[str, PersonId], time_scale: str) -> SeededLab:
    row = uow.lab.labs.one(name=lab.name)
    if row is None:
        row = LabRow(
            id=uow.ids.mint(LabId),
            name=lab.name,
            title=lab.title,
            time_zone=lab.time_zone,
            created_at=uow.now,
            time_scale=time_scale,
            simulated=True,
        )
        uow.lab.labs.add(row)
        for person in PEOPLE:
            if person.lab == lab.name:
                member = LabMemberRow(lab=row.id, person=ids[person.username], role="operator", created_at=uow.now)
                uow.lab.members.add(member)
    elif row.time_scale != time_scale:
        row = uow.lab.labs.save(replace(row, time_scale=time_scale))
    node = uow.lab.nodes.one(lab=row.id)
    if node is None:
        node = NodeRow(id=uow.ids.mint(NodeId), lab=row.id, created_at=uow.now)
        uow.lab.nodes.add(node)
        uow.audit(ids["sam"], "node.seed", node.id, {"lab": lab.name})
    return SeededLab(lab=row.id, node=node.id)


def _node_key(uow: UnitOfWork, node: str, path: Path) -> dict[str, Any]:
    """The public half of the node's key, made where it is missing; the private half stays in the lab's folder."""
    if path.exists():
        key = ECKey.import_key(path.read_bytes())
    else:
        key = ECKey.generate_key("P-256")
        write_private(path, key.as_pem(private=True))
    public = dict(key.as_dict(private=False))
    row = uow.lab.nodes.get(node)
    if row is not None and row.public_jwk != public:
        uow.lab.nodes.save(replace(row, public_jwk=public))
    return public


def read_people(path: Path) -> list[dict[str, Any]]:
    """The demo people with their passwords; empty where there are none yet."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [dict(one) for one in found]


def _passwords(facility: Facility, path: Path, ids: Mapping[str, PersonId]) -> None:
    """Give everybody a random password, unless the file has one for them already that the issuer knows."""
    assert facility.issuer is not None
    kept = {one["person"]: one for one in read_people(path)}
    known = {one.sub for one in facility.issuer.people()}
    lines = []
    for person in PEOPLE:
        subject = ids[person.username]
        line = kept.get(subject)
        if line is None or subject not in known:
            password = secrets.token_urlsafe(12)
            facility.issuer.add_person(person.username, person.name, password, person.roles, subject)
            line = {"person": subject, "password": password}
        about = {k: v for k, v in asdict(person).items() if v}
        lines.append({**about, "person": subject, "password": line["password"]})
    write_private(path, (json.dumps(lines, indent=2) + "\n").encode())
