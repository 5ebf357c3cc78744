"""What one sender may create is bounded, the bound is named, and others go on."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text, update

from analytics_app.models import DailyUse, EventType, db
from tests.unit.analytics.conftest import Api, MakeApp, partitions, user_token

NOW = "2026-05-01T10:00:00Z"
OWN = 9  # the users service's types are registered from the start


def an_event(event_type: str = "a", **given: Any) -> dict[str, Any]:
    event_id = str(uuid.uuid4())
    return {"event_type": event_type, "created_at": NOW, "event_id": event_id, **given}


def of_types(*numbers: int, prefix: str = "made_up") -> list[dict[str, Any]]:
    return [an_event(f"{prefix}_{n}") for n in numbers]


def complaints(answer: dict[str, Any]) -> dict[int, dict[str, str]]:
    """Returns the one complaint about each rejected event of a batch."""
    assert all(each["status"] == "rejected" for each in answer["results"])
    return {each["index"]: each["errors"][0] for each in answer["results"]}


@pytest.fixture
def small(make_app: MakeApp) -> Flask:
    """Returns an app whose limits are soon reached."""
    app = make_app(
        max_event_types=OWN + 6,
        max_event_types_per_user=2,
        max_event_types_by_users=3,
        max_events_per_user_a_day=5,
    )
    app.app_context().push()
    return app


def caller(app: Flask, user_id: int, role: str = "viewer") -> Api:
    return Api(app.test_client(), user_token(user_id, role))


def types(app: Flask) -> set[str]:
    found = set(db.session.scalars(select(EventType.event_type).where(~EventType.erasing)))
    db.session.rollback()
    return found


def test_an_account_adds_few_types_and_its_known_ones_go_on(small: Flask) -> None:
    viewer = caller(small, 3)
    answer = viewer.batch([*of_types(1, 2, 3, 1), an_event("user_registered")])
    found = complaints({"results": answer["results"][:1]})
    assert (answer["accepted"], found[2]["field"]) == (3, "event_type")
    assert "2 types (MAX_EVENT_TYPES_PER_USER)" in found[2]["message"]
    refused = viewer.send(an_event("made_up_4"), 422)
    assert [each["field"] for each in refused["errors"]] == ["event_type"]
    assert "(MAX_EVENT_TYPES_PER_USER)" in refused["errors"][0]["message"]
    viewer.send(an_event("made_up_2"))


def test_accounts_together_add_few_types_and_programs_more(small: Flask) -> None:
    assert caller(small, 3).batch(of_types(1, 2))["accepted"] == 2
    answer = caller(small, 4).batch(of_types(2, 3, 4))
    assert answer["accepted"] == 2
    assert "3 types together (MAX_EVENT_TYPES_BY_USERS)" in complaints(answer)[2]["message"]
    admin = caller(small, 1, "admin")
    answer = admin.batch(of_types(*range(9)))
    assert answer["accepted"] == 6
    assert "6 types" not in complaints(answer)[8]["message"]
    assert f"no more than {OWN + 6} types (MAX_EVENT_TYPES)" in complaints(answer)[8]["message"]
    assert len(types(small)) == OWN + 6
    admin.send(an_event("made_up_8"), 422)
    admin.send(an_event("made_up_3"))


def test_workers_that_add_at_once_stay_within_the_limit(
    make_app: MakeApp, new_postgres_database: Callable[[], str]
) -> None:
    url = new_postgres_database()
    workers = [make_app(analytics_database_url=url, max_event_types=OWN + 5) for _ in range(4)]

    def add(number: int) -> None:
        api = caller(workers[number], 1, "admin")
        for n in range(10):
            api.call("POST", "/analytics/events", json=an_event(f"of_{number}_{n}"))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with workers[0].app_context():
        assert len(types(workers[0])) == OWN + 5


def test_an_accounts_day_is_bounded_and_repeats_dont_count(small: Flask) -> None:
    viewer, sent = caller(small, 3), [an_event() for _ in range(5)]
    assert viewer.batch(sent[:3])["accepted"] == 3
    assert viewer.batch(sent[:3])["duplicates"] == 3
    answer = viewer.batch([*sent[2:], an_event()])
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (2, 1, 1)
    refused = viewer.send(an_event(), 422)["errors"][0]
    assert refused["field"] == "user_id"
    assert "the 5 events" in refused["message"]
    assert "(MAX_EVENTS_PER_USER_A_DAY)" in refused["message"]
    assert viewer.send(sent[0], 200)["event_id"] == sent[0]["event_id"]
    answer = viewer.batch([*sent, an_event()])
    assert (answer["duplicates"], answer["rejected"]) == (5, 1)
    caller(small, 4).send(an_event())
    caller(small, 1, "admin").batch([an_event(user_id=3) for _ in range(9)])
    db.session.execute(update(DailyUse).values(day=DailyUse.day - 1))
    db.session.commit()
    viewer.send(an_event())


def test_what_was_counted_for_events_that_were_refused_is_given_back(small: Flask) -> None:
    viewer, admin = caller(small, 3), caller(small, 1, "admin")
    admin.call("DELETE", "/analytics/users/3/events")
    answer = viewer.batch([an_event() for _ in range(5)])
    assert (answer["accepted"], answer["erased"]) == (0, 5)
    ahead = datetime.now(UTC).isoformat()
    assert viewer.batch([an_event(created_at=ahead) for _ in range(6)])["accepted"] == 5
    counted = select(func.sum(DailyUse.used)).where(DailyUse.what == "events")
    assert db.session.scalar(counted) == 5
    db.session.rollback()


def months(years: range) -> list[dict[str, Any]]:
    return [
        an_event(created_at=f"{year}-{month:02}-03T00:00:00Z")
        for year in years
        for month in range(1, 13)
    ]


@pytest.fixture
def on_postgres(make_app: MakeApp, new_postgres_database: Callable[[], str]) -> Flask:
    """Returns an app on PostgreSQL, where events have partitions."""
    app = make_app(analytics_database_url=new_postgres_database())
    app.app_context().push()
    return app


def test_one_request_makes_a_dozen_partitions_and_the_next_a_dozen_more(on_postgres: Flask) -> None:
    admin, sent = caller(on_postgres, 1, "admin"), months(range(2001, 2004))
    assert admin.batch(sent)["accepted"] == 12
    answer = admin.batch(sent)
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (12, 12, 12)
    (error,) = next(each for each in answer["results"] if each["status"] == "rejected")["errors"]
    assert error["field"] == "created_at"
    assert "12 (MAX_PARTITIONS_PER_REQUEST)" in error["message"]
    assert admin.batch(sent)["accepted"] == 12
    assert partitions() == 36


def test_accounts_together_make_a_dozen_partitions_a_day(on_postgres: Flask) -> None:
    """A viewer made 26 years of partitions with 27 calls."""
    ahead = caller(on_postgres, 1, "admin")
    ahead.batch(months(range(2000, 2001)))
    accepted = 0
    for year in range(2001, 2008):
        answer = caller(on_postgres, year).batch(months(range(year, year + 1)))
        accepted += answer["accepted"]
    assert (accepted, partitions()) == (12, 24)
    refused = caller(on_postgres, 3).send(months(range(2010, 2011))[0], 422)["errors"][0]
    assert refused["field"] == "created_at"
    assert "12 made in a UTC day (MAX_PARTITIONS_BY_USERS_A_DAY)" in refused["message"]
    assert caller(on_postgres, 3).batch(months(range(2000, 2001)))["accepted"] == 12
    assert ahead.batch(months(range(2010, 2011)))["accepted"] == 12


def test_a_user_id_is_below_the_numbers_of_people_who_are_no_accounts(admin: Api) -> None:
    largest = 2**62 - 1
    admin.send(an_event(user_id=largest))
    for path in ("/analytics/events", "/analytics/export"):
        assert admin.call("GET", path, query_string={"user_id": largest + 1}).status_code == 422
    refused = admin.send(an_event(user_id=largest + 1), 422)
    assert [each["field"] for each in refused["errors"]] == ["user_id"]
    for method in ("GET", "DELETE"):
        answer = admin.call(method, f"/analytics/users/{largest + 1}/events")
        assert answer.status_code == 422
    assert db.session.execute(text("SELECT count(*) FROM tombstones")).scalar_one() == 0
    db.session.rollback()


def test_a_visitor_id_that_no_event_can_have_lays_no_tombstone(admin: Api) -> None:
    answer = admin.call("DELETE", f"/analytics/visitors/{'v' * 65}/events")
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "visitor_id"
    assert db.session.execute(text("SELECT count(*) FROM tombstones")).scalar_one() == 0
    db.session.rollback()
    assert admin.call("DELETE", f"/analytics/visitors/{'v' * 64}/events").status_code == 200


def test_records_are_so_many_at_most(make_app: MakeApp) -> None:
    app = make_app(max_saved_reports=2, max_annotations=2, max_api_keys=2)
    bodies: dict[str, dict[str, Any]] = {
        "saved-reports": {"name": "x", "report": "paths"},
        "annotations": {"day": "2026-05-01", "text": "x"},
        "api-keys": {"name": "x", "scopes": ["events:read"]},
    }
    admin = caller(app, 1, "admin")
    for what, body in bodies.items():
        sent = [admin.call("POST", f"/analytics/{what}", json=body) for _ in range(3)]
        assert [each.status_code for each in sent] == [201, 201, 409]
        setting = "MAX_" + what.upper().replace("-", "_")
        assert f"({setting})" in sent[2].get_json()["detail"]
        first = sent[0].get_json()["id"]
        assert admin.call("DELETE", f"/analytics/{what}/{first}").status_code == 204
        assert admin.call("POST", f"/analytics/{what}", json=body).status_code == 201
