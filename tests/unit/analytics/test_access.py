"""Who may do what: every route against every kind of caller, as one table."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import update

from analytics_app.models import ApiKey, db
from tests.unit.analytics.conftest import Api, service_token, token, user_token

EVERYBODY = "-vpaeAswrgxdofn"
REPORTS = "vpaeArg"
EVENTS = "aeAr"

# route -> who may; all others are 401 (nobody's credentials) or 403.
TABLE = {
    "GET /health": EVERYBODY,
    "GET /health/live": EVERYBODY,
    "GET /metrics": EVERYBODY,
    "GET /openapi.json": EVERYBODY,
    "GET /docs": EVERYBODY,
    "GET /docs.css": EVERYBODY,
    "GET /docs.js": EVERYBODY,
    "POST /analytics/events": "vpaeAsw",
    "POST /analytics/events/batch": "vpaeAsw",
    "GET /analytics/events": EVENTS,
    "GET /analytics/events/date-range": EVENTS,
    "GET /analytics/events/by-type": REPORTS,
    "GET /analytics/users/<id:user_id>/events": "p" + EVENTS,
    "GET /analytics/summary": REPORTS,
    "GET /analytics/timeseries": REPORTS,
    "GET /analytics/live": REPORTS,
    "POST /analytics/funnel": REPORTS,
    "POST /analytics/funnel/dropped": EVENTS,
    "GET /analytics/retention": REPORTS,
    "GET /analytics/paths": REPORTS,
    "GET /analytics/properties": REPORTS,
    "GET /analytics/breakdown": REPORTS,
    "POST /analytics/saved-reports": "vpaeA",
    "GET /analytics/saved-reports": REPORTS,
    "GET /analytics/saved-reports/<id:report_id>": REPORTS,
    "DELETE /analytics/saved-reports/<id:report_id>": "vpaeA",
    "POST /analytics/annotations": "aeAsw",
    "GET /analytics/annotations": REPORTS,
    "DELETE /analytics/annotations/<id:annotation_id>": "vpaeA",
    "GET /analytics/export": EVENTS,
    "DELETE /analytics/users/<id:user_id>/events": "As",
    "DELETE /analytics/event-types/<event_type>": "A",
    "DELETE /analytics/visitors/<path:visitor_id>/events": "As",
    "GET /analytics/erasures/<id:erasure_id>": "As",
    "GET /analytics/audit": "A",
    "POST /analytics/api-keys": "A",
    "GET /analytics/api-keys": "A",
    "DELETE /analytics/api-keys/<id:key_id>": "A",
}
FUNNEL = {"steps": [{"event_type": "a"}, {"event_type": "b"}]}
GIVEN = {
    "POST /analytics/saved-reports": {"json": {"name": "x", "report": "paths"}},
    "POST /analytics/annotations": {"json": {"day": "2026-05-01", "text": "x"}},
    "POST /analytics/funnel": {"json": FUNNEL},
    "POST /analytics/funnel/dropped": {"json": {**FUNNEL, "step": 2}},
    "POST /analytics/events": {"json": {"event_type": "a"}},
    "POST /analytics/events/batch": {"json": {"events": []}},
    "POST /analytics/api-keys": {"json": {"name": "x", "scopes": ["reports:read"]}},
    "GET /analytics/events/date-range": {
        "query_string": {"start_date": "2026-05-01", "end_date": "2026-05-01"}
    },
}
IN_PATH = {
    "<id:report_id>": "999",
    "<id:erasure_id>": "999",
    "<id:annotation_id>": "999",
    "<id:user_id>": "7",
    "<path:visitor_id>": "v",
    "<event_type>": "none",
    "<id:key_id>": "999",
}


def key(admin: Api, *scopes: str) -> dict[str, str]:
    answer = admin.call(
        "POST",
        "/analytics/api-keys",
        json={"name": "k", "scopes": list(scopes), "expires_in_days": 1},
    )
    made: dict[str, str] = answer.get_json()
    return made


def expired_key(admin: Api) -> str:
    made = key(admin, "events:write", "events:read")
    past = datetime.now(UTC) - timedelta(seconds=1)
    db.session.execute(update(ApiKey).where(ApiKey.id == made["id"]).values(expires_at=past))
    db.session.commit()
    return made["key"]


def deleted_key(admin: Api) -> str:
    made = key(admin, "events:write", "events:read")
    admin.call("DELETE", f"/analytics/api-keys/{made['id']}")
    return made["key"]


# Callers, by letter. The person is the user that a route is about (user 7).
CALLERS: dict[str, Callable[[Api], str | None]] = {
    "-": lambda _: None,
    "v": lambda _: user_token(8),
    "p": lambda _: user_token(7),
    "a": lambda _: user_token(9, "analyst"),
    "e": lambda _: user_token(9, "analyst", scope="events:read"),
    "A": lambda _: user_token(1, "admin"),
    "s": lambda _: service_token(),
    "w": lambda admin: key(admin, "events:write")["key"],
    "r": lambda admin: key(admin, "events:read")["key"],
    "g": lambda admin: key(admin, "reports:read")["key"],
    "x": expired_key,
    "d": deleted_key,
    "o": lambda _: user_token(1, "admin", exp=int(time.time()) - 31),
    "f": lambda _: service_token(type="refresh"),
    "n": lambda _: token(sub="1", sid="s", type="access", role="admin"),
}
NOBODY = "-xdofn"  # these are 401 wherever a caller is needed


def routes(app: Flask) -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_route_has_a_row_and_every_row_a_route(app: Flask) -> None:
    assert routes(app) == set(TABLE)


@pytest.mark.parametrize("who", CALLERS)
def test_the_table_holds(app: Flask, admin: Api, who: str) -> None:
    credential = CALLERS[who](admin)
    wrong = {}
    for route, allowed in TABLE.items():
        method, path = route.split(" ")
        for name, value in IN_PATH.items():
            path = path.replace(name, value)
        api = Api(app.test_client(), credential)
        status = api.call(method, path, **GIVEN.get(route, {})).status_code
        refused = 401 if who in NOBODY else 403
        right = status not in (401, 403, 500) if who in allowed else status == refused
        if not right:
            wrong[route] = status
    assert wrong == {}
