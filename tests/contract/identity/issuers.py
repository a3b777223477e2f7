"""What the suite needs of an issuer, and how the embedded one meets it. A further issuer joins by a further maker."""

import base64
import hashlib
import hmac
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

from labcommons.client.oidc.loginform import read_form
from labcommons.facility.clock import SystemClock
from labcommons.facility.identity.denylist import Denylist
from labcommons.facility.identity.issuer import Issuer, IssuerConfig, PasswordCost, create_issuer

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
AUDIENCE = "labcommons"
CHEAP = PasswordCost(n=1 << 10, r=8, p=1)


@dataclass(frozen=True)
class Ahead:
    """So many seconds from when the token is made (tests are collected long before they run)."""

    seconds: int


def settled(claims: Mapping[str, Any]) -> dict[str, Any]:
    """``claims`` without those that are None, with real times."""
    now = int(time.time())
    found = {name: now + value.seconds if isinstance(value, Ahead) else value for name, value in claims.items()}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str
    name: str
    sub: str
    roles: tuple[str, ...] = ("researcher",)


@dataclass(frozen=True)
class NodeKey:
    client_id: str
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"), repr=False)

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}


class IssuerUnderTest(Protocol):
    """An issuer with one person, one node, two programs that log people in, and its own ways to make odd tokens."""

    @property
    def url(self) -> str: ...
    @property
    def denylist(self) -> Denylist: ...
    @property
    def person(self) -> Credentials: ...
    @property
    def node(self) -> NodeKey: ...
    @property
    def program(self) -> str:
        """A public client with the redirect address ``http://127.0.0.1:*/callback``."""
        ...

    @property
    def other_program(self) -> str:
        """Another one."""
        ...

    @property
    def guesses(self) -> int:
        """How many wrong passwords in a row lock a name."""
        ...

    def fill_in(self, http: httpx.Client, page: httpx.Response, username: str, password: str) -> httpx.Response:
        """Send the login page's form; redirects are not followed."""
        ...

    def expired_token(self) -> str: ...
    def token_without_audience(self) -> str: ...
    def token_for_another_audience(self) -> str: ...
    def new_node(self, jwks: dict[str, Any] | None = None) -> NodeKey:
        """A node of its own, with other keys than its own if wished."""
        ...

    def disable_node(self, node: NodeKey) -> None: ...


@dataclass
class EmbeddedIssuer:
    """The embedded issuer in a server process of its own; ``admin`` is a second process at the same files."""

    admin: Issuer
    url: str
    folder: Path
    person: Credentials
    node: NodeKey
    program: str = "labcommons-cli"
    other_program: str = "another-program"
    guesses: int = 5

    @property
    def denylist(self) -> Denylist:
        return self.admin.denylist

    def fill_in(self, http: httpx.Client, page: httpx.Response, username: str, password: str) -> httpx.Response:
        form = read_form(page.text)
        assert form is not None
        data = {**form.fields, "username": username, "password": password, "deed": "login"}
        return http.post(page.url.join(form.action), data=data)

    def expired_token(self) -> str:
        return self._signed(iat=Ahead(-600), exp=Ahead(-300))

    def token_without_audience(self) -> str:
        return self._signed(aud=None)

    def token_for_another_audience(self) -> str:
        return self._signed(aud=["account", "another-service"])

    def new_node(self, jwks: dict[str, Any] | None = None) -> NodeKey:
        node = NodeKey(mint_id("nod"))
        self.admin.add_client(node.client_id, jwks=node.jwks if jwks is None else jwks)
        return node

    def disable_node(self, node: NodeKey) -> None:
        self.admin.disable_client(node.client_id)

    def _signed(self, **changes: Any) -> str:
        key = ECKey.import_key((self.folder / "signing-key.pem").read_bytes())
        claims = settled(good_claims(self.url) | changes)
        header = {"alg": "ES256", "kid": key.thumbprint()}
        return jwt.encode(header, claims, key, algorithms=["ES256"])


@contextmanager
def embedded(folder: Path) -> Iterator[EmbeddedIssuer]:
    """The embedded issuer, served on a free port of loopback by uvicorn."""
    script = Path(__file__).with_name("serve_embedded.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the issuer did not start"
            yield from _with_admin(url, folder)
        finally:
            process.terminate()
            process.wait(10)


def _with_admin(url: str, folder: Path) -> Iterator[EmbeddedIssuer]:
    admin = create_issuer(IssuerConfig(url=url, folder=folder, cost=CHEAP), SystemClock())
    try:
        person = Credentials("rae", "purple tractor ladder", "Rae Ortiz", mint_id("per"))
        admin.add_person(
            person.username, person.name, person.password, person.roles, person.sub, email="rae@example.org"
        )
        admin.add_client("another-program", redirect_uris=["http://127.0.0.1:*/callback"])
        node = NodeKey(mint_id("nod"))
        admin.add_client(node.client_id, jwks=node.jwks)
        yield EmbeddedIssuer(admin, url, folder, person, node)
    finally:
        admin.close()


def mint_id(kind: str) -> str:
    return f"{kind}_0" + "".join(secrets.choice("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for _ in range(25))


def good_claims(issuer: str) -> dict[str, Any]:
    """The claims of a person's access token as Keycloak makes it."""
    now = int(time.time())
    return {
        "exp": now + 300,
        "iat": now,
        "jti": secrets.token_urlsafe(16),
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": mint_id("per"),
        "typ": "Bearer",
        "azp": "labcommons-cli",
        "sid": secrets.token_urlsafe(16),
        "auth_time": now,
        "scope": "openid profile email",
        "realm_access": {"roles": ["researcher"]},
        "preferred_username": "rae",
        "name": "Rae Ortiz",
    }


@dataclass
class Login:
    """One login of a program: the question, and what is needed to use the answer."""

    issuer: IssuerUnderTest
    client_id: str
    redirect_uri: str = "http://127.0.0.1:40123/callback"
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    def question(self, **changes: str | None) -> dict[str, str]:
        """The parameters of the authorization request; None takes one out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid profile email",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (asked | changes).items() if value is not None}

    def open(self, http: httpx.Client, **changes: str | None) -> httpx.Response:
        """The login page, or whatever else comes."""
        return http.get(endpoint(http, self.issuer, "authorization_endpoint"), params=self.question(**changes))

    def code(self, http: httpx.Client, **changes: str | None) -> str:
        """Log the person in and take the code from the redirect."""
        page = self.open(http, **changes)
        answer = self.issuer.fill_in(http, page, self.issuer.person.username, self.issuer.person.password)
        found = answer_of(answer, self.redirect_uri)
        assert found["state"] == self.state
        return found["code"]

    def redeem(self, http: httpx.Client, code: str, **changes: str | None) -> httpx.Response:
        """Give the code to the token endpoint."""
        data: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "client_id": self.client_id,
            "code_verifier": self.verifier,
        }
        return token_call(http, self.issuer, data | changes)

    def tokens(self, http: httpx.Client) -> dict[str, Any]:
        """The whole way."""
        answer = self.redeem(http, self.code(http))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def answer_of(response: httpx.Response, redirect_uri: str) -> dict[str, str]:
    """The parameters that a redirect to the program carries."""
    assert response.status_code in (302, 303), (response.status_code, response.text)
    location = response.headers["location"]
    assert location.startswith(redirect_uri + "?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def endpoint(http: httpx.Client, issuer: IssuerUnderTest, name: str) -> str:
    document = http.get(f"{issuer.url}/.well-known/openid-configuration").json()
    return str(document[name])


def token_call(http: httpx.Client, issuer: IssuerUnderTest, data: dict[str, str | None]) -> httpx.Response:
    given = {name: value for name, value in data.items() if value is not None}
    return http.post(endpoint(http, issuer, "token_endpoint"), data=given)


def renew(http: httpx.Client, issuer: IssuerUnderTest, token: str, client_id: str | None = None) -> httpx.Response:
    data: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": token}
    return token_call(http, issuer, data | {"client_id": client_id or issuer.program})


def assertion(node: NodeKey, audience: Any, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A node's statement of who it is; ``changes`` spoil it, None takes a claim out."""
    now = int(time.time())
    claims = {
        "iss": node.client_id,
        "sub": node.client_id,
        "aud": audience,
        "iat": now,
        "exp": now + 50,
        "jti": secrets.token_urlsafe(24),
    }
    return jwt.encode(header or {"alg": "ES256"}, settled(claims | changes), node.key, algorithms=["ES256"])


def node_call(http: httpx.Client, issuer: IssuerUnderTest, statement: str, **changes: str | None) -> httpx.Response:
    data: dict[str, str | None] = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": statement,
    }
    return token_call(http, issuer, data | changes)


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token in the form of one, signed by nobody that matters."""
    return ".".join(_part(json.dumps(one).encode()) for one in (header, claims)) + "." + _part(signature)


def hs256(claims: dict[str, Any], secret: bytes, **header: Any) -> str:
    """A token signed with a secret; by hand, since libraries refuse to take a public key for one."""
    text = forged({"alg": "HS256", "typ": "JWT", **header}, claims).rpartition(".")[0]
    return f"{text}.{_part(hmac.digest(secret, text.encode(), 'sha256'))}"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
