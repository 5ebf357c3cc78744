"""Lists of the analytics service, and query strings: every route, by one mechanism."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests import every_route
from tests.unit.analytics.conftest import Api
from tests.unit.analytics.test_access import FUNNEL, IN_PATH

GIVEN: dict[str, dict[str, Any]] = {
    "GET /analytics/events/date-range": {"start_date": "2026-05-01", "end_date": "2026-05-01"},
    "POST /analytics/funnel/dropped": {**FUNNEL, "step": 2},
}


def caller(admin: Api) -> every_route.Call:
    def call(method: str, rule: str, **given: Any) -> TestResponse:
        path = rule
        for name, value in IN_PATH.items():
            path = path.replace(name, value)
        return admin.call(method, path, **given)

    return call


def test_every_list_takes_limit_cursor_and_fields(app: Flask, admin: Api) -> None:
    assert set(every_route.lists(app)) == {
        "GET /analytics/events",
        "GET /analytics/events/date-range",
        "GET /analytics/users/<id:user_id>/events",
        "GET /analytics/saved-reports",
        "GET /analytics/annotations",
        "GET /analytics/audit",
        "GET /analytics/api-keys",
        "POST /analytics/funnel/dropped",
    }
    assert every_route.unheeded_paging(app, caller(admin), GIVEN) == []


def test_only_reports_have_items_without_pages(app: Flask) -> None:
    unpaged = {
        rule
        for _, rule, operation in every_route.operations(app)
        if every_route.answers_with(operation, "items")
        and not every_route.answers_with(operation, "next_cursor")
    }
    names = ("events/by-type", "timeseries", "live", "properties", "breakdown")
    assert unpaged == {f"/analytics/{name}" for name in names}


def test_every_route_refuses_an_unknown_name_in_the_query(app: Flask, admin: Api) -> None:
    assert every_route.unheeded_names(app, caller(admin)) == []
    assert [rule for _, rule, it in every_route.operations(app) if it.any_query] == []
    assert every_route.routes_beside(app) == every_route.BESIDE


def test_keys_are_answered_by_the_fields_asked_for(admin: Api) -> None:
    for name in ("a", "b", "c"):
        body = {"name": name, "scopes": ["reports:read"]}
        admin.call("POST", "/analytics/api-keys", json=body)
    first = admin.get("/analytics/api-keys", limit=2, fields="name")
    rest = admin.get("/analytics/api-keys", cursor=first["next_cursor"], fields="name,scopes")
    assert first["items"] == [{"name": "a"}, {"name": "b"}]
    assert rest["items"] == [{"name": "c", "scopes": ["reports:read"]}]


def test_who_stopped_is_answered_by_the_fields_asked_for(admin: Api) -> None:
    for user in (1, 2, 3):
        admin.send({"event_type": "a", "user_id": user})
    asked = {**FUNNEL, "step": 2, "limit": 2, "fields": "user_id"}
    first = admin.call("POST", "/analytics/funnel/dropped", json=asked).get_json()
    more = {**asked, "cursor": first["next_cursor"]}
    rest = admin.call("POST", "/analytics/funnel/dropped", json=more).get_json()
    assert first["items"] + rest["items"] == [{"user_id": user} for user in (3, 2, 1)]
    assert rest["next_cursor"] is None


def test_a_cursor_of_one_list_is_none_of_another(admin: Api) -> None:
    for name in ("a", "b"):
        admin.call("POST", "/analytics/saved-reports", json={"name": name, "report": "paths"})
        body = {"name": name, "scopes": ["reports:read"]}
        admin.call("POST", "/analytics/api-keys", json=body)
    cursor = admin.get("/analytics/saved-reports", limit=1)["next_cursor"]
    for path in ("api-keys", "audit", "events", "annotations"):
        answer = admin.call("GET", f"/analytics/{path}", query_string={"cursor": cursor})
        assert "cursor" in every_route.fields_refused(answer)


RANGES = {
    "/analytics/events": {},
    "/analytics/users/1/events": {},
    "/analytics/export": {},
    "/analytics/annotations": {},
    "/analytics/summary": {},
    "/analytics/timeseries": {},
    "/analytics/events/by-type": {},
    "/analytics/retention": {},
    "/analytics/properties": {},
    "/analytics/paths": {"event_type": "a"},
    "/analytics/breakdown": {"event_type": "a", "key": "k"},
}


def test_every_route_with_a_range_is_among_those_that_are_asked(app: Flask) -> None:
    ranged = {
        rule.replace("<id:user_id>", "1")
        for method, rule, it in every_route.operations(app)
        if method == "GET" and it.query and {"start", "end"} <= set(it.query.model_fields)
    }
    assert ranged == set(RANGES)


@pytest.mark.parametrize("path", RANGES)
@pytest.mark.parametrize("start", ["2026-05-02", "2026-05-03"])
def test_a_range_that_ends_where_it_begins_or_before_is_refused(
    admin: Api, path: str, start: str
) -> None:
    query = {**RANGES[path], "start": start, "end": "2026-05-02"}
    answer = admin.call("GET", path, query_string=query)
    assert every_route.fields_refused(answer) == {"end": "must be after start"}


@pytest.mark.parametrize("path", list(RANGES)[:4])
def test_both_ends_of_a_list_are_complained_of_at_once(admin: Api, path: str) -> None:
    answer = admin.call("GET", path, query_string={"start": "x", "end": "2026-13-01"})
    assert set(every_route.fields_refused(answer)) == {"start", "end"}
    for open_range in ({"start": "2026-05-01"}, {"end": "2026-05-01"}):
        assert admin.call("GET", path, query_string=open_range).status_code == 200
