"""The fast lane answers as Flask would, and leaves to Flask what is not plain."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from flask import Flask

from analytics_app.fast_lane import FastLane
from tests.unit.analytics.conftest import Api, MakeApp, user_token

PATH = "/analytics/events"
PLAIN = {"content_type": "application/json"}
# A parameter of the type is enough for the lane to let a request through to Flask.
THROUGH = {"content_type": "application/json; charset=utf-8"}


def an_event(**given: Any) -> dict[str, Any]:
    return {
        "event_type": "a",
        "created_at": "2026-05-01T10:00:00.5Z",
        "event_id": str(uuid.uuid4()),
        "user_id": 3,
        "metadata": {"a": [1, None, "ü"], "b": {}},
        **given,
    }


@pytest.fixture
def answered(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Returns a list that grows by whether the lane answered, for each request that it tried."""
    seen: list[bool] = []
    answer = FastLane.answer

    def watched(lane: FastLane, *given: Any) -> Any:
        found = answer(lane, *given)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(FastLane, "answer", watched)
    return seen


def post(api: Api, event: dict[str, Any], kind: dict[str, str], **headers: str) -> Any:
    return api.call("POST", PATH, data=json.dumps(event), headers=headers, **kind)


def test_an_answer_of_the_lane_is_flasks_to_the_letter(admin: Api, answered: list[bool]) -> None:
    admin.get("/analytics/events")
    event, other = an_event(), an_event()
    fast = post(admin, event, PLAIN, **{"X-Request-ID": "mine"})
    slow = post(admin, other, THROUGH, **{"X-Request-ID": "mine"})
    assert answered == [True]
    assert (fast.status, fast.get_json()["metadata"]) == (slow.status, event["metadata"])
    differing = {"Content-Length", "Date", "Vary"}
    assert {k: v for k, v in fast.headers.items() if k not in differing} == {
        k: v for k, v in slow.headers.items() if k not in differing
    }
    changed = {name: slow.get_json()[name] for name in ("id", "event_id")}
    assert {**fast.get_json(), **changed} == slow.get_json()


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"event_type": "no good"}, 422),
        ({"actor": -1}, 422),
        ({"surprise": 1}, 422),
        ({"created_at": "1999-01-01T00:00:00Z"}, 422),
    ],
)
def test_what_is_refused_is_refused_by_flask_once(
    admin: Api, answered: list[bool], given: dict[str, Any], status: int
) -> None:
    admin.get("/analytics/events")
    answer = post(admin, an_event(**given), PLAIN)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert answered == [False]
    shown = admin.call("GET", "/metrics").get_data(as_text=True)
    assert 'analytics_events_total{result="rejected"} 1.0' in shown


def test_a_repeat_is_flasks_to_answer(admin: Api, answered: list[bool]) -> None:
    admin.get("/analytics/events")
    event = an_event()
    first = post(admin, event, PLAIN)
    again = post(admin, event, PLAIN)
    assert (first.status_code, again.status_code, answered) == (201, 200, [True, False])
    assert first.get_json() == again.get_json()


def test_a_stranger_and_one_who_may_not_go_through_flask(
    app: Flask, viewer: Api, answered: list[bool]
) -> None:
    assert post(Api(app.test_client(), None), an_event(), PLAIN).status_code == 401
    assert post(Api(app.test_client(), "x.y.z"), an_event(), PLAIN).status_code == 401
    assert post(viewer, an_event(), PLAIN).status_code == 201  # first seen by Flask
    assert answered == []
    assert post(viewer, an_event(user_id=4), PLAIN).status_code == 403
    assert answered == [False]


def test_both_ways_draw_on_one_limit_and_are_counted_in_one_metric(make_app: MakeApp) -> None:
    app = make_app(api_calls_per_minute=4)
    api = Api(app.test_client(), user_token(3))
    taken = [post(api, an_event(), kind) for kind in (THROUGH, PLAIN, PLAIN, THROUGH)]
    assert [each.status_code for each in taken] == [201] * 4
    refused = [post(api, an_event(), kind) for kind in (PLAIN, THROUGH)]
    assert [each.status_code for each in refused] == [429, 429]
    assert int(refused[0].headers["Retry-After"]) >= 1
    shown = api.call("GET", "/metrics").get_data(as_text=True)
    assert 'flask_http_request_total{method="POST",status="201"} 4.0' in shown
    assert 'analytics_events_total{result="accepted"} 4.0' in shown
