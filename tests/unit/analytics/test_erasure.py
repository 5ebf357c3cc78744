"""Erasure takes a person out of every count, and late deliveries stay out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.analytics.conftest import Api


def an_event(**given: Any) -> dict[str, Any]:
    event_id = str(uuid.uuid4())
    return {"event_type": "a", "created_at": "2026-05-01T10:00:00Z", "event_id": event_id, **given}


DAY = {"start": "2026-05-01", "end": "2026-05-02"}


def figures(api: Api) -> tuple[int, int, dict[str, int]]:
    found = api.get("/analytics/summary", **DAY)
    return found["total_events"], found["unique_users"], found["events_by_type"]


def test_an_erased_user_leaves_every_count(admin: Api) -> None:
    admin.batch([an_event(user_id=1), an_event(user_id=2), an_event(user_id=2, event_type="b")])
    assert admin.call("DELETE", "/analytics/users/2/events").get_json() == {"erased": 2}
    assert figures(admin) == (1, 1, {"a": 1})
    assert admin.get("/analytics/users/2/events")["items"] == []
    assert admin.call("DELETE", "/analytics/users/2/events").get_json() == {"erased": 0}


def test_what_arrives_late_is_answered_erased_and_not_stored(admin: Api) -> None:
    late = an_event(user_id=2)
    admin.send(late)
    admin.call("DELETE", "/analytics/users/2/events")
    assert admin.send(late, 200) == {"status": "erased"}
    answer = admin.batch([late, an_event(user_id=2), an_event(user_id=1)])
    assert answer["accepted"] == 1
    assert [(each["index"], each["status"]) for each in answer["results"]] == [
        (0, "erased"),
        (1, "erased"),
    ]
    assert figures(admin) == (1, 1, {"a": 1})


def test_what_is_dated_after_an_admins_erasure_is_stored(admin: Api) -> None:
    admin.call("DELETE", "/analytics/users/2/events")
    ahead = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    admin.send(an_event(user_id=2, created_at=ahead))


def test_a_deleted_account_stays_out_for_ever(admin: Api, users_service: Api) -> None:
    users_service.call("DELETE", "/analytics/users/2/events")
    ahead = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert users_service.send(an_event(user_id=2, created_at=ahead), 200) == {"status": "erased"}
    admin.call("DELETE", "/analytics/users/2/events")
    assert users_service.send(an_event(user_id=2, created_at=ahead), 200) == {"status": "erased"}


def test_a_visitor_is_erased_by_the_id_that_only_its_sender_knows(admin: Api) -> None:
    admin.batch([an_event(visitor_id="tab 1/ü"), an_event(visitor_id="tab 2")])
    assert admin.call("DELETE", "/analytics/visitors/tab 2/events").get_json() == {"erased": 1}
    assert figures(admin) == (1, 1, {"a": 1})
    assert admin.call("DELETE", "/analytics/visitors/tab 1%2Fü/events").get_json() == {"erased": 1}
    assert figures(admin) == (0, 0, {})
