"""How late the users service's events are when they have been stored, as Prometheus sees it."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.unit.analytics.conftest import Api, user_token

LAG = "analytics_delivery_lag_seconds"


def happened(**ago: float) -> dict[str, Any]:
    """Returns a registration so long ago."""
    moment = datetime.now(UTC) - timedelta(**ago)
    return {
        "event_type": "user_registered",
        "user_id": 7,
        "event_id": str(uuid.uuid4()),
        "created_at": moment.isoformat(),
    }


def measured(api: Api) -> dict[str, float]:
    """Returns the histogram: `count`, `sum`, and each bucket by its upper edge."""
    text = api.call("GET", "/metrics").get_data(as_text=True)
    buckets = re.findall(rf'^{LAG}_bucket{{le="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    totals = re.findall(rf"^{LAG}_(count|sum) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in (*buckets, *totals)}


def test_each_delivered_event_is_measured_from_when_it_happened(users_service: Api) -> None:
    users_service.batch([happened(seconds=20), happened(minutes=10), happened(hours=2)])
    found = measured(users_service)
    assert [found[edge] for edge in ("10.0", "30.0", "300.0", "900.0", "3600.0")] == [0, 1, 1, 2, 2]
    assert found["+Inf"] == found["count"] == 3
    assert found["sum"] == pytest.approx(20 + 600 + 7200, abs=30)


def test_only_what_is_newly_accepted_is_measured(users_service: Api, admin: Api) -> None:
    sent, erased = happened(seconds=5), happened(hours=1) | {"user_id": 8}
    assert admin.call("DELETE", "/analytics/users/8/events").status_code == 200
    refused = happened(seconds=5) | {"event_type": "not a type"}
    answer = users_service.batch([sent, sent, erased, refused])
    assert answer["accepted"] == 1
    assert users_service.batch([sent])["duplicates"] == 1
    assert measured(users_service)["count"] == 1


def test_an_event_from_a_clock_that_is_ahead_has_no_lag_and_no_negative_one(
    users_service: Api,
) -> None:
    users_service.batch([happened(seconds=-120)])
    found = measured(users_service)
    assert (found["0.1"], found["sum"], found["count"]) == (1, 0, 1)


def test_what_people_and_programs_send_is_no_delivery(
    app: Flask, admin: Api, users_service: Api
) -> None:
    admin.batch([happened(seconds=5)])
    own = happened(seconds=5) | {"event_type": "page_view"}
    Api(app.test_client(), user_token(7)).batch([own])
    key = admin.call(
        "POST", "/analytics/api-keys", json={"name": "site", "scopes": ["events:write"]}
    )
    assert key.status_code == 201, key.get_json()
    Api(app.test_client(), key.get_json()["key"]).batch([happened(seconds=5)])
    assert measured(users_service)["count"] == 0
