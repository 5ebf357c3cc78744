"""An erased type leaves everything, exactly, and its name is free again."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select

from analytics_app import engines, event_types, maintenance, verification
from analytics_app.behaviour import sealing
from analytics_app.models import AuditEntry, Count, DayCount, EventType, db
from analytics_app.zones import moment_at
from tests.unit.analytics.conftest import Api, MakeApp, service_token, user_token

DAY = {"start": "2026-05-01", "end": "2026-05-02"}
LATER = moment_at(1_790_000_000_000_000)


def an_event(event_type: str, user_id: int | None = 5, hour: int = 10, day: int = 1) -> Any:
    return {
        "event_type": event_type,
        "created_at": f"2026-05-{day:02}T{hour:02}:00:00Z",
        "event_id": str(uuid.uuid4()),
        "user_id": user_id,
    }


def erase(api: Api, name: str, status: int = 200) -> dict[str, Any]:
    answer = api.call("DELETE", f"/analytics/event-types/{name}")
    assert answer.status_code == status, answer.get_json()
    found: dict[str, Any] = answer.get_json()
    return found


def registered() -> set[str]:
    found = set(db.session.scalars(select(EventType.event_type)))
    db.session.rollback()
    return found


def verified() -> None:
    """Compares all rollups and sealed days with the events."""
    days = verification.days_to_check(db)
    assert not any(verification.verify(db, days))
    assert not any(n for _, n in sealing.wrong_days(db, days))
    db.session.rollback()


def unique_users(api: Api, since: str) -> int:
    found: int = api.get("/analytics/summary", start=since, end="2026-05-09")["unique_users"]
    return found


def counted(name: str) -> int:
    rows = [
        len(db.session.execute(select(each).where(each.event_type == name)).all())
        for each in (Count, DayCount)
    ]
    db.session.rollback()
    return sum(rows)


def some(api: Api) -> None:
    """Sends events: user 5 does a and b, user 6 a alone, user 7 b alone."""
    api.batch([an_event("a", 5), an_event("a", 5, 11), an_event("b", 5, 11), an_event("b", 7)])
    api.batch([an_event("a", 6), an_event("a", 6, 12, 3), an_event("a", None)])


def test_an_erased_type_leaves_every_answer(app: Flask, admin: Api) -> None:
    some(admin)
    assert len(list(sealing.seal_due(db, LATER))) == 2
    assert erase(admin, "a") == {"event_type": "a", "erased": 5}
    assert [each["event_type"] for each in admin.get("/analytics/events")["items"]] == ["b", "b"]
    found = admin.get("/analytics/summary", **DAY)
    assert (found["events_by_type"], found["unique_users"]) == ({"b": 2}, 2)
    at_ten = {"start": "2026-05-01T10:00:00Z", "end": "2026-05-01T10:15:00Z"}
    assert admin.get("/analytics/summary", **at_ten)["unique_users"] == 1
    assert (
        admin.get("/analytics/summary", start="2026-05-03", end="2026-05-04")["unique_users"] == 0
    )
    assert counted("a") == 0
    assert "a" not in registered()
    verified()
    list(sealing.seal_due(db, LATER))
    verified()
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "event_type_erased"))
    assert entry.one().details == {"event_type": "a"}
    db.session.rollback()
    erase(admin, "a", 404)


def test_a_freed_name_is_taken_anew_even_by_a_worker_that_knew_it(make_app: MakeApp) -> None:
    app, other = make_app(), make_app()
    with app.app_context():
        worker = Api(other.test_client(), user_token(1, "admin"))
        admin = Api(app.test_client(), user_token(1, "admin"))
        if db.engine.dialect.name == "sqlite":
            pytest.skip("in memory, each app has a database of its own")
        some(worker)
        erase(admin, "a")
        worker.send(an_event("a"))
        assert worker.batch([an_event("a"), an_event("b")])["accepted"] == 2
        erase(admin, "a")
        assert worker.batch([an_event("a"), an_event("b")])["accepted"] == 2
        assert admin.get("/analytics/events/by-type")["total"] == 5
        verified()


def test_a_large_type_goes_slice_by_slice_and_is_out_of_sight_at_once(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_types, "SLICE_EVENTS", 7)
    admin.batch([an_event("a", n % 20 + 1, n % 24, 1 + n % 3) for n in range(60)])
    admin.batch([an_event("b", n, n) for n in range(1, 5)])
    list(sealing.seal_due(db, LATER))
    assert erase(admin, "a", 202) == {"event_type": "a", "erased": 21}
    assert len(admin.get("/analytics/events")["items"]) == 4
    assert admin.get("/analytics/events/by-type")["total"] == 4
    refused = admin.send(an_event("a"), 422)["errors"][0]
    assert refused["field"] == "event_type"
    assert "is being erased" in refused["message"]
    assert admin.batch([an_event("a"), an_event("b")])["rejected"] == 1
    event_types.sweep(engines.for_erasures(db), Flag())
    assert (
        admin.get("/analytics/summary", start="2026-05-01", end="2026-05-09")["unique_users"] == 5
    )
    verified()
    admin.send(an_event("a"))


def test_a_person_may_be_erased_while_a_type_is(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_types, "SLICE_EVENTS", 3)
    admin.batch([an_event("a", n % 4 + 1, n % 24) for n in range(40)])
    admin.batch([an_event("b", n, n) for n in range(1, 5)])
    erase(admin, "a", 202)
    answer = admin.call("DELETE", "/analytics/users/2/events")
    assert answer.get_json() == {"erased": 1}
    assert admin.get("/analytics/events/by-type")["total"] == 3
    event_types.sweep(engines.for_erasures(db), Flag())
    assert unique_users(admin, "2026-05-01") == 3
    assert counted("a") == 0
    verified()


def test_the_users_services_types_keep_their_names(app: Flask, users_service: Api) -> None:
    users_service.send(an_event("user_registered"))
    admin = Api(app.test_client(), user_token(1, "admin"))
    assert erase(admin, "user_registered")["erased"] == 1
    assert "user_registered" in registered()
    users_service.send(an_event("user_registered"))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_presence_stays_exact_while_others_write(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_types, "SLICE_EVENTS", 50)
    monkeypatch.setattr(event_types, "SLICES_AT_ONCE", 100)
    stop, failed = Flag(), []

    def write(number: int) -> None:
        api = Api(app.test_client(), user_token(1, "admin"))
        try:
            while not stop.is_set():
                api.batch([an_event("b", n % 50 + 1, n % 24) for n in range(number, 300, 7)])
        except AssertionError as error:
            failed.append(error)

    admin.batch([an_event("a", n % 50 + 1, n % 24) for n in range(1200)])
    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for each in threads:
        each.start()
    assert erase(admin, "a")["erased"] == 1200
    stop.set()
    for each in threads:
        each.join()
    assert failed == []
    verified()


def test_names_that_an_erased_account_made_are_free_unless_others_use_them(
    app: Flask, admin: Api, viewer: Api
) -> None:
    ahead = datetime.now(UTC).isoformat()
    viewer.batch([{"event_type": f"mine_{n}", "created_at": ahead} | fresh() for n in range(3)])
    admin.send(an_event("mine_1", 4))
    Api(app.test_client(), service_token()).call("DELETE", "/analytics/users/3/events")
    maintenance.run_round(db, app_settings(app), datetime.now(UTC))
    assert {each for each in registered() if each.startswith("mine")} == {"mine_1"}
    (kept,) = db.session.scalars(select(EventType).where(EventType.event_type == "mine_1"))
    assert kept.created_by == 0
    db.session.rollback()


def test_types_that_an_older_release_counted_are_registered(app: Flask, admin: Api) -> None:
    admin.send(an_event("a"))
    db.session.execute(delete(EventType).where(EventType.event_type == "a"))
    db.session.commit()
    maintenance.run_round(db, app_settings(app), datetime.now(UTC))
    assert "a" in registered()
    assert len(admin.get("/analytics/events")["items"]) == 1


def fresh() -> dict[str, str]:
    return {"event_id": str(uuid.uuid4())}


def app_settings(app: Flask) -> Any:
    return app.extensions["analytics"].settings
