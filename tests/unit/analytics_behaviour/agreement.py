"""Asks every behaviour report over some ranges and holds it against the reference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour import reference
from tests.unit.analytics_behaviour.reference import Happening, Step

ZONES = ("UTC", "Asia/Kathmandu")

FUNNELS: tuple[tuple[list[Step], timedelta], ...] = (
    ([Step("signup"), Step("cart"), Step("purchase")], timedelta(days=7)),
    ([Step("view"), Step("view"), Step("view")], timedelta(days=2)),
    ([Step("view", {"plan": ["pro", "3"]}), Step("purchase")], timedelta(days=30)),
    (
        [Step("view"), Step("cart"), Step("view", {"plan": ["free"]}), Step("cart")],
        timedelta(days=9),
    ),
)


def ranges(since: datetime) -> list[tuple[datetime, datetime]]:
    """Returns whole days, ends within days, and ends off any quarter-hour."""
    return [
        (since, since + timedelta(days=21)),
        (since + timedelta(days=2, hours=5, minutes=45), since + timedelta(days=12, minutes=30)),
        (since + timedelta(days=1, seconds=7), since + timedelta(days=1, hours=9, seconds=1)),
    ]


def all_agree(
    api: Api,
    events: list[Happening],
    since: datetime,
    zone: str,
    *,
    ever: list[Happening] | None = None,
    now: datetime | None = None,
) -> None:
    """Fails unless every report on every range says what the reference says.

    `ever` are the events of which it is known who was there, dropped ones too, if others.
    """
    for start, end in ranges(since):
        asked = {"start": start.isoformat(), "end": end.isoformat(), "tz": zone}
        inside = reference.within(events, start, end)
        funnels_agree(api, inside, asked)
        paths_agree(api, inside, asked)
        properties_agree(api, inside, asked)
        breakdowns_agree(api, inside, asked)
        retention_agrees(api, ever or events, start, end, zone, now or datetime.now(UTC))


def post(api: Api, path: str, body: dict[str, Any]) -> Any:
    answer = api.call("POST", path, json=body)
    assert answer.status_code == 200, answer.get_json()
    return answer.get_json()


def body_of(steps: list[Step], window: timedelta, asked: dict[str, str]) -> dict[str, Any]:
    return {
        "steps": [{"event_type": step.kind, "metadata": step.wanted} for step in steps],
        "window": int(window.total_seconds()),
        **asked,
    }


def bare(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in s.items() if name != "metadata"} for s in steps]


def funnels_agree(api: Api, events: list[Happening], asked: dict[str, str]) -> None:
    for steps, window in FUNNELS:
        body = {**body_of(steps, window, asked), "breakdown": "plan", "limit": 2}
        found = post(api, "/analytics/funnel", body)
        assert bare(found["steps"]) == reference.funnel(events, steps, window)
        groups = [(g["value"], g["other"], bare(g["steps"])) for g in found["breakdown"]]
        expected = reference.funnel_by_value(events, steps, window, "plan", 2)
        assert groups == expected, (groups, expected)
        dropped_agree(api, events, steps, window, asked)


def dropped_agree(
    api: Api, events: list[Happening], steps: list[Step], window: timedelta, asked: dict[str, str]
) -> None:
    body = {**body_of(steps, window, asked), "step": 2, "limit": 2}
    expected = reference.dropped(events, steps, window, 2)
    listed: list[int] = []
    cursor = None
    while cursor or not listed:
        found = post(api, "/analytics/funnel/dropped", {**body, "cursor": cursor})
        listed += [item["user_id"] for item in found["items"]]
        cursor = found["next_cursor"]
        if not found["items"]:
            break
    assert sorted(listed) == sorted(who for who in expected if isinstance(who, int))
    assert found["users"] == len(expected)
    assert found["visitors"] == sum(isinstance(who, str) for who in expected)


def paths_agree(api: Api, events: list[Happening], asked: dict[str, str]) -> None:
    for backwards, gap in ((False, None), (True, None), (False, timedelta(hours=8))):
        found = api.get(
            "/analytics/paths",
            event_type="view",
            direction="before" if backwards else "after",
            levels=4,
            limit=3,
            **({"gap": f"{int(gap.total_seconds())}s"} if gap else {}),
            **asked,
        )
        expected = reference.paths(events, "view", backwards=backwards, levels=4, most=3, gap=gap)
        assert {name: found[name] for name in expected} == expected


def properties_agree(api: Api, events: list[Happening], asked: dict[str, str]) -> None:
    found = api.get("/analytics/properties", **asked)["items"]
    shown = {
        (item["event_type"], item["key"]): {
            name: item[name]
            for name in ("count", "share", "unique_users", "types", "distinct_values")
        }
        for item in found
    }
    assert shown == reference.properties(events)


def breakdowns_agree(api: Api, events: list[Happening], asked: dict[str, str]) -> None:
    cases: tuple[tuple[str, str, dict[str, list[str]]], ...] = (
        ("plan", "price", {}),
        ("price", "price", {"plan": ["pro"]}),
        ("nothing", "nothing", {}),
    )
    for key, measure, wanted in cases:
        given = {f"metadata.{name}": texts[0] for name, texts in wanted.items()}
        found = api.get(
            "/analytics/breakdown",
            event_type="purchase", key=key, measure=measure, limit=2, **given, **asked,
        )  # fmt: skip
        expected = reference.breakdown(events, "purchase", key, measure, wanted, 2)
        for row, right in zip(
            [*found["items"], found["other"], found["without"], found["total"]],
            [*expected["items"], expected["other"], expected["without"], expected["total"]],
            strict=True,
        ):
            assert rounded(row) == rounded(right)


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the row with its sums to nine places: the order of adding may differ."""
    return {k: round(v, 9) if isinstance(v, float | int) else v for k, v in row.items()}


def retention_agrees(
    api: Api, events: list[Happening], start: datetime, end: datetime, zone: str, now: datetime
) -> None:
    for interval, kinds in (
        ("day", []),
        ("week", []),
        ("week", ["purchase", "cart"]),
        ("month", []),
    ):
        found = api.get(
            "/analytics/retention",
            start=start.isoformat(), end=end.isoformat(), tz=zone,
            interval=interval, event_type=kinds,
        )  # fmt: skip
        shown = [
            {
                "start": datetime.fromisoformat(cohort["start"]),
                "users": cohort["users"],
                "cells": cohort["cells"],
            }
            for cohort in found["cohorts"]
        ]
        assert shown == reference.retention(
            events, start, end, interval, kinds, ZoneInfo(zone), now
        )
