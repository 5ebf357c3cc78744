"""The last half hour, as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.unit.analytics.conftest import Api


def test_live_shows_minutes_people_and_to_analysts_the_newest_events(
    admin: Api, viewer: Api, analyst: Api
) -> None:
    now = datetime.now(UTC)
    ages = (0, 1, 1, 4, 6, 29, 31)
    admin.batch(
        [
            {
                "event_type": "a",
                "user_id": n + 1,
                "created_at": (now - timedelta(minutes=age)).isoformat(),
            }
            for n, age in enumerate(ages)
        ]
    )
    seen = viewer.get("/analytics/live")
    assert len(seen["items"]) == 30
    assert sum(item["count"] for item in seen["items"]) in (5, 6)  # 29 minutes ago may slip out
    assert seen["items"][-1]["complete"] is False
    assert seen["active_users"] == 4
    assert "events" not in seen
    assert len(analyst.get("/analytics/live")["events"]) == len(ages)
