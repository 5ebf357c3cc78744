"""Lists: newest first, by filters, by pages that miss and repeat nothing."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.unit.analytics.conftest import Api


def an_event(minute: int, **given: Any) -> dict[str, Any]:
    return {
        "event_type": "a",
        "created_at": f"2026-05-{1 + minute // 60:02}T10:{minute % 60:02}:00Z",
        "event_id": str(uuid.uuid4()),
        **given,
    }


def ids(page: Any) -> list[str]:
    return [item["event_id"] for item in page["items"]]


def walk(api: Api, path: str, cursor: str | None = None, **query: Any) -> list[str]:
    """Returns the ids on the page after the cursor (the first without) and on all that follow."""
    after = {"cursor": cursor} if cursor else {}
    page = api.get(path, **query, **after)
    following = page["next_cursor"]
    return ids(page) + (walk(api, path, following, **query) if following else [])


def test_pages_hold_every_event_once_newest_first(admin: Api) -> None:
    sent = [an_event(minute // 3, user_id=minute % 3 + 1) for minute in range(60)]
    admin.batch(sent)
    found = walk(admin, "/analytics/events", limit=7)
    times = {event["event_id"]: event["created_at"] for event in sent}
    assert sorted(found) == sorted(times)
    assert [times[each] for each in found] == sorted(times.values(), reverse=True)


def test_events_that_arrive_meanwhile_neither_repeat_nor_hide_another(admin: Api) -> None:
    sent = [an_event(minute) for minute in range(20)]
    admin.batch(sent)
    first = admin.get("/analytics/events", limit=5)
    admin.batch([an_event(minute) for minute in range(10, 40)])
    found = ids(first) + walk(admin, "/analytics/events", first["next_cursor"], limit=5)
    assert len(found) == len(set(found))
    assert {event["event_id"] for event in sent} <= set(found)


def test_filters_narrow_by_type_user_time_and_metadata(admin: Api) -> None:
    sent = [
        an_event(0, user_id=1, metadata={"plan": "pro", "n": 5, "ok": True, 'q"$.x': "y"}),
        an_event(1, user_id=2, event_type="b", metadata={"plan": "free", "n": 5.5}),
        an_event(2, user_id=1, event_type="c", metadata={"plan": None, "n": "5"}),
        an_event(3, visitor_id="v"),
    ]
    admin.batch(sent)

    def found(**query: Any) -> list[int]:
        names = [event["event_id"] for event in sent]
        return sorted(names.index(each) for each in ids(admin.get("/analytics/events", **query)))

    assert found() == [0, 1, 2, 3]
    assert found(event_type=["b", "c"]) == [1, 2]
    assert found(user_id=1) == [0, 2]
    assert found(start="2026-05-01T10:01:00Z", end="2026-05-01T10:03:00Z") == [1, 2]
    assert found(**{"metadata.plan": "pro"}) == [0]
    assert found(**{"metadata.n": "5"}) == [0, 2]
    assert found(**{"metadata.ok": "true"}) == [0]
    assert found(**{"metadata.plan": "null"}) == []
    assert found(**{'metadata.q"$.x': "y"}) == [0]
    assert found(**{"metadata.n": "5", "user_id": "1", "event_type": "a"}) == [0]


def test_a_date_range_includes_its_last_day_in_the_zone(admin: Api) -> None:
    sent = [
        {**an_event(0), "created_at": time}
        for time in ("2026-05-01T18:14:59Z", "2026-05-01T18:15:00Z", "2026-05-03T18:14:59.999999Z")
    ]
    admin.batch(sent)
    path = "/analytics/events/date-range"
    days = {"start_date": "2026-05-02", "end_date": "2026-05-03"}
    assert ids(admin.get(path, tz="Asia/Kathmandu", **days)) == [
        sent[2]["event_id"],
        sent[1]["event_id"],
    ]
    backwards = {"start_date": "2026-05-03", "end_date": "2026-05-02"}
    assert admin.call("GET", path, query_string=backwards).status_code == 422
    assert admin.call("GET", path).status_code == 422


def test_sparse_fieldsets_answer_what_was_asked(admin: Api) -> None:
    admin.send(an_event(0))
    page = admin.get("/analytics/events", fields="event_type,created_at")
    assert page["items"] == [{"event_type": "a", "created_at": "2026-05-01T10:00:00Z"}]
    for fields in ("", "nope", "id,actor"):
        answer = admin.call("GET", "/analytics/events", query_string={"fields": fields})
        assert answer.status_code == 422


def test_a_user_sees_own_events_and_an_analyst_all(admin: Api, analyst: Api, viewer: Api) -> None:
    admin.batch([an_event(0, user_id=3), an_event(1, user_id=4)])
    assert len(viewer.get("/analytics/users/3/events")["items"]) == 1
    assert viewer.call("GET", "/analytics/users/4/events").status_code == 403
    assert len(analyst.get("/analytics/users/4/events")["items"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "9" * 5000},
        {"cursor": "x"},
        {"cursor": "W10"},
        {"cursor": "WyIyMDI2LTA1LTAxVDEwOjAwOjAwIiwgMV0"},
        {"user_id": str(2**63)},
        {"event_type": "no good"},
        {"metadata.": "x"},
        {"metadata.k": "\x00"},
        {"start": "x"},
    ],
)
def test_a_query_that_makes_no_sense_is_a_422(analyst: Api, query: dict[str, str]) -> None:
    answer = analyst.call("GET", "/analytics/events", query_string=query)
    assert answer.status_code in (200, 422) if "cursor" in query else answer.status_code == 422
