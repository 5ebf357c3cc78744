"""What viewers are told is the same whatever values the properties have, in every report."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from analytics_app.models import db
from chassis.auth import access_of
from tests.unit.analytics.conftest import Api, MakeApp, migrate, user_token

START = datetime(2026, 3, 20, tzinfo=UTC)
PLANS = ("pro", "free", "Größe", "", 3, "3", 2.5, -4, 1e9, True, False, None, ["a"], {"b": 1})
WHOLE = {"start": "2026-03-20", "end": "2026-04-10"}
RANGES = (
    WHOLE,
    {"start": "2026-03-21T05:45:00Z", "end": "2026-03-24T00:30:00Z"},
    {"start": "2026-03-22T00:00:07Z", "end": "2026-03-22T03:00:01Z"},
)
FUNNEL = [{"event_type": "view"}, {"event_type": "buy"}]
BY_PLAN = [{"event_type": "view", "metadata": {"plan": "pro"}}, {"event_type": "buy"}]

# Every report that a viewer may ask for, with the questions that could say the most.
QUESTIONS: dict[str, list[dict[str, Any]]] = {
    "GET /analytics/summary": [{}, {"compare": "previous"}],
    "GET /analytics/timeseries": [{}, {"event_type": "buy", "fields": "start,count,by_type"}],
    "GET /analytics/live": [{}],
    "GET /analytics/events/by-type": [{}],
    "POST /analytics/funnel": [
        {"steps": FUNNEL, "window": "30d"},
        {"steps": FUNNEL, "window": "30d", "breakdown": "plan"},
        {"steps": BY_PLAN},
        {"steps": BY_PLAN[::-1]},
    ],
    "GET /analytics/retention": [{"interval": "day", "event_type": "buy"}],
    "GET /analytics/paths": [{"event_type": "view", "levels": 3}],
    "GET /analytics/properties": [{}, {"event_type": "buy"}],
    "GET /analytics/breakdown": [
        *({"event_type": kind, "key": key, "measure": measure, "limit": most}
          for kind in ("view", "buy")
          for key in ("plan", "price", "lone", "none")
          for measure in ("price", "plan", key)
          for most in (1, 2, 3, 100)),
        {"event_type": "buy", "key": "plan", "metadata.plan": "pro"},
        {"event_type": "buy", "key": "plan", "metadata.price": "5"},
        {"event_type": "buy", "key": "none", "metadata.none": ""},
    ],
    "GET /analytics/saved-reports": [{}],
    "GET /analytics/saved-reports/<id:report_id>": [{}],
    "GET /analytics/annotations": [{}],
}  # fmt: skip
WITHOUT_RANGE = ("live", "saved-reports", "annotations")


def metadata(chance: random.Random) -> dict[str, Any]:
    found = {"plan": chance.choice(PLANS), "price": chance.choice([1, 2, 5, 19.5, -4, "free"])}
    if chance.random() < 0.3:
        found["lone"] = chance.random()
    return {key: value for key, value in found.items() if chance.random() < 0.8}


def events(rename: Callable[[Any], Any]) -> list[dict[str, Any]]:
    """Returns a history in which only the values depend on `rename`."""
    chance = random.Random(7)
    moments = [START + timedelta(minutes=chance.randrange(21 * 1440)) for _ in range(120)]
    found = []
    for number in range(500):
        details = metadata(chance)
        found.append({
            "event_type": chance.choice(["view", "buy"]),
            "user_id": chance.choice([11, 12, 13, 14, 2**40, None]),
            "created_at": chance.choice(moments).isoformat(),
            "event_id": f"00000000-0000-4000-8000-{number:012}",
            "metadata": {key: rename(value) for key, value in details.items()},
        })  # fmt: skip
    return found


def renamed(value: Any) -> Any:
    """Returns another value of the kind, one to one, in another order; null stays null."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return 5_000.25 - 7 * value
    if isinstance(value, str):
        number = re.fullmatch(r"-?\d+", value)
        return str(renamed(int(value))) if number else f"{300 - len(value)}{value[::-1]}"
    if isinstance(value, list):
        return [*map(renamed, value), None]
    return value and {key: renamed(each) for key, each in value.items()}


def holding(app: Flask, rename: Callable[[Any], Any]) -> Flask:
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        assert admin.batch(events(rename))["accepted"] == 500
        admin.call("POST", "/analytics/saved-reports", json={"name": "x", "report": "paths"})
    return app


@pytest.fixture
def pair(
    make_app: MakeApp, database_url: str, request: pytest.FixtureRequest
) -> tuple[Flask, Flask]:
    """Returns two services that differ only in the values of properties."""
    first = holding(make_app(), lambda value: value)
    if database_url == "sqlite://":
        second = make_app()
        with second.app_context():
            migrate()
    else:
        url = request.getfixturevalue("new_postgres_database")()
        second = make_app(analytics_database_url=url)
    return first, holding(second, renamed)


def viewers(app: Flask) -> list[Api]:
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        body = {"name": "k", "scopes": ["reports:read"], "expires_in_days": 1}
        key = admin.call("POST", "/analytics/api-keys", json=body).get_json()["key"]
    return [Api(app.test_client(), each) for each in (user_token(8), key)]


def readable(app: Flask) -> set[str]:
    """Returns the routes that read something and are open to `reports:read`."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if "reports:read" in access_of(app, rule.endpoint).scopes
        for method in (rule.methods or set()) & {"GET", "POST"}
    }


def said(api: Api, route: str, question: dict[str, Any]) -> tuple[int, str, str | None]:
    """Returns status, text and ETag without the times of asking."""
    method, path = route.replace("<id:report_id>", "1").split(" ")
    name = "json" if method == "POST" else "query_string"
    answer = api.call(method, path, **{name: question})
    assert answer.status_code in (200, 403), answer.text
    kept = re.sub(r'"(request_id|created_at)": ?"[^"]*"', "", answer.text)
    if "/live" in path:
        kept = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "", kept)
    timed = "request_id" in answer.text or '"created_at"' in answer.text or "/live" in path
    return answer.status_code, kept, None if timed else answer.headers.get("ETag")


def test_viewers_are_told_the_same_whatever_the_values_are(pair: tuple[Flask, Flask]) -> None:
    assert readable(pair[0]) == set(QUESTIONS), "a new report wants its questions here"
    for first, second in zip(*map(viewers, pair), strict=True):
        for route, questions in QUESTIONS.items():
            ranges = [{}] if route.split("/")[2] in WITHOUT_RANGE else RANGES
            for question in ({**each, **span} for each in questions for span in ranges):
                assert said(first, route, question) == said(second, route, question), question


def test_analysts_are_told_the_values(pair: tuple[Flask, Flask]) -> None:
    question = {"event_type": "buy", "key": "plan", **WHOLE}
    answers = []
    for app in pair:
        analyst = Api(app.test_client(), user_token(2, "analyst"))
        answers.append(analyst.get("/analytics/breakdown", **question))
    first, second = ({item["value"] for item in each["items"]} for each in answers)
    assert "pro" in first
    assert "297orp" in second
    assert answers[0]["total"]["sum"] != answers[1]["total"]["sum"]


@pytest.mark.parametrize(
    ("route", "question", "said"),
    [
        ("POST /analytics/funnel", {"steps": BY_PLAN}, "Conditions on properties"),
        ("POST /analytics/funnel", {"steps": BY_PLAN[::-1]}, "Conditions on properties"),
        ("POST /analytics/funnel", {"steps": FUNNEL, "breakdown": "plan"}, "Values of properties"),
        ("GET /analytics/breakdown", {"event_type": "a", "key": "plan", "metadata.plan": "pro"},
         "Conditions on properties"),
    ],
)  # fmt: skip
def test_conditions_on_properties_are_for_analysts(
    viewer: Api, analyst: Api, route: str, question: dict[str, Any], said: str
) -> None:
    method, path = route.split(" ")
    given = {"json" if method == "POST" else "query_string": question}
    refusal = viewer.call(method, path, **given)
    assert refusal.status_code == 403
    assert said in refusal.get_json()["detail"]
    assert analyst.call(method, path, **given).status_code == 200


def test_what_a_viewer_may_not_know_is_null_and_there(pair: tuple[Flask, Flask]) -> None:
    with pair[0].app_context():
        db.session.remove()
    api = viewers(pair[0])[0]
    answer = api.get("/analytics/breakdown", event_type="buy", key="price", **WHOLE)
    groups = [*answer["items"], answer["other"], answer["without"], answer["total"]]
    assert all(each["count"] for each in [answer["items"][0], answer["total"]])
    for each in groups:
        assert [each[name] for name in ("sum", "average", "median", "p95")] == [None] * 4
    assert {item["value"] for item in answer["items"]} == {None}
    found = api.get("/analytics/properties", **WHOLE)["items"]
    assert found
    assert all(each["samples"] is None for each in found)
