"""A token holds while its session and role do: on every route, and in the lane."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from flask import Flask

from chassis.auth import access_of
from chassis.errors import Unavailable
from tests.unit.analytics.conftest import Api, Standing, service_token, user_token
from tests.unit.analytics.test_access import GIVEN, IN_PATH, TABLE, key
from tests.unit.analytics.test_fast_lane import an_event, answers, request_of

PUBLIC = {route for route, who in TABLE.items() if "-" in who}
# Whatever destroys, and what gives a right that outlives the token.
LASTING = {route for route in TABLE if route.startswith("DELETE ")} | {"POST /analytics/api-keys"}


def call(api: Api, route: str) -> int:
    method, path = route.split(" ")
    for name, value in IN_PATH.items():
        path = path.replace(name, value)
    return api.call(method, path, **GIVEN.get(route, {})).status_code


def statuses(api: Api, routes: set[str]) -> set[int]:
    return {call(api, route) for route in routes}


def test_what_can_not_be_undone_or_outlives_the_token_is_confirmed(app: Flask) -> None:
    confirmed = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if access_of(app, rule.endpoint).confirmed
    }
    assert confirmed == LASTING


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_a_session_that_has_ended_is_refused_on_every_route(
    app: Flask, standing: Standing, role: str
) -> None:
    api = Api(app.test_client(), user_token(1, role))
    assert 401 not in statuses(api, TABLE.keys() - LASTING)
    standing.revoked["s"] = math.inf
    assert statuses(api, TABLE.keys() - PUBLIC) == {401}
    assert statuses(api, PUBLIC) == {200}
    other = Api(app.test_client(), user_token(1, role, sid="another"))
    assert 401 not in statuses(other, set(TABLE))


def test_a_token_issued_before_a_change_is_refused_and_the_next_one_taken(
    app: Flask, standing: Standing
) -> None:
    second = int(time.time()) + 1
    standing.revoked["s"] = second
    for issued_at, status in ((second - 1, 401), (second, 200)):
        api = Api(app.test_client(), user_token(1, iat=issued_at))
        assert api.call("GET", "/analytics/summary").status_code == status


def test_services_and_keys_have_no_session_that_could_end(
    app: Flask, admin: Api, standing: Standing
) -> None:
    made = key(admin, "events:write", "events:read")["key"]
    standing.revoked |= {"s": math.inf, "": math.inf, "None": math.inf}
    standing.down = True
    assert Api(app.test_client(), made).send(an_event())
    service = Api(app.test_client(), service_token())
    assert service.call("DELETE", "/analytics/users/7/events").status_code == 200


def test_the_lane_lets_nobody_in_whose_session_has_ended(
    app: Flask, admin: Api, standing: Standing
) -> None:
    admin.send(an_event())
    (taken,) = answers(app, request_of(admin, an_event()))
    assert taken is not None
    standing.revoked["s"] = math.inf
    assert answers(app, request_of(admin, an_event())) == [None]
    assert admin.call("POST", "/analytics/events", json=an_event()).status_code == 401


def test_who_has_no_list_lets_no_user_in_and_programs_go_on(
    app: Flask, admin: Api, standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = key(admin, "events:write", "events:read")["key"]

    def unknown(*_: object) -> bool:
        raise Unavailable("never had one")

    monkeypatch.setattr(standing, "revokes", unknown)
    assert statuses(Api(app.test_client(), user_token(5)), TABLE.keys() - PUBLIC) == {503}
    assert statuses(Api(app.test_client(), user_token(5)), PUBLIC) == {200}
    assert Api(app.test_client(), made).send(an_event())
    assert Api(app.test_client(), service_token()).send(an_event())
    assert Api(app.test_client(), "x.y.z").call("GET", "/analytics/summary").status_code == 401


@pytest.mark.parametrize("route", sorted(LASTING))
@pytest.mark.parametrize("role", [None, "viewer", "analyst"])
def test_who_is_no_longer_admin_destroys_and_grants_nothing(
    app: Flask, admin: Api, standing: Standing, route: str, role: str | None
) -> None:
    held = things(app, admin)
    standing.roles[1] = role
    assert call(admin, named(route, held)) == 401
    del standing.roles[1]
    assert things_left(admin) == held
    standing.down = True
    assert call(admin, named(route, held)) == 503
    standing.down = False
    assert things_left(admin) == held
    assert call(admin, named(route, held)) in (200, 201, 204)
    assert things_left(admin) != held


def things(app: Flask, admin: Api) -> dict[str, list[Any]]:
    """Returns what there is for each of the routes to destroy."""
    key(admin, "reports:read")
    for given in ({"user_id": 7}, {"user_id": None, "visitor_id": "v"}):
        admin.send({"event_type": "a", **{k: v for k, v in given.items() if v}})
    admin.call("POST", "/analytics/saved-reports", json={"name": "x", "report": "paths"})
    admin.call("POST", "/analytics/annotations", json={"day": "2026-05-01", "text": "x"})
    return things_left(admin)


def things_left(admin: Api) -> dict[str, list[Any]]:
    lists = ("api-keys", "events", "saved-reports", "annotations")
    return {name: [e["id"] for e in admin.get(f"/analytics/{name}")["items"]] for name in lists}


def named(route: str, held: dict[str, list[Any]]) -> str:
    """Returns the route with the ids of what there is."""
    ids = {"key": "api-keys", "report": "saved-reports", "annotation": "annotations"}
    for name, kind in ids.items():
        route = route.replace(f"<id:{name}_id>", str(held[kind][0]))
    return route.replace("<event_type>", "a")


def test_reading_and_storing_ask_nobody(app: Flask, admin: Api, standing: Standing) -> None:
    standing.down = True
    assert statuses(admin, TABLE.keys() - LASTING) <= {200, 201, 404, 422}
    assert standing.confirmed == []


def test_the_document_says_what_is_confirmed(admin: Api) -> None:
    paths = admin.get("/openapi.json")["paths"]
    said = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method, entry in methods.items()
        if "session and role still stand" in entry["description"]
    }
    assert len(said) == len(LASTING)
    for each in said:
        method, path = each.split(" ")
        assert {"401", "503"} <= paths[path][method.lower()]["responses"].keys()


def test_health_says_that_the_list_is_old(admin: Api, standing: Standing) -> None:
    assert admin.get("/health")["checks"]["revocations"] == "ok"
    standing.down = True
    found = admin.get("/health")
    assert (found["status"], found["checks"]["revocations"]) == ("degraded", "down")
