"""The issuers that the suite runs against, and a browser for each test."""

from collections.abc import Iterator

import httpx
import pytest

from contract.identity.issuers import IssuerUnderTest, Login, embedded
from labcommons.facility.clock import SystemClock
from labcommons.facility.identity.verifier import OidcVerifier, create_verifier

MAKERS = {"embedded": embedded}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def issuer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IssuerUnderTest]:
    with MAKERS[request.param](tmp_path_factory.mktemp("issuer")) as made:
        yield made


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A browser of its own: with its own cookies, following no redirect."""
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def login(issuer: IssuerUnderTest) -> Login:
    return Login(issuer, issuer.program)


@pytest.fixture
def verifier(issuer: IssuerUnderTest) -> OidcVerifier:
    return create_verifier(issuer.url, SystemClock(), issuer.denylist)
