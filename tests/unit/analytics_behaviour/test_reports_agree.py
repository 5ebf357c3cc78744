"""Every behaviour report says what plain loops over the raw events say, on both engines."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics_app.behaviour import properties
from analytics_app.behaviour.sealing import seal_due
from analytics_app.behaviour.source import Source
from analytics_app.models import db
from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.agreement import ZONES, all_agree
from tests.unit.analytics_behaviour.histories import START, History


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("seed", range(3))
def test_reports_on_raw_events_agree_with_the_reference(admin: Api, seed: int, zone: str) -> None:
    history = History(admin, random.Random(seed))
    history.send(400)
    all_agree(admin, history.events, START, zone)


def test_reports_on_no_events_are_empty_and_not_errors(admin: Api) -> None:
    all_agree(admin, [], START, "UTC")


@pytest.mark.parametrize("sealed", [False, True])
def test_of_too_many_keys_the_most_frequent_are_listed(
    admin: Api, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    monkeypatch.setattr(properties, "MAX_LISTED_KEYS", 3)
    for day, keys in enumerate(["abz", "byz", "cz", "dyz", "ez"]):
        for key in keys:
            at = (START + timedelta(days=day, hours=(ord(key) - 97) % 24)).isoformat()
            admin.send({"event_type": "x", "created_at": at, "event_id": str(uuid.uuid4()),
                        "metadata": {key: 1}})  # fmt: skip
    if sealed:
        assert len(list(seal_due(db, datetime.now(UTC)))) == 5
    found = admin.get("/analytics/properties", start="2026-03-20", end="2026-03-24T00:00:00Z")
    assert [(each["key"], each["count"]) for each in found["items"]] == [
        ("z", 4),
        ("b", 2),
        ("y", 2),
    ]
    found = admin.get("/analytics/properties", start="2026-03-20T01:00:00Z", end="2026-03-22")
    assert [each["key"] for each in found["items"]] == ["b", "z", "y"]


def test_keys_are_listed_of_the_largest_types_and_so_many_in_all(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, "MAX_LISTED_KEYS", 3)
    for kind, keys in [("a", "mn"), ("big", "xy"), ("big", "x"), ("big", "x"), ("mid", "pp")]:
        for key in keys:
            admin.send({"event_type": kind, "created_at": START.isoformat(),
                        "event_id": str(uuid.uuid4()), "metadata": {key: 1}})  # fmt: skip
    asked = {"start": "2026-03-20", "end": "2026-03-21"}
    expected = {
        (): [("big", "x"), ("big", "y"), ("a", "m")],
        ("mid", "mid", "none", "a"): [("a", "m"), ("a", "n"), ("mid", "p")],
        ("none",): [],
    }
    for types, rows in expected.items():
        found = admin.get("/analytics/properties", event_type=list(types), **asked)["items"]
        assert [(each["event_type"], each["key"]) for each in found] == rows


def test_types_of_which_there_is_nothing_are_not_read(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.send({"event_type": "a", "created_at": START.isoformat(), "user_id": 1,
                "event_id": str(uuid.uuid4()), "metadata": {"k": 1}})  # fmt: skip
    asked: dict[str, Any] = {"start": "2026-03-20", "end": "2026-03-21", "interval": "day"}
    expected = admin.get("/analytics/retention", event_type="a", **asked)
    read: list[str] = []
    frame = Source.frame

    def noted(source: Source, event_type: str, *given: Any) -> Any:
        read.append(event_type)
        return frame(source, event_type, *given)

    monkeypatch.setattr(Source, "frame", noted)
    many = ["a", "a", *(f"none{number}" for number in range(100))]
    found = admin.get("/analytics/retention", event_type=many, **asked)
    assert found["cohorts"] == expected["cohorts"]
    assert found["cohorts"][0]["cells"][0]["users"] == 1
    assert read == ["a"]
