"""People whom an outside issuer vouches for: a row at the first visit, roles from the token, memberships from us."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from integration.api.house import House
from labcommons.facility.ports import Claims, PersonRow
from labcommons.facility.services.office import people
from labcommons.scheduler.authority import Principal

KEYCLOAK = "https://id.example/realms/commons"


def claims(house: House, subject: str = "f:1", username: str | None = "ada", *roles: str) -> Claims:
    return Claims(
        issuer=KEYCLOAK,
        subject=subject,
        audience=("labcommons",),
        client="labcommons-cli",
        expires_at=house.facility.clock.now() + timedelta(minutes=5),
        username=username,
        roles=frozenset(roles),
    )


def visit(house: House, said: Claims) -> Principal:
    with house.facility.work.write() as uow:
        found = people.principal(uow, said, embedded=False) or people.welcome(uow, said, embedded=False)
        uow.commit()
    return found


def row(house: House, person: str | None) -> PersonRow:
    with house.facility.work.read() as uow:
        found = uow.office.people.get(person)
    assert found is not None
    return found


async def test_the_first_visit_makes_a_row_and_the_second_finds_it(house: House) -> None:
    first = visit(house, claims(house))
    assert (row(house, first.person).username, row(house, first.person).issuer) == ("ada", KEYCLOAK)
    assert first.projects == {}
    assert visit(house, claims(house)) == first


async def test_coarse_roles_come_with_the_token_and_nothing_else_does(house: House) -> None:
    found = visit(house, claims(house, "f:1", "ada", "staff", "uma_authorization", "pi"))
    assert found.roles == frozenset({"staff"})
    assert visit(house, claims(house)).roles == frozenset(), "a role that the token no longer has is gone at once"


async def test_two_issuers_may_know_the_same_name(house: House) -> None:
    visit(house, claims(house, "f:1", "rae"))
    other = visit(house, claims(house, "f:2", "rae"))
    assert row(house, other.person).username == "rae-3"
    nameless = visit(house, claims(house, "f:3", None))
    assert row(house, nameless.person).username == "f:3"


async def test_a_subject_of_another_issuer_is_another_person(house: House) -> None:
    mine = visit(house, claims(house))
    foreign = visit(house, replace(claims(house), issuer="https://id.example/realms/other"))
    assert foreign.person != mine.person
