"""The fast lane answers as Flask would, and leaves to Flask what is not plain."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable
from http.client import HTTPMessage, parse_headers
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs

from analytics_app.fast_lane import FastLane
from chassis.worker import LANE
from tests.unit.analytics.conftest import Api, MakeApp, user_token

PATH = "/analytics/events"


def an_event(**given: Any) -> dict[str, Any]:
    return {
        "event_type": "a",
        "created_at": "2026-05-01T10:00:00.5Z",
        "event_id": str(uuid.uuid4()),
        "user_id": 3,
        "metadata": {"a": [1, None, "ü"], "b": {}},
        **given,
    }


def request_of(api: Api, event: dict[str, Any], **fields: str) -> bytes:
    """Returns the request as a client sends it."""
    body = json.dumps(event).encode()
    given = {
        "Host": "x",
        **api.headers,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **fields,
    }
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + body


class Answer:
    """An HTTP answer, taken apart."""

    def __init__(self, data: bytes) -> None:
        stream = io.BytesIO(data)
        self.status = int(stream.readline().split()[1])
        self.headers: HTTPMessage = parse_headers(stream)
        self.json = json.loads(stream.read(int(self.headers["Content-Length"])))
        assert not stream.read()


def lane_of(app: Flask) -> FastLane:
    lane: FastLane = app.extensions[LANE]
    return lane


def answers(app: Flask, *requests: bytes) -> list[Answer | None]:
    """Returns what the lane answers; None for what it leaves to Flask."""
    lane = lane_of(app)
    assert all(map(lane.takes, requests))
    return [found and Answer(found) for found in lane.answers(requests, time.monotonic())]  # type: ignore[misc]


def test_an_answer_of_the_lane_is_flasks_to_the_letter(app: Flask, admin: Api) -> None:
    admin.send(an_event())
    event, other = an_event(), an_event()
    (fast,) = answers(app, request_of(admin, event, X_Request_ID="mine"))
    slow = admin.call("POST", PATH, json=other, headers={"X-Request-ID": "mine"})
    assert fast
    assert (fast.status, fast.json["metadata"]) == (slow.status_code, event["metadata"])
    of_the_server = {"Content-Length", "Date", "Vary", "Server", "Connection"}
    assert {k: v for k, v in fast.headers.items() if k not in of_the_server} == {
        k: v for k, v in slow.headers.items() if k not in of_the_server
    }
    assert {**fast.json, **{k: slow.get_json()[k] for k in ("id", "event_id")}} == slow.get_json()


def test_a_request_in_the_lane_is_logged_as_flasks_are(make_app: MakeApp) -> None:
    app = make_app(log_level="INFO")
    api = Api(app.test_client(), user_token(1, "admin"))
    api.send(an_event())
    with capture_logs() as lines:
        answers(app, request_of(api, an_event()))
        api.send(an_event())
    fast, slow = (
        {name: value for name, value in line.items() if name not in ("request_id", "duration_ms")}
        for line in lines
        if line["event"] == "request"
    )
    assert fast == slow
    assert fast["caller"] == "user:1"


def test_a_group_is_stored_together_and_each_gets_its_own_answer(app: Flask, admin: Api) -> None:
    first = admin.send(an_event())
    events = [an_event(user_id=n + 1) for n in range(9)]
    bad = an_event(event_type="no good")
    group = [*events[:5], bad, *events[5:], events[2]]
    found = answers(app, *(request_of(admin, each) for each in group))
    assert [each and each.status for each in found] == [*[201] * 5, None, *[201] * 4, None]
    stored = [each.json["event_id"] for each in found if each]
    assert stored == [each["event_id"] for each in events]
    listed = {each["event_id"]: each["id"] for each in admin.get(PATH)["items"]}
    assert listed.keys() - stored == {first["event_id"]}
    numbers = {each.json["event_id"]: each.json["id"] for each in found if each}
    assert {each: listed[each] for each in stored} == numbers


@pytest.mark.parametrize(
    "given",
    [{"event_type": "no good"}, {"actor": -1}, {"surprise": 1}, {"created_at": "1999-01-01"}],
)
def test_what_would_be_refused_is_left_to_flask(
    app: Flask, admin: Api, given: dict[str, Any]
) -> None:
    admin.send(an_event())
    assert answers(app, request_of(admin, an_event(**given))) == [None]


def test_a_repeat_is_left_to_flask(app: Flask, admin: Api) -> None:
    admin.send(an_event())
    request = request_of(admin, an_event())
    first, again = answers(app, request)[0], answers(app, request)[0]
    assert first
    assert (first.status, again) == (201, None)


def test_a_stranger_and_one_who_is_not_known_yet_are_left_to_flask(app: Flask, admin: Api) -> None:
    Api(app.test_client(), user_token(4, "admin")).send(an_event())
    own = request_of(admin, an_event())
    assert answers(app, request_of(Api(admin.client, None), an_event())) == [None]
    assert answers(app, request_of(Api(admin.client, "x.y.z"), an_event())) == [None]
    assert answers(app, own) == [None]  # nobody has let them in yet
    admin.get(PATH)
    assert [each and each.status for each in answers(app, own)] == [201]


def test_a_type_that_is_new_and_what_accounts_send_for_themselves_is_left_to_flask(
    app: Flask, admin: Api, viewer: Api
) -> None:
    new = request_of(admin, an_event(event_type="new"))
    viewer.send(an_event())
    assert answers(app, new, request_of(viewer, an_event())) == [None, None]
    admin.send(an_event(event_type="new"))
    assert [each and each.status for each in answers(app, new)] == [201]


def test_null_for_a_user_is_refused_by_either_way(app: Flask, viewer: Api, admin: Api) -> None:
    viewer.send(an_event())
    assert answers(app, request_of(viewer, an_event(user_id=None))) == [None]
    viewer.send(an_event(user_id=None), 403)
    admin.send(an_event(user_id=None))
    (taken,) = answers(app, request_of(admin, an_event(user_id=None)))
    assert taken
    assert (taken.status, taken.json["user_id"]) == (201, None)


def test_an_unknown_name_in_the_query_is_refused_by_either_way(app: Flask, admin: Api) -> None:
    admin.send(an_event())
    request = request_of(admin, an_event()).replace(b"/events ", b"/events?x=1 ")
    assert lane_of(app).takes(request) is False
    assert admin.call("POST", f"{PATH}?x=1", json=an_event()).status_code == 422


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://a.example"},
        {"Expect": "100-continue"},
        {"Upgrade": "h2c"},
        {"Connection": "close"},
        {"Content_Encoding": "gzip"},
        {"Content_Type": "application/json; charset=utf-8"},
        {"Transfer_Encoding": "chunked"},
        {"X_Odd": "\x7f"},
        {"X_Odd": "a\r\n folded"},
        {"content-length": "10"},
        {"x odd": "1"},
        {"host": "y"},
        {"Host": ""},
        {"Host": "a b"},
        {"Host": "a" * 64},
        {f"X-{n}": "y" for n in range(30)},
    ],
)
def test_a_head_that_is_not_plain_is_left_to_the_server(
    app: Flask, admin: Api, fields: dict[str, str]
) -> None:
    admin.send(an_event())
    lane = lane_of(app)
    request = request_of(admin, an_event(), **fields)
    assert not lane.takes(request) or lane.answers([request], 0) == [None]


@pytest.mark.parametrize("form", ["{}", "bearer {}", "Bearer  {}", "Token {}", "Bearer {} {}", ""])
def test_a_credential_in_any_other_form_is_left_to_flask(app: Flask, admin: Api, form: str) -> None:
    made = {"name": "x", "scopes": ["events:write", "events:read"]}
    key = admin.call("POST", "/analytics/api-keys", json=made).get_json()["key"]
    for credential in (key, user_token(1, "admin")):
        api = Api(app.test_client(), credential)
        api.send(an_event())
        request = request_of(api, an_event())
        assert [each and each.status for each in answers(app, request)] == [201]
        given = {"Authorization": form.replace("{}", credential)}
        assert answers(app, request_of(api, an_event(), **given)) == [None]


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request + b" ",
        lambda request: request.replace(b"HTTP/1.1", b"HTTP/1.0"),
        lambda request: request.replace(b"POST", b"PUT"),
        lambda request: request.replace(b"/events", b"/events?a=1"),
        lambda request: request.replace(b"Content-Length: ", b"Content-Length: +"),
        lambda request: b"GET /",
    ],
)
def test_what_is_not_one_whole_request_is_not_taken(
    app: Flask, admin: Api, change: Callable[[bytes], bytes]
) -> None:
    assert lane_of(app).takes(change(request_of(admin, an_event()))) is False


def test_what_comes_in_pieces_is_waited_for(app: Flask, admin: Api) -> None:
    request = request_of(admin, an_event())
    verdicts = [lane_of(app).takes(request[:length]) for length in range(1, len(request) + 1)]
    assert verdicts == [None] * (len(request) - 1) + [True]


@pytest.mark.parametrize("field", ["Expect: 100-continue", "Transfer-Encoding: chunked"])
def test_a_body_that_must_be_asked_for_is_not_waited_for(
    app: Flask, admin: Api, field: str
) -> None:
    request = request_of(admin, an_event()).replace(b"Host: x", f"Host: x\r\n{field}".encode())
    assert lane_of(app).takes(request[:-5]) is False


def test_both_ways_draw_on_one_limit_and_are_counted_in_one_metric(make_app: MakeApp) -> None:
    app = make_app(api_calls_per_minute=4)
    api = Api(app.test_client(), user_token(1, "admin"))
    api.send(an_event())
    taken = answers(app, *(request_of(api, an_event()) for _ in range(2)))
    assert [each and each.status for each in taken] == [201] * 2
    api.send(an_event())
    assert answers(app, request_of(api, an_event())) == [None]
    refused = api.call("POST", PATH, json=an_event())
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    shown = api.call("GET", "/metrics").get_data(as_text=True)
    assert 'flask_http_request_total{method="POST",status="201"} 4.0' in shown
    assert 'analytics_events_total{result="accepted"} 4.0' in shown
