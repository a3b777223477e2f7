"""The client repeats only what may be repeated, renews a token once, and reports refusals in the facility's words."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from labcommons.client.errors import FacilityRefused, FacilityUnreachable, NotLoggedIn
from labcommons.client.home import facility_url
from labcommons.client.requests import Request, cancel, get, submit
from labcommons.client.transport import PAUSES_S, Transport

Handler = Callable[[httpx.Request], httpx.Response]


def transport(handler: Handler, renew: Callable[[], str | None] = lambda: None) -> tuple[Transport, list[float]]:
    slept: list[float] = []
    http = httpx.Client(base_url="http://127.0.0.1:1", transport=httpx.MockTransport(handler))
    return Transport("http://127.0.0.1:1", lambda: "first", renew, http=http, sleep=slept.append), slept


def answering(*steps: int | Exception) -> tuple[Handler, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        step = steps[min(len(seen), len(steps) - 1)]
        seen.append(request)
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step, json={"ok": True} if step < 400 else {"type": "down", "status": step})

    return handle, seen


def test_a_submission_survives_a_restart_with_one_key() -> None:
    handler, seen = answering(httpx.ConnectError("refused"), 503, httpx.ReadError("cut"), 201)
    sender, slept = transport(handler)
    assert sender.send(submit("prj", "p", "s", [], key="k1")) == {"ok": True}
    assert {request.headers["Idempotency-Key"] for request in seen} == {"k1"}
    assert slept == list(PAUSES_S[:3])


def test_a_post_without_a_key_is_never_sent_twice() -> None:
    handler, seen = answering(httpx.ReadError("cut"), 201)
    sender, slept = transport(handler)
    with pytest.raises(FacilityUnreachable, match="does not answer") as caught:
        sender.send(Request("POST", "/v1/protocols/compile", body={}))
    assert "labcommons up" in caught.value.remedy
    assert (len(seen), slept) == (1, [])


def test_patience_ends() -> None:
    handler, seen = answering(httpx.ConnectError("refused"))
    sender, slept = transport(handler)
    with pytest.raises(FacilityUnreachable):
        sender.send(get("me"))
    assert len(seen) == len(PAUSES_S) + 1
    assert slept == list(PAUSES_S)


def test_an_expired_token_is_renewed_once_and_silently() -> None:
    handler, seen = answering(401, 200)
    sender, _ = transport(handler, renew=lambda: "second")
    sender.send(get("me"))
    assert [request.headers["Authorization"] for request in seen] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("renewed", [None, "second"])
def test_a_token_that_stays_refused_says_log_in(renewed: str | None) -> None:
    handler, _ = answering(401)
    sender, _ = transport(handler, renew=lambda: renewed)
    with pytest.raises(NotLoggedIn) as caught:
        sender.send(get("me"))
    assert "labcommons login" in caught.value.remedy


def test_a_refusal_keeps_pointer_and_remedy() -> None:
    problem = {
        "type": "out_of_range",
        "status": 422,
        "detail": "too far",
        "field": "/experiments/0/arguments/theta",
        "remedy": "give at most 200 deg",
    }
    sender, _ = transport(lambda request: httpx.Response(422, json=problem))
    with pytest.raises(FacilityRefused, match="too far") as caught:
        sender.send(get("me"))
    assert (caught.value.word, caught.value.field, caught.value.remedy) == (
        "out_of_range",
        "/experiments/0/arguments/theta",
        "give at most 200 deg",
    )
    assert caught.value.problem == problem


def test_something_that_is_no_facility_is_named_as_such() -> None:
    sender, _ = transport(lambda request: httpx.Response(404, text="<html>nginx</html>"))
    with pytest.raises(FacilityRefused) as caught:
        sender.send(get("me"))
    assert caught.value.word == "not_a_facility"


def test_events_come_one_by_one_and_resume_from_the_last() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        body = ": hello\n\nid: 7\nevent: experiment.running\ndata: {}\n\n"
        return httpx.Response(200, text=body, headers={"Content-Type": "text/event-stream"})

    sender, _ = transport(handle)
    assert list(sender.stream("/v1/events", "6")) == [("7", "experiment.running", "{}")]
    assert seen[0].headers["Last-Event-ID"] == "6"


def test_bytes_come_as_they_are_and_refusals_as_words() -> None:
    sender, _ = transport(lambda request: httpx.Response(200, content=b"a,b\n"))
    assert sender.download("/v1/objects/x") == b"a,b\n"
    handler, _ = answering(404)
    with pytest.raises(FacilityRefused):
        transport(handler)[0].download("/v1/objects/x")


def test_paths_are_quoted() -> None:
    assert get("protocols", "../me").path == "/v1/protocols/..%2Fme"
    assert get("protocols", "sha256:ab").path == "/v1/protocols/sha256:ab"
    assert cancel("exp_1", key="k").repeatable
    assert get("experiments", state=None, study="s").params == {"study": "s"}


def test_the_facility_is_named_by_option_environment_or_up(tmp_path: Path) -> None:
    assert facility_url(tmp_path, "http://x/", {}) == "http://x"
    assert facility_url(tmp_path, None, {"LABCOMMONS_URL": "http://y"}) == "http://y"
    with pytest.raises(FacilityUnreachable) as caught:
        facility_url(tmp_path, None, {})
    assert "labcommons up" in caught.value.remedy
    (tmp_path / "facility.json").write_text(json.dumps({"url": "http://z"}))
    assert facility_url(tmp_path, None, {}) == "http://z"
