"""The explorer and the timeline: every event is found, and none twice."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from dashboard_app.timeline import days_of
from tests.unit.dashboard.conftest import Platform, event, text_of


def test_paging_shows_every_event_once(platform: Platform) -> None:
    platform.send(*(event(f"type{n:02}", n / 10) for n in range(60)))
    admin, seen, path = platform.admin, [], "/events"
    while path:
        page = admin.get(path).text
        seen += re.findall(r"</svg>(type\d\d)</span>", page)
        following = re.search(r'id="next" [^>]*href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == [f"type{n:02}" for n in range(60)]


def test_filters_on_type_user_metadata_and_range_hold_together(platform: Platform) -> None:
    platform.send(
        event("search", user_id=5, metadata={"plan": "free", "term": "kept"}),
        event("search", user_id=5, metadata={"plan": "team", "term": "other plan"}),
        event("search", user_id=6, metadata={"plan": "free", "term": "other user"}),
        event("page_view", user_id=5, metadata={"plan": "free", "term": "other type"}),
        event("search", 24 * 40, user_id=5, metadata={"plan": "free", "term": "other time"}),
    )
    query = "event_type=search&user_id=5&metadata.plan=free"
    text = text_of(platform.admin.get(f"/events?{query}"))
    assert "kept" in text
    assert "other" not in text
    for words in ("Event is search", "User is 5", "plan is free"):
        assert words in text


def test_the_forms_pair_becomes_part_of_the_address(platform: Platform) -> None:
    sent = platform.admin.get("/events?key=plan&value=free&event_type=search&user_id=")
    assert sent.location == "/events?event_type=search&metadata.plan=free"
    fragment = platform.admin.fragment("/events?key=plan&value=free")
    assert fragment.headers["HX-Push-Url"] == "/events?metadata.plan=free"


def test_every_filter_comes_off_by_its_own_link(platform: Platform) -> None:
    page = platform.admin.get("/events?event_type=search&user_id=5&metadata.plan=free").text
    links = dict(re.findall(r'id="chip-([\w-]+)" href="([^"]*)"', page))
    assert links["type"].replace("&amp;", "&") == "?user_id=5&metadata.plan=free"
    assert links["user"].replace("&amp;", "&") == "?event_type=search&metadata.plan=free"
    assert links["pair-1"].replace("&amp;", "&") == "?event_type=search&user_id=5"


def test_metadata_reads_as_a_tree(platform: Platform) -> None:
    platform.send(event("order", metadata={"cart": {"items": ["tea", {"size": 3}]}, "vip": True}))
    text = text_of(platform.admin.get("/events"))
    assert "cart items tea size 3" in text
    assert "vip true" in text


def test_metadata_from_outside_stays_text(platform: Platform) -> None:
    platform.send(event("x", metadata={"<img src=x>": "<script>alert(1)</script>", "n": None}))
    page = platform.admin.get("/events").text
    assert "<img" not in page
    assert "<script>alert" not in page


def test_downloads_hold_what_was_searched_for(platform: Platform) -> None:
    platform.send(
        event("search", user_id=5, metadata={"plan": "free"}),
        event("search", user_id=6, metadata={"plan": "team"}),
        event("page_view", user_id=5),
    )
    admin = platform.admin
    for query, users in (("event_type=search", {5, 6}), ("metadata.plan=free", {5})):
        answer = admin.get(f"/events/export.ndjson?{query}")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert {line["user_id"] for line in lines} == users
        columns = {"event_id", "event_type", "user_id", "metadata", "created_at"}
        assert all(set(line) == columns for line in lines)
        rows = admin.get(f"/events/export.csv?{query}").text.strip().splitlines()
        assert len(rows) == len(users) + 1


def test_a_cursor_that_is_none_is_said_on_the_page(platform: Platform) -> None:
    answer = platform.admin.get("/events?cursor=nonsense")
    assert answer.status_code == 200
    assert "cursor" in text_of(answer).lower()


def test_a_timeline_gathers_sessions_by_day(platform: Platform) -> None:
    platform.send(*(event("page_view", hours, user_id=77) for hours in (30, 30.2, 54, 54.1, 54.2)))
    text = text_of(platform.admin.get("/users/77"))
    assert "2 events in 1 session" in text
    assert "3 events in 1 session" in text


def test_half_an_hour_of_silence_ends_a_session_and_midnight_is_the_zones() -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    minutes = (0, 29, 60, 61, 6 * 60)
    events = [{"created_at": (noon - timedelta(minutes=each)).isoformat()} for each in minutes]
    (day,) = days_of(events, "UTC")
    assert [len(visit.events) for visit in day.visits] == [2, 2, 1]
    assert [day.date.day for day in days_of(events, "Pacific/Kiritimati")] == [23, 22]


def test_a_viewer_sees_the_own_timeline_and_no_other(platform: Platform) -> None:
    viewer = platform.person("vera")
    platform.send(event("page_view", user_id=viewer.id), event("page_view", user_id=77))
    assert viewer.get(f"/users/{viewer.id}").status_code == 200
    assert viewer.get("/users/77").status_code == 404


@pytest.mark.parametrize("number", ["0", "9" * 30, "-1", "abc", str(2**63)])
def test_a_number_that_no_user_has_is_not_found(platform: Platform, number: str) -> None:
    assert platform.admin.get(f"/users/{number}").status_code == 404
    assert platform.admin.get(f"/events?user_id={number}").status_code == 200
