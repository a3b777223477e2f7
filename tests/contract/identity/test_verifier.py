"""The verifier against a made-up issuer whose key we hold: every claim, every header, every key, one at a time."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from contract.identity.issuers import AUDIENCE, Ahead, forged, good_claims, hs256, mint_id, settled
from labcommons.core.errors import Unauthenticated, Unavailable
from labcommons.facility.clock import SystemClock
from labcommons.facility.identity.claims import Expectation
from labcommons.facility.identity.denylist import NoDenylist
from labcommons.facility.identity.published import FixedKeys
from labcommons.facility.identity.verifier import OidcVerifier, create_verifier

URL = "https://issuer.example/realms/commons"
KEY = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "one"})
OTHER = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "two"})
RSA = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "rsa"})


class HandClock(SystemClock):
    """The wall clock is real; the monotonic one is moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at


@dataclass
class PaperIssuer:
    """Discovery and keys as documents; counts how often it is asked."""

    keys: list[Any] = field(default_factory=lambda: [KEY.as_dict(private=False)])
    discovery: dict[str, Any] = field(default_factory=lambda: {"issuer": URL, "jwks_uri": f"{URL}/certs"})
    asked: int = 0
    down: bool = False
    body: bytes | None = None
    status: int = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("down", request=request)
        if request.url.path.endswith("openid-configuration"):
            self.asked += 1
            return httpx.Response(self.status, content=self.body or json.dumps(self.discovery).encode())
        return httpx.Response(200, json={"keys": self.keys})

    def verifier(self, clock: HandClock | None = None, **more: Any) -> OidcVerifier:
        transport = httpx.MockTransport(self.answer)
        return create_verifier(URL, clock or HandClock(), NoDenylist(), transport=transport, **more)


def token(*, header: dict[str, Any] | None = None, key: Any = KEY, **changes: Any) -> str:
    head = {"alg": "ES256", "kid": "one", **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    claims = settled(good_claims(URL) | changes)
    registry = jws.JWSRegistry(algorithms=[head["alg"]], strict_check_header=False)
    return jwt.encode(head, claims, key, registry=registry, default_type=None if "typ" in (header or {}) else "JWT")


async def refusal(text: str, verifier: OidcVerifier | None = None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await (verifier or PaperIssuer().verifier()).verify(text)
    assert caught.value.remedy
    return caught.value.word


async def test_a_keycloak_token_is_read() -> None:
    claims = await PaperIssuer().verifier().verify(token(aud=["account", AUDIENCE], email="rae@example.org"))
    assert claims.issuer == URL
    assert claims.audience == ("account", AUDIENCE)
    assert (claims.client, claims.username, claims.name) == ("labcommons-cli", "rae", "Rae Ortiz")
    assert claims.roles == {"researcher"}
    assert claims.email == "rae@example.org"
    assert claims.node is None


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
async def test_both_kinds_of_header_are_taken(kind: str) -> None:
    assert (await PaperIssuer().verifier().verify(token(header={"typ": kind}))).username == "rae"


@pytest.mark.parametrize("kind", [None, "", "JWE", "logout+jwt", "dpop+jwt", ["JWT"]])
async def test_other_kinds_are_not(kind: Any) -> None:
    claims = good_claims(URL)
    head = {"alg": "ES256", "kid": "one"} | ({} if kind is None else {"typ": kind})
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    registry.header_registry.pop("typ", None)
    text = jws.serialize_compact(head, json.dumps(claims), KEY, registry=registry)
    assert await refusal(text) == "token_invalid"


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("expired", {"exp": Ahead(-60), "iat": Ahead(-360)}, "token_expired"),
    ("expires now less the leeway", {"exp": Ahead(-5), "iat": Ahead(-360)}, "token_expired"),
    ("no exp", {"exp": None}, "token_invalid"),
    ("no iat", {"iat": None}, "token_invalid"),
    ("exp is a text", {"exp": "1790000000"}, "token_invalid"),
    ("exp is true", {"exp": True}, "token_invalid"),
    ("exp is infinite", {"exp": 1e400}, "token_invalid"),
    ("exp is beyond all calendars", {"exp": 10**18}, "token_invalid"),
    ("nbf in the future", {"nbf": Ahead(120)}, "token_not_yet_valid"),
    ("iat in the future", {"iat": Ahead(120)}, "token_not_yet_valid"),
    ("nbf is a text", {"nbf": "soon"}, "token_invalid"),
    ("no aud", {"aud": None}, "audience_missing"),
    ("aud is empty", {"aud": ""}, "audience_missing"),
    ("aud is an empty list", {"aud": []}, "audience_missing"),
    ("aud is another", {"aud": "account"}, "audience_wrong"),
    ("aud is others", {"aud": ["account", "portal"]}, "audience_wrong"),
    ("aud contains it as a part", {"aud": f"x{AUDIENCE}"}, "audience_wrong"),
    ("aud is a number", {"aud": 7}, "token_invalid"),
    ("aud holds a number", {"aud": [AUDIENCE, 7]}, "token_invalid"),
    ("aud is an object", {"aud": {AUDIENCE: True}}, "token_invalid"),
    ("another issuer", {"iss": "https://evil.example"}, "issuer_unknown"),
    ("a longer issuer", {"iss": URL + "/"}, "issuer_unknown"),
    ("no issuer", {"iss": None}, "issuer_unknown"),
    ("issuer in a list", {"iss": [URL]}, "issuer_unknown"),
    ("no subject", {"sub": None}, "token_invalid"),
    ("empty subject", {"sub": ""}, "token_invalid"),
    ("subject is a number", {"sub": 7}, "token_invalid"),
    ("no azp", {"azp": None}, "token_invalid"),
    ("no jti", {"jti": None}, "token_invalid"),
    ("an ID token", {"typ": "ID"}, "token_invalid"),
    ("a refresh token", {"typ": "Refresh"}, "token_invalid"),
    ("auth_time is a text", {"auth_time": "yesterday"}, "token_invalid"),
    ("a name without end", {"name": "x" * 1000}, "token_invalid"),
]


@pytest.mark.parametrize(("changes", "code"), [pytest.param(c, w, id=i) for i, c, w in WRONG])
async def test_every_claim_counts(changes: dict[str, Any], code: str) -> None:
    assert await refusal(token(**changes)) == code


@pytest.mark.parametrize("changes", [{"exp": Ahead(-2), "iat": Ahead(-302)}, {"nbf": Ahead(3)}, {"iat": Ahead(3)}])
async def test_clocks_may_differ_a_little(changes: dict[str, Any]) -> None:
    assert (await PaperIssuer().verifier(leeway_s=30).verify(token(**changes))).username == "rae"


@pytest.mark.parametrize("access", [None, {}, {"roles": "staff"}, {"roles": [1, None, {}]}, ["staff"], "staff"])
async def test_odd_roles_are_no_roles(access: Any) -> None:
    assert (await PaperIssuer().verifier().verify(token(realm_access=access))).roles == frozenset()


# Algorithms and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "ES256 ", "es256", ["ES256"], None, 7])
async def test_an_unsigned_token(algorithm: Any) -> None:
    assert await refusal(forged({"alg": algorithm, "typ": "JWT", "kid": "one"}, good_claims(URL))) == "token_invalid"


async def test_the_public_key_used_as_a_secret() -> None:
    pem, jwk = KEY.as_pem(private=False), json.dumps(KEY.as_dict(private=False)).encode()
    for secret in (pem, pem.strip(), jwk, b"one", b""):
        assert await refusal(hs256(good_claims(URL), secret, kid="one")) == "token_invalid"


def test_no_symmetric_algorithm_can_be_allowed() -> None:
    for algorithms in (["HS256"], ["ES256", "HS512"], ["none"], [], ["ES256K"]):
        with pytest.raises(ValueError, match="algorithms"):
            OidcVerifier(
                Expectation(URL, AUDIENCE), FixedKeys({"keys": []}), SystemClock(), NoDenylist(), algorithms=algorithms
            )


async def test_a_secret_among_the_published_keys_is_left_out() -> None:
    secret = OctKey.generate_key(256, {"kid": "secret"})
    issuer = PaperIssuer(keys=[secret.as_dict()])
    text = jwt.encode({"alg": "HS256", "kid": "secret"}, good_claims(URL), secret, algorithms=["HS256"])
    assert await refusal(text, issuer.verifier()) == "token_invalid"


async def test_another_key_under_the_same_name() -> None:
    assert await refusal(token(key=OTHER)) == "token_invalid"


async def test_a_key_that_is_brought_along() -> None:
    public = OTHER.as_dict(private=False)
    assert await refusal(token(key=OTHER, header={"jwk": public, "kid": None})) == "token_invalid"
    assert await refusal(token(key=OTHER, header={"jku": "https://evil.example/jwks"})) == "token_invalid"


async def test_an_algorithm_that_is_not_allowed_here() -> None:
    issuer = PaperIssuer(keys=[RSA.as_dict(private=False)])
    text = token(header={"alg": "RS256", "kid": "rsa"}, key=RSA)
    assert await refusal(text, issuer.verifier()) == "token_invalid"
    assert (await issuer.verifier(algorithms=["ES256", "RS256"]).verify(text)).username == "rae"


async def test_a_key_of_another_type_than_the_algorithm_says() -> None:
    issuer = PaperIssuer(keys=[RSA.as_dict(private=False) | {"kid": "one", "alg": None}])
    assert await refusal(token(), issuer.verifier(algorithms=["ES256", "RS256"])) == "token_invalid"


async def test_a_key_reserved_for_another_algorithm_or_use() -> None:
    public = KEY.as_dict(private=False)
    for change in ({"alg": "ES384"}, {"use": "enc"}):
        issuer = PaperIssuer(keys=[public | change])
        assert await refusal(token(), issuer.verifier()) == "token_invalid"


async def test_what_is_not_understood_among_the_keys_is_left_out() -> None:
    odd = [{"kty": "AKP", "kid": "new"}, {"kty": "EC"}, "rubbish", None, {}, KEY.as_dict(private=False)]
    assert (await PaperIssuer(keys=odd).verifier().verify(token())).username == "rae"


async def test_a_token_without_kid_needs_an_only_key() -> None:
    text = token(header={"kid": None})
    assert (await PaperIssuer().verifier().verify(text)).username == "rae"
    both = PaperIssuer(keys=[KEY.as_dict(private=False), OTHER.as_dict(private=False)])
    assert await refusal(text, both.verifier()) == "token_invalid"


def signed_by_hand(header: dict[str, Any]) -> str:
    """A token whose signature is right, with a header that a library would not write."""
    text = forged({"alg": "ES256", "typ": "JWT", "kid": "one"} | header, good_claims(URL)).rpartition(".")[0]
    signature = jws.JWSRegistry.algorithms["ES256"].sign(text.encode(), KEY)
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_signing_by_hand_is_signing() -> None:
    assert (
        await PaperIssuer().verifier().verify(signed_by_hand({"x5t": "unknown, and not critical"}))
    ).username == "rae"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"kid": 7},
    ],
)
async def test_headers_that_ask_for_more(header: dict[str, Any]) -> None:
    assert await refusal(signed_by_hand(header)) == "token_invalid"


@pytest.mark.parametrize("change", ["payload", "signature", "header"])
async def test_a_letter_changed(change: str) -> None:
    parts = token().split(".")
    place = ["header", "payload", "signature"].index(change)
    middle = len(parts[place]) // 2
    letter = "A" if parts[place][middle] != "A" else "B"
    parts[place] = parts[place][:middle] + letter + parts[place][middle + 1 :]
    assert await refusal(".".join(parts)) in ("token_invalid", "issuer_unknown")


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b.c", "e30.e30.e30", "bnVsbA.bnVsbA.", "é.é.é", "x" * 100_000, "[" * 9000 + ".e30.e30"],
)
async def test_rubbish(text: str) -> None:
    assert await refusal(text) == "token_invalid"


# Discovery -------------------------------------------------------------------------------------------------------


async def test_keys_are_asked_for_once() -> None:
    issuer = PaperIssuer()
    verifier = issuer.verifier()
    for _ in range(3):
        await verifier.verify(token())
    assert issuer.asked == 1


async def test_a_new_key_is_fetched_but_not_at_will() -> None:
    issuer, clock = PaperIssuer(), HandClock()
    verifier = issuer.verifier(clock)
    await verifier.verify(token())
    new = token(header={"kid": "two"}, key=OTHER)
    for _ in range(5):
        assert await refusal(new, verifier) == "token_invalid"
    assert issuer.asked == 1
    issuer.keys.append(OTHER.as_dict(private=False))
    clock.at += 5.0
    assert (await verifier.verify(new)).username == "rae"
    assert issuer.asked == 2


async def test_a_withdrawn_key_stops_counting() -> None:
    issuer, clock = PaperIssuer(), HandClock()
    verifier = issuer.verifier(clock)
    await verifier.verify(token())
    issuer.keys = [OTHER.as_dict(private=False)]
    clock.at += 301.0
    assert await refusal(token(), verifier) == "token_invalid"


async def test_a_foreign_token_asks_nobody() -> None:
    issuer = PaperIssuer()
    assert await refusal(token(iss="https://evil.example"), issuer.verifier()) == "issuer_unknown"
    assert issuer.asked == 0


async def test_an_issuer_that_is_down_is_no_bad_token() -> None:
    issuer, clock = PaperIssuer(down=True), HandClock()
    verifier = issuer.verifier(clock)
    with pytest.raises(Unavailable) as caught:
        await verifier.verify(token())
    assert caught.value.word == "issuer_unreachable"
    issuer.down = False
    clock.at += 5.0
    await verifier.verify(token())
    # And the keys it once published go on counting while it is down again.
    issuer.down = True
    clock.at += 1000.0
    await verifier.verify(token())


SPOILT: dict[str, Callable[[PaperIssuer], None]] = {
    "another issuer": lambda one: one.discovery.update(issuer="https://evil.example"),
    "no keys named": lambda one: one.discovery.pop("jwks_uri"),
    "plain HTTP": lambda one: one.discovery.update(jwks_uri="http://issuer.example/certs"),
    "a file": lambda one: one.discovery.update(jwks_uri="file:///etc/passwd"),
    "no JSON": lambda one: setattr(one, "body", b"<html>"),
    "a list": lambda one: setattr(one, "body", b"[]"),
    "too large": lambda one: setattr(one, "body", b" " * (2 << 20)),
    "an error": lambda one: setattr(one, "status", 500),
    "a redirect": lambda one: setattr(one, "status", 302),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
async def test_a_discovery_that_cannot_be_believed(spoil: Callable[[PaperIssuer], None]) -> None:
    issuer = PaperIssuer()
    spoil(issuer)
    with pytest.raises(Unavailable):
        await issuer.verifier().verify(token())


# Nodes -----------------------------------------------------------------------------------------------------------


async def test_a_node_is_known_by_azp_and_by_having_got_the_token_for_itself() -> None:
    node = mint_id("nod")
    name = f"service-account-{node.lower()}"
    ways: list[dict[str, Any]] = [{"preferred_username": name}, {"preferred_username": "x", "client_id": node}]
    for own in ways:
        claims = await PaperIssuer().verifier().verify(token(azp=node, sub="9b6d0c1e", sid=None, **own))
        assert claims.node == node
        assert claims.is_node


async def test_a_person_is_no_node() -> None:
    node = mint_id("nod")
    assert await refusal(token(azp=node)) == "token_invalid"
    assert await refusal(token(azp=node, client_id=mint_id("nod"))) == "token_invalid"
    assert await refusal(token(azp="nod_nonsense")) == "token_invalid"
    assert not (await PaperIssuer().verifier().verify(token(sub=node))).is_node
