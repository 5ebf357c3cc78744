"""Sealed days change nothing but the time a report takes, whatever happens to the events."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from analytics_app import retention
from analytics_app.behaviour import sealing, seals
from analytics_app.behaviour.models import DirtyDay, SealedColumn, SealedDay
from analytics_app.models import db
from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.agreement import ZONES, all_agree
from tests.unit.analytics_behaviour.histories import START, Happening, History, written

NOW = START + timedelta(days=40)
DAY = int(START.timestamp()) // 86_400


def seal(now: datetime = NOW) -> list[int]:
    return list(sealing.seal_due(db, now))


def believable() -> frozenset[int]:
    found = seals.believable(db.session.connection())
    db.session.rollback()
    return found


def wrong() -> list[int]:
    return [day for day, columns in sealing.wrong_days(db, range(DAY - 400, DAY + 400)) if columns]


@pytest.mark.parametrize("zone", ZONES)
def test_reports_on_sealed_days_agree_with_the_reference(admin: Api, zone: str) -> None:
    history = History(admin, random.Random(5))
    history.send(400)
    assert len(seal()) == 21
    assert len(believable()) == 21
    all_agree(admin, history.events, START, zone)
    assert wrong() == []


@pytest.mark.parametrize("zone", ZONES)
def test_reports_agree_when_only_some_days_are_sealed(admin: Api, zone: str) -> None:
    history = History(admin, random.Random(6))
    history.send(400)
    seal(START + timedelta(days=9, hours=2))
    assert len(believable()) == 9
    all_agree(admin, history.events, START, zone)


@pytest.mark.parametrize("seed", range(3))
def test_reports_agree_after_late_events_and_erasures(admin: Api, seed: int) -> None:
    history = History(admin, random.Random(seed))
    history.send(300)
    seal()
    history.send(40)
    history.erase(3)
    history.erase("ann")
    assert len(believable()) < 21
    all_agree(admin, history.events, START, "Asia/Kathmandu")
    assert seal()
    assert len(believable()) == 21
    assert wrong() == []
    history.send(15)
    all_agree(admin, history.events, START, "UTC")


def test_reports_agree_after_a_month_was_dropped(admin: Api) -> None:
    history = History(admin, random.Random(8))
    history.send(150, start=START - timedelta(days=60))
    history.send(300)
    seal()
    dropped = retention.drop(db, START)
    assert dropped.before == datetime(2026, 3, 1, tzinfo=UTC)
    assert min(believable()) * 86_400 >= dropped.before.timestamp()
    all_agree(admin, history.events, START, "Asia/Kathmandu")
    history.erase(70_000)
    history.send(30)
    all_agree(admin, history.events, START, "UTC")
    seal()
    assert db.session.scalars(select(SealedColumn.day)).all()
    assert min(db.session.scalars(select(SealedColumn.day))) >= min(believable())
    all_agree(admin, history.events, START, "UTC")


def test_a_late_event_makes_its_day_dirty_and_no_other(admin: Api) -> None:
    history = History(admin, random.Random(9))
    history.send(200)
    seal()
    admin.send(written(Happening(1, START + timedelta(days=3, hours=1), "view")))
    assert set(range(DAY, DAY + 21)) - believable() == {DAY + 3}


def test_an_event_of_an_open_day_makes_nothing_dirty(admin: Api) -> None:
    History(admin, random.Random(10)).send(50)
    seal()
    admin.send({"event_type": "view", "user_id": 1})
    assert db.session.scalars(select(DirtyDay.day)).all() == []


def test_an_event_on_an_empty_day_in_between_is_sealed_later(admin: Api) -> None:
    admin.send(written(Happening(1, START, "view")))
    admin.send(written(Happening(1, START + timedelta(days=5), "view")))
    assert seal() == [DAY, DAY + 5]
    admin.send(written(Happening(2, START + timedelta(days=2), "view")))
    assert seal() == [DAY + 2]
    assert seal() == []


def test_an_event_that_arrives_while_its_day_is_read_is_not_lost(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.send(written(Happening(1, START, "view")))
    read = sealing.columns

    def read_then_late(*given: Any) -> Any:
        found = read(*given)
        admin.send(written(Happening(2, START + timedelta(hours=1), "view")))
        monkeypatch.undo()
        return found

    monkeypatch.setattr(sealing, "columns", read_then_late)
    seal()
    assert believable() == frozenset()
    assert seal() == [DAY]
    assert believable() == {DAY}
    assert wrong() == []


def test_of_two_who_seal_the_same_day_the_later_claim_wins(admin: Api) -> None:
    admin.send(written(Happening(1, START, "view")))
    first = sealing.claim(db, [DAY])
    old = sealing.columns(db, DAY)
    admin.send(written(Happening(2, START, "view")))
    second = sealing.claim(db, [DAY])
    assert not sealing.finish(db, DAY, first[DAY], old)
    assert believable() == frozenset()
    assert sealing.finish(db, DAY, second[DAY], sealing.columns(db, DAY))
    assert wrong() == []
    assert believable() == {DAY}


@pytest.mark.parametrize("sealed", [False, True])
def test_paths_are_empty_where_nobody_did_anything_within_the_range(
    admin: Api, sealed: bool
) -> None:
    admin.send(written(Happening(None, START + timedelta(hours=1), "view")))
    admin.send(written(Happening(1, START + timedelta(hours=5), "view")))
    if sealed:
        seal()
    for hours in (2, 3):  # only no one's event, and none at all
        asked = {"start": START.isoformat(), "end": (START + timedelta(hours=hours)).isoformat()}
        if hours == 3:
            asked["start"] = (START + timedelta(hours=2)).isoformat()
        found = admin.get("/analytics/paths", event_type="view", **asked)
        assert (found["users"], found["occurrences"]) == (0, 0)


def test_a_day_that_was_claimed_and_given_up_is_sealed_in_the_next_round(admin: Api) -> None:
    admin.send(written(Happening(1, START, "view")))
    sealing.claim(db, [DAY])
    assert seal() == [DAY]


def test_verify_finds_a_sealed_day_that_is_wrong(app: Flask, admin: Api) -> None:
    admin.send(written(Happening(1, START, "view")))
    admin.send(written(Happening(2, START, "view")))
    command = app.test_cli_runner()
    assert "1 days sealed" in command.invoke(args=["seal"]).output
    assert command.invoke(args=["verify"]).exit_code == 0
    chosen = update(SealedColumn).where(SealedColumn.name == "times").values(data=b"12345" * 2)
    db.session.execute(chosen)
    db.session.commit()
    answer = command.invoke(args=["verify"])
    assert answer.exit_code == 1
    assert "sealed columns differ" in answer.output


def test_the_day_that_lasts_is_not_sealed(admin: Api) -> None:
    admin.send({"event_type": "view", "user_id": 1})
    assert seal(datetime.now(UTC)) == []
    assert db.session.scalars(select(SealedDay.day)).all() == []


def test_a_type_with_very_many_keys_is_read_from_raw_events(admin: Api) -> None:
    events = [
        written(Happening(n, START + timedelta(minutes=n), "wide", {f"key{n}": n, "plan": "pro"}))
        for n in range(1, 121)
    ]
    admin.batch(events)
    asked = {"event_type": "wide", "start": "2026-03-20", "end": "2026-03-22"}
    before = admin.get("/analytics/properties", **asked)
    assert len(before["items"]) == 121
    seal()
    assert admin.get("/analytics/properties", **asked) == before
    found = admin.get("/analytics/breakdown", key="plan", **asked)
    assert [(item["value"], item["count"]) for item in found["items"]] == [("pro", 120)]
