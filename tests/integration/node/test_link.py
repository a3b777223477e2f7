"""The link under a facility that answers nonsense, forgets, or does not answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from integration.node.fake import FakeFacility, Lab, until
from witness.fixtures import WitnessProcess

pytestmark = [pytest.mark.slow]

Running = Callable[..., tuple[WitnessProcess, Lab]]
DONE = ["RECEIVED", "INTENT", "STARTED", "RESULT", "UPLOADED"]


async def test_corrupt_answers_are_ignored_and_the_node_goes_on(fake: FakeFacility, running: Running) -> None:
    witness, lab = running()
    await until(lambda: fake.free_token("press"))
    good = fake.answer(work=True)
    wrong_cursor = {**good, "cursor": {**good["cursor"], "hash": "f" * 64}}
    bad = [
        b"not json",
        b"{}",
        json.dumps(good).encode()[:-20],
        json.dumps({**good, "wire": 99}).encode(),
        json.dumps({**good, "epoch": 0}).encode(),
        json.dumps(wrong_cursor).encode(),
        json.dumps({**good, "cursor": {**good["cursor"], "seq": 10_000}}).encode(),
    ]
    fake.spoil["next"] = list(bad[:4])
    fake.spoil["report"] = list(bad[4:])
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert not fake.spoil["report"]
    assert len(witness.starts()) == 1
    assert "code=corrupt" in lab.log()


async def test_what_the_facility_forgot_is_told_again(fake: FakeFacility, running: Running) -> None:
    running()
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    kept = list(fake.entries)
    fake.entries = kept[:2]
    following = await fake.grant()
    await until(lambda: fake.kinds(following) == DONE)
    assert fake.entries[: len(kept)] == kept


async def test_a_missing_manifest_is_uploaded_and_the_call_repeated(fake: FakeFacility, running: Running) -> None:
    fake.manifest_missing = 1_000
    running()
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.head is not None
    manifest = json.loads(fake.objects[fake.head.manifests["press"]])
    assert manifest["instruments"][0]["name"] == "press"


async def test_objects_are_sent_again_until_the_attempt_is_stored(fake: FakeFacility, running: Running) -> None:
    running()
    await until(lambda: fake.free_token("press"))
    # A 200 to an upload is no acknowledgement: these bytes are lost behind it.
    fake.forget_objects = 1
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.forget_objects == 0
    assert fake.detail(attempt, "RESULT")["objects"][0]["sha256"] in fake.objects


async def test_a_token_is_renewed_when_it_is_not_taken(fake: FakeFacility, running: Running) -> None:
    running()
    await until(lambda: fake.free_token("press"))
    before = fake.tokens_given
    fake.unauthorized = 1
    attempt = await fake.grant()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert fake.tokens_given > before


async def test_the_node_proves_itself_by_a_short_signed_assertion(fake: FakeFacility, running: Running) -> None:
    _, lab = running()
    await until(lambda: fake.assertions)
    form = parse_qs(fake.assertions[0])
    assert form["grant_type"] == ["client_credentials"]
    key = ECKey.import_key((lab.state / "node-key.pem").read_bytes())
    token = jwt.decode(form["client_assertion"][0], key, algorithms=["ES256"])
    names = json.loads((lab.state / "identity.json").read_text())
    assert token.claims["iss"] == token.claims["sub"] == names["client_id"]
    assert token.claims["aud"] == f"{fake.url}/oidc"
    assert 0 < token.claims["exp"] - token.claims["iat"] <= 60
    assert len(token.claims["jti"]) >= 16


async def test_the_facility_out_of_reach_stops_nothing_that_runs(fake: FakeFacility, running: Running) -> None:
    witness, _ = running("--duration-ms", "1500")
    attempt = await fake.grant()
    await until(lambda: "STARTED" in fake.kinds(attempt))
    fake.spoil["report"] = [b"gone"] * 3
    fake.spoil["next"] = [b"gone"] * 3
    for writer in list(fake.links):
        writer.transport.abort()
    await until(lambda: fake.kinds(attempt) == DONE)
    assert len(witness.starts()) == 1
