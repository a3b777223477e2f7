"""What time does to the embedded issuer, what its administration does, and where it refuses to be."""

import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.routing import Mount

from contract.identity.issuers import CHEAP, Login, NodeKey, answer_of, mint_id
from labcommons.client.oidc.loginform import read_form
from labcommons.core.errors import Conflict, InvalidInput, NotFound, Unauthenticated, Unavailable
from labcommons.facility.identity.issuer import Issuer, IssuerConfig, create_issuer
from labcommons.facility.identity.issuer.store.passwords import hash_password, matches
from labcommons.facility.identity.verifier import OidcVerifier, create_verifier

URL = "http://127.0.0.1:8310/oidc"
PASSWORD = "purple tractor ladder"
SUB = mint_id("per")


class HandClock:
    """Moved by hand, both at once."""

    def __init__(self) -> None:
        self.at = datetime(2026, 10, 1, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class World:
    """The issuer in this process, a browser at it, and a verifier that reaches it without a socket."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self.clock = clock
        self.folder = folder
        self.issuer = create_issuer(IssuerConfig(url=URL, folder=folder, cost=CHEAP), clock)
        self.issuer.add_person("rae", "Rae Ortiz", PASSWORD, ["researcher"], SUB)
        self.http = self.browser()
        transport = httpx.ASGITransport(Starlette(routes=[Mount("/oidc", self.issuer.app)]))
        self.verifier: OidcVerifier = create_verifier(URL, clock, self.issuer.denylist, transport=transport)

    def browser(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=[Mount("/oidc", self.issuer.app)])))

    async def open(self, login: "Login", **changes: str | None) -> httpx.Response:
        return await self.http.get(f"{URL}/authorize", params=login.question(**changes))

    async def send(self, page: httpx.Response, **words: str) -> httpx.Response:
        form = read_form(page.text)
        assert form is not None
        return await self.http.post(form.action, data={**form.fields, **words})

    async def try_password(self, password: str, username: str = "rae") -> httpx.Response:
        page = await self.open(new_login(), prompt="login")
        return await self.send(page, deed="login", username=username, password=password)

    async def code(self, login: "Login") -> str:
        page = await self.open(login, prompt="login")
        answer = await self.send(page, deed="login", username="rae", password=PASSWORD)
        return answer_of(answer, login.redirect_uri)["code"]

    async def redeem(self, login: "Login", code: str) -> httpx.Response:
        data = {"grant_type": "authorization_code", "code": code, "redirect_uri": login.redirect_uri}
        data |= {"client_id": login.client_id, "code_verifier": login.verifier}
        return await self.http.post(f"{URL}/token", data=data)

    async def tokens(self) -> dict[str, Any]:
        login = new_login()
        answer = await self.redeem(login, await self.code(login))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def renew(self, token: str) -> httpx.Response:
        data = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "labcommons-cli"}
        return await self.http.post(f"{URL}/token", data=data)

    async def refused(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await self.verifier.verify(token)
        return caught.value.word


def new_login(client_id: str = "labcommons-cli", redirect_uri: str = "http://127.0.0.1:40123/callback") -> Login:
    # The issuer is only asked for discovery, which the World does not need.
    return Login(None, client_id, redirect_uri)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "identity", HandClock())
    yield made
    made.issuer.close()


# Time ------------------------------------------------------------------------------------------------------------


async def test_an_access_token_lives_five_minutes(world: World) -> None:
    tokens = await world.tokens()
    assert tokens["expires_in"] == 300
    world.clock.forward(299)
    await world.verifier.verify(tokens["access_token"])
    world.clock.forward(6)
    assert await world.refused(tokens["access_token"]) == "token_expired"


async def test_a_session_lives_twelve_hours_and_no_more(world: World) -> None:
    tokens = await world.tokens()
    for _ in range(11):
        world.clock.forward(3600)
        tokens = (await world.renew(tokens["refresh_token"])).json()
    world.clock.forward(3500)
    tokens = (await world.renew(tokens["refresh_token"])).json()
    # No token outlives the session.
    assert tokens["expires_in"] == tokens["refresh_expires_in"] == 100
    world.clock.forward(101)
    assert (await world.renew(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert 'name="password"' in (await world.open(new_login())).text


async def test_a_code_lives_a_minute(world: World) -> None:
    login = new_login()
    code = await world.code(login)
    world.clock.forward(61)
    assert (await world.redeem(login, code)).json()["error"] == "invalid_grant"


async def test_max_age_asks_for_a_fresher_login(world: World) -> None:
    await world.tokens()
    world.clock.forward(600)
    assert 'name="password"' not in (await world.open(new_login(), max_age="3600")).text
    assert 'name="password"' in (await world.open(new_login(), max_age="300")).text


async def test_auth_time_is_the_login_and_not_the_renewal(world: World) -> None:
    tokens = await world.tokens()
    at = world.clock.at
    world.clock.forward(3600)
    claims = await world.verifier.verify((await world.renew(tokens["refresh_token"])).json()["access_token"])
    assert claims.auth_time == at


async def test_the_lock_opens_after_a_while_and_grows(world: World) -> None:
    for _ in range(5):
        assert (await world.try_password("wrong wrong wrong")).status_code == 401
    locked = await world.try_password(PASSWORD)
    assert locked.status_code == 429
    assert 0 < int(locked.headers["retry-after"]) <= 30
    world.clock.forward(31)
    assert (await world.try_password("wrong wrong wrong")).status_code == 401
    assert int((await world.try_password(PASSWORD)).headers["retry-after"]) > 30
    world.clock.forward(61)
    assert (await world.try_password(PASSWORD)).status_code == 303
    # And a right password forgets the wrong ones.
    assert (await world.try_password("wrong wrong wrong")).status_code == 401
    assert (await world.try_password(PASSWORD)).status_code == 303


async def test_the_lock_is_of_the_name_however_it_is_written(world: World) -> None:
    for name in ("rae", "RAE", " rae ", "Rae", "rAe"):
        assert (await world.try_password("wrong wrong wrong", name)).status_code == 401
    assert (await world.try_password(PASSWORD)).status_code == 429


async def test_the_lock_has_an_end(world: World) -> None:
    for _ in range(30):
        await world.try_password("wrong wrong wrong")
        world.clock.forward(901)
    world.clock.forward(901)
    assert (await world.try_password(PASSWORD)).status_code == 303


# Administration --------------------------------------------------------------------------------------------------


async def test_a_disabled_person_is_out_at_once(world: World) -> None:
    tokens = await world.tokens()
    world.issuer.disable_person("rae")
    assert await world.refused(tokens["access_token"]) == "token_revoked"
    assert (await world.renew(tokens["refresh_token"])).status_code == 400
    assert (await world.try_password(PASSWORD)).status_code == 401
    world.issuer.enable_person("rae")
    world.clock.forward(1)
    await world.verifier.verify((await world.tokens())["access_token"])


async def test_disabled_between_the_page_and_its_button(world: World) -> None:
    await world.tokens()
    login = new_login()
    page = await world.open(login)
    world.issuer.disable_person("rae")
    assert "location" not in (await world.send(page, deed="continue")).headers


async def test_a_removed_person_is_forgotten(world: World) -> None:
    tokens = await world.tokens()
    world.issuer.remove_person("rae")
    assert await world.refused(tokens["access_token"]) == "token_revoked"
    assert world.issuer.people() == []
    with pytest.raises(NotFound):
        world.issuer.remove_person("rae")


async def _node_token(world: World, node: NodeKey) -> httpx.Response:
    now = int(world.clock.at.timestamp())
    claims = {"iss": node.client_id, "sub": node.client_id, "aud": URL, "exp": now + 50, "jti": mint_id("jti")}
    data = {"grant_type": "client_credentials", "client_assertion": jwt.encode({"alg": "ES256"}, claims, node.key)}
    data["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return await world.http.post(f"{URL}/token", data=data)


async def test_a_revoked_node_is_out_at_once(world: World) -> None:
    node = NodeKey(mint_id("nod"))
    world.issuer.add_client(node.client_id, jwks=node.jwks)
    token = (await _node_token(world, node)).json()["access_token"]
    assert (await world.verifier.verify(token)).roles == {"node"}
    world.issuer.disable_client(node.client_id)
    assert await world.refused(token) == "token_revoked"
    assert (await _node_token(world, node)).status_code == 401
    world.issuer.enable_client(node.client_id)
    assert (await _node_token(world, node)).status_code == 200
    world.issuer.remove_client(node.client_id)
    for act in (world.issuer.client, world.issuer.enable_client, world.issuer.disable_client):
        with pytest.raises(NotFound):
            act(node.client_id)


async def test_a_removed_program_takes_its_sessions_along(world: World) -> None:
    world.issuer.add_client("some-program", redirect_uris=["http://127.0.0.1:*/callback"])
    login = new_login("some-program")
    tokens = (await world.redeem(login, await world.code(login))).json()
    world.issuer.remove_client("some-program")
    assert await world.refused(tokens["access_token"]) == "token_revoked"
    data = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "some-program"}
    assert (await world.http.post(f"{URL}/token", data=data)).json()["error"] == "invalid_client"


async def test_disabled_between_the_code_and_the_token(world: World) -> None:
    login = new_login()
    code = await world.code(login)
    world.issuer.disable_person("rae")
    assert (await world.redeem(login, code)).json()["error"] == "invalid_grant"


async def test_only_a_person_with_openid_has_userinfo(world: World) -> None:
    login = new_login()
    page = await world.open(login, scope="profile")
    answer = await world.send(page, deed="login", username="rae", password=PASSWORD)
    person = (await world.redeem(login, answer_of(answer, login.redirect_uri)["code"])).json()
    assert "id_token" not in person
    node = NodeKey(mint_id("nod"))
    world.issuer.add_client(node.client_id, jwks=node.jwks)
    for token in (person["access_token"], (await _node_token(world, node)).json()["access_token"]):
        found = await world.http.get(f"{URL}/userinfo", headers={"Authorization": f"Bearer {token}"})
        assert found.status_code == 403
        assert 'error="insufficient_scope"' in found.headers["www-authenticate"]
    assert (await world.http.get(f"{URL}/userinfo")).status_code == 401


async def test_a_new_key_replaces_the_old_one(world: World) -> None:
    node = NodeKey(mint_id("nod"))
    world.issuer.add_client(node.client_id, jwks=node.jwks)
    fresh = NodeKey(node.client_id)
    world.issuer.add_client(node.client_id, jwks=fresh.jwks)
    assert (await _node_token(world, node)).status_code == 401
    assert (await _node_token(world, fresh)).status_code == 200


async def test_a_program_with_a_key_must_prove_it(world: World) -> None:
    portal = NodeKey("labcommons-portal")
    world.issuer.add_client(portal.client_id, jwks=portal.jwks, redirect_uris=["http://127.0.0.1:8400/callback"])
    login = new_login("labcommons-portal", "http://127.0.0.1:8400/callback")
    answer = await world.redeem(login, await world.code(login))
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    assert (await _node_token(world, portal)).json()["error"] == "unauthorized_client"


async def test_another_process_hears_of_a_revocation(world: World) -> None:
    tokens = await world.tokens()
    other = create_issuer(IssuerConfig(url=URL, folder=world.folder, cost=CHEAP), world.clock)
    other.disable_person("rae")
    other.close()
    world.clock.forward(2)
    assert await world.refused(tokens["access_token"]) == "token_revoked"


async def test_a_restart_loses_nothing(world: World) -> None:
    tokens = await world.tokens()
    world.issuer.close()
    again = World(world.folder, world.clock)
    world.issuer = again.issuer
    await again.verifier.verify(tokens["access_token"])
    assert (await again.renew(tokens["refresh_token"])).status_code == 200
    # The same refresh token again, after another restart still counts as used.
    assert (await again.renew(tokens["refresh_token"])).status_code == 400


async def test_old_things_are_forgotten(world: World) -> None:
    for _ in range(3):
        await world.tokens()
        world.clock.forward(3 * 86_400)
    await world.tokens()
    counts = {
        table: world.issuer._database.rows(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("logins", "sessions", "codes", "refresh_tokens")
    }
    assert counts == {"logins": 1, "sessions": 1, "codes": 1, "refresh_tokens": 1}


def test_a_user_name_has_one_owner(world: World) -> None:
    with pytest.raises(Conflict) as caught:
        world.issuer.add_person("RAE", "Another Rae", PASSWORD, [], mint_id("per"))
    assert caught.value.word == "username_taken"
    world.issuer.add_person("rae.ortiz", "Rae Ortiz", PASSWORD, ["staff"], SUB)
    assert [(one.username, one.roles) for one in world.issuer.people()] == [("rae.ortiz", ("staff",))]


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_a_password_has_a_length(world: World, password: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.issuer.add_person("kim", "Kim", password, [], mint_id("per"))
    assert caught.value.word == "weak_password"


P256, P384 = ECKey.generate_key("P-256"), ECKey.generate_key("P-384")
BAD_CLIENTS: dict[str, dict[str, Any]] = {
    "no key and no address": {},
    "a private key": {"jwks": {"keys": [P256.as_dict(private=True)]}},
    "another curve": {"jwks": {"keys": [P384.as_dict(private=False)]}},
    "no keys member": {"jwks": {}},
    "keys is no list": {"jwks": {"keys": "x"}},
    "a key is no object": {"jwks": {"keys": ["x"]}},
    "a secret": {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}]}},
    "plain HTTP": {"redirect_uris": ["http://example.org/callback"]},
    "a star elsewhere": {"redirect_uris": ["https://example.org/*"]},
    "a star for a host": {"redirect_uris": ["http://*:80/callback"]},
    "a fragment": {"redirect_uris": ["https://example.org/#x"]},
    "a user": {"redirect_uris": ["https://me@example.org/"]},
    "a script": {"redirect_uris": ["javascript:alert(1)"]},
    "no address at all": {"redirect_uris": [""]},
    "log-out elsewhere": {
        "redirect_uris": ["https://example.org/callback"],
        "post_logout_redirect_uris": ["http://evil.example/"],
    },
    "an odd name": {"redirect_uris": ["https://example.org/callback"], "client_id": "a b"},
}


@pytest.mark.parametrize("words", BAD_CLIENTS.values(), ids=BAD_CLIENTS)
def test_a_client_that_cannot_be(world: World, words: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.issuer.add_client(
            words.get("client_id", "some-client"), **{k: v for k, v in words.items() if k != "client_id"}
        )
    assert caught.value.remedy


# Where it lives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://0.0.0.0:8310/oidc",
        "http://192.168.1.5:8310/oidc",
        "http://facility.example/oidc",
        "https://facility.example/oidc",
        "http://127.0.0.1.evil.example/oidc",
        "http://localhost@evil.example/oidc",
        "http://127.0.0.1:8310/oidc/",
        "http://127.0.0.1:8310/oidc?x=1",
        "",
    ],
)
def test_it_does_not_start_off_loopback(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        IssuerConfig(url=url, folder=tmp_path)
    assert caught.value.word == "issuer_not_loopback"
    assert "LABCOMMONS_IDENTITY__ISSUER" in caught.value.remedy


@pytest.mark.parametrize("url", ["http://localhost:8310/oidc", "http://[::1]:8310/oidc"])
def test_it_starts_on_every_name_of_loopback(tmp_path: Path, url: str) -> None:
    issuer = create_issuer(IssuerConfig(url=url, folder=tmp_path, cost=CHEAP), HandClock())
    assert issuer.url == url
    issuer.close()


def test_its_files_are_private(world: World) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in world.folder.iterdir()}
    assert modes["signing-key.pem"] == modes["issuer.sqlite"] == 0o600
    assert not [name for name, mode in modes.items() if mode & 0o077 and name.startswith("issuer")]
    assert not stat.S_IMODE(world.folder.stat().st_mode) & 0o077


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    config = IssuerConfig(url=URL, folder=tmp_path, cost=CHEAP)
    create_issuer(config, HandClock()).close()
    (tmp_path / "signing-key.pem").chmod(0o644)
    with pytest.raises(Unavailable) as caught:
        create_issuer(config, HandClock())
    assert caught.value.word == "key_exposed"
    # The remedy it names:
    (tmp_path / "signing-key.pem").unlink()
    create_issuer(config, HandClock()).close()


def test_no_secret_is_stored_as_it_is(world: World) -> None:
    stored = world.issuer._database.rows("SELECT password FROM people")[0][0]
    assert re.fullmatch(r"scrypt\$\d+\$\d+\$\d+\$[0-9a-f]{32}\$[0-9a-f]{64}", stored)
    assert PASSWORD not in stored


async def test_secrets_in_flight_are_stored_as_hashes(world: World) -> None:
    tokens = await world.tokens()
    content = b"".join(path.read_bytes() for path in world.folder.iterdir() if "sqlite" in path.name)
    for word in ("access_token", "refresh_token", "id_token"):
        assert tokens[word].encode() not in content
    assert not [one for one in world.http.cookies.jar if str(one.value).encode() in content]


def test_the_same_password_twice_is_two_hashes() -> None:
    first, second = hash_password("pässwort für zwei", CHEAP), hash_password("pässwort für zwei", CHEAP)
    assert first != second
    assert matches("pässwort für zwei", first)
    assert matches("pa\u0308sswort fu\u0308r zwei", second)
    assert not matches("passwort fur zwei", first)


def _issuer_is_closed(issuer: Issuer) -> bool:
    try:
        issuer.people()
    except Exception as error:
        return "closed" in str(error)
    return False


def test_close_closes(world: World, tmp_path: Path) -> None:
    other = create_issuer(IssuerConfig(url=URL, folder=tmp_path / "other", cost=CHEAP), world.clock)
    other.close()
    assert _issuer_is_closed(other)
