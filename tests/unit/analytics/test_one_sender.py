"""One sender who makes up whatever it can leaves others' answers, sizes and work as they were."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, func, select

from analytics_app.models import Count, DayCount, EventType, db
from tests.unit.analytics.conftest import Api, service_token, user_token

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
BATCHES, SIZE = 10, 5_000
ABUSER = 66
BOUND = 64 * 1024
RANGE = f"start={TODAY - timedelta(days=20):%Y-%m-%d}&end={TODAY:%Y-%m-%d}"
ANSWERS = (
    "/analytics/events/by-type",
    "/analytics/summary",
    "/analytics/live",
    "/analytics/events?limit=50",
    "/analytics/timeseries?interval=day&fields=start,count,by_type",
    f"/analytics/properties?event_type=page&{RANGE}",
    f"/analytics/timeseries?interval=day&event_type=page&{RANGE}",
)
OTHERS = ANSWERS[-2:]  # what nobody else's events are in


def made_up(batch: int) -> list[dict[str, Any]]:
    moment = (TODAY - timedelta(hours=batch + 1)).isoformat()
    return [
        {
            "event_type": f"junk_{batch}_{n}",
            "created_at": moment,
            "event_id": str(uuid.uuid4()),
            "metadata": {f"k{n}": n},
        }
        for n in range(SIZE)
    ]


def honest(number: int, user_id: int) -> dict[str, Any]:
    moment = TODAY - timedelta(hours=number)
    return {
        "event_type": "page" if number % 3 else "sign_up",
        "created_at": moment.isoformat(),
        "event_id": str(uuid.uuid4()),
        "user_id": user_id,
        "metadata": {"path": f"/{number % 5}"},
    }


@contextmanager
def work(app: Flask) -> Iterator[list[int]]:
    """Counts the rows that are read from the database."""
    rows = [0]

    def count(_connection: Any, cursor: Any, *_: Any) -> None:
        rows[0] += max(cursor.rowcount, 1)

    engine = db.engine
    event.listen(engine, "after_cursor_execute", count)
    try:
        yield rows
    finally:
        event.remove(engine, "after_cursor_execute", count)


def seen(api: Api) -> dict[str, Any]:
    """Returns the answers, each within its bound."""
    found = {}
    for path in ANSWERS:
        answer = api.call("GET", path)
        assert answer.status_code == 200, (path, answer.get_json())
        assert len(answer.data) < BOUND, path
        found[path] = answer.get_json()
    return found


def figures(answers: dict[str, Any]) -> tuple[int, dict[str, int]]:
    by_type = answers["/analytics/events/by-type"]
    counts = {each["event_type"]: each["count"] for each in by_type["items"]}
    return by_type["total"], {name: counts[name] for name in ("page", "sign_up")}


@pytest.mark.parametrize("sender", ["viewer", "key"])
def test_made_up_types_by_the_ten_thousand_leave_others_as_they_were(
    app: Flask, sender: str
) -> None:
    admin = Api(app.test_client(), user_token(1, "admin"))
    assert admin.batch([honest(n, n % 40 + 1) for n in range(400)])["accepted"] == 400
    before = seen(admin)
    with work(app) as usual:
        seen(admin)
    abuser, most = abuser_of(app, admin, sender)
    accepted = sum(abuser.batch(made_up(n))["accepted"] for n in range(BATCHES))
    assert accepted == most
    after = seen(admin)
    assert figures(after) == (figures(before)[0] + accepted, figures(before)[1])
    assert after["/analytics/summary"]["other"]["types"] == max(0, accepted + 2 - 50)
    for path in OTHERS:
        assert after[path] == before[path]
    with work(app) as abused:
        seen(admin)
    assert abused[0] < 2 * usual[0] + 5 * most
    erase(app, sender)
    if sender == "viewer":
        assert figures(seen(admin)) == figures(before)
        assert rows_of_junk() == 0
        with work(app) as again:
            seen(admin)
        assert again[0] <= usual[0] * 1.5
    assert db.session.scalar(select(func.count()).select_from(EventType)) <= 2_000
    db.session.rollback()


def abuser_of(app: Flask, admin: Api, sender: str) -> tuple[Api, int]:
    """Returns who sends, and how many of their types are taken."""
    if sender == "viewer":
        return Api(app.test_client(), user_token(ABUSER)), 20
    made = admin.call(
        "POST", "/analytics/api-keys", json={"name": "x", "scopes": ["events:write"]}
    ).get_json()
    return Api(app.test_client(), made["key"]), 2_000 - 9 - 2


def erase(app: Flask, sender: str) -> None:
    service = Api(app.test_client(), service_token())
    assert service.call("DELETE", f"/analytics/users/{ABUSER}/events").status_code in (200, 202)


def rows_of_junk() -> int:
    found = 0
    for table in (Count, DayCount):
        chosen = select(func.count()).select_from(table).where(table.event_type.like("junk%"))
        found += db.session.scalar(chosen) or 0
    db.session.rollback()
    return found
