"""Erasures beside ingest, sealing, folding, changes of zone: who verifies finds nothing."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from analytics_app import engines, erasure, event_types, slots, sweeping, verification, zone_switch
from analytics_app.behaviour import sealing
from analytics_app.models import Erasure, Event, db
from tests.unit.analytics.conftest import Api, MakeApp, user_token

ACTORS = (1, 2, 3)
SECONDS = 6.0


@pytest.fixture
def shared(
    make_app: MakeApp, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Flask:
    """Returns an app that several threads can use: SQLite in a file, not in memory."""
    monkeypatch.setattr(erasure, "MAX_EVENTS_AT_ONCE", 20)
    monkeypatch.setattr(sweeping, "SLICE_EVENTS", 5)
    monkeypatch.setattr(engines, "ERASURES_POOL_SIZE", 6)
    in_file = database_url == "sqlite://"
    url = f"sqlite:///{tmp_path}/analytics.db" if in_file else database_url
    return make_app(analytics_database_url=url, report_pool_size=10)


class Workers:
    """Threads that each do one thing over and over; what one raises, the test raises."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.stop = Flag()
        self.errors: list[BaseException] = []
        self.rounds: dict[str, int] = {}

    def run(self, *acts: Callable[[], Any]) -> None:
        threads = [threading.Thread(target=self.repeat, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        self.stop.set()
        for thread in threads:
            thread.join(60)
        if self.errors:
            raise self.errors[0]

    def repeat(self, act: Callable[[], Any]) -> None:
        while not self.stop.is_set():
            try:
                with self.app.app_context():
                    act()
            except BaseException as error:
                self.errors.append(error)
                self.stop.set()
            self.rounds[act.__name__] = self.rounds.get(act.__name__, 0) + 1


def test_whoever_verifies_meanwhile_finds_nothing(shared: Flask) -> None:
    workers, chance = Workers(shared), random.Random(3)
    admin = api_of(shared)

    def send() -> None:
        now = datetime.now(UTC)
        ages = [timedelta(seconds=chance.choice([-2, -1, 0, 1, 900, 200_000])) for _ in range(30)]
        api_of(shared).batch([an_event(chance.choice(ACTORS), now - age) for age in ages])

    def send_one() -> None:
        answer = api_of(shared).call(
            "POST", "/analytics/events", json=an_event(1, datetime.now(UTC))
        )
        assert answer.status_code in (200, 201), answer.get_json()

    def erase() -> None:
        erasure.erase(db, chance.choice(ACTORS), datetime.now(UTC), for_ever=False)
        time.sleep(0.05)

    def sweep() -> None:
        sweeping.sweep(engines.for_erasures(db), workers.stop)

    def maintain() -> None:
        later = datetime.now(UTC) + timedelta(days=2)
        slots.fold(db, later)
        zone_switch.keep_days_in(db, chance.choice(["UTC", "Asia/Kathmandu"]))
        list(sealing.seal_due(db, datetime.now(UTC)))

    def verify() -> None:
        assert [
            each for each in verification.verify(db, verification.days_to_check(db)) if each
        ] == []
        wrong = dict(sealing.wrong_days(db, verification.days_to_check(db)))
        assert not any(wrong.values())

    workers.run(send, send_one, erase, erase, sweep, sweep, maintain, verify)
    assert min(workers.rounds.values()) >= 1
    with shared.app_context():
        sweeping.sweep(engines.for_erasures(db), Flag())
        verify()
        assert db.session.scalar(select(func.count()).where(Erasure.finished_at.is_(None))) == 0
        kept = db.session.scalar(select(func.count()).select_from(Event))
        db.session.rollback()
    assert admin.get("/analytics/events/by-type")["total"] == kept


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("what", ["users/1/events", "event-types/b"])
def test_presence_that_is_being_taken_away_is_written_anew(
    app: Flask, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """An event comes after the erasure has looked for what stays, and before it commits."""
    admin = api_of(app)
    now = datetime.now(UTC)
    newer = {**an_event(1, now + timedelta(seconds=30)), "event_type": "other"}
    writer = threading.Thread(target=lambda: api_of(app).send(newer))
    after(monkeypatch, erasure, "bits_since", lambda: start(writer))
    after(monkeypatch, event_types, "present", lambda: start(writer))
    admin.send({**newer, "event_id": str(uuid.uuid4()), "user_id": 2})
    admin.send(an_event(1, now))
    assert admin.call("DELETE", f"/analytics/{what}").get_json()["erased"] == 1
    writer.join(30)
    assert [each["user_id"] for each in admin.get("/analytics/events")["items"]] == [1, 2]
    assert not any(verification.verify(db, verification.days_to_check(db)))
    db.session.rollback()


def api_of(app: Flask) -> Api:
    return Api(app.test_client(), user_token(9, "admin"))


def start(writer: threading.Thread) -> None:
    """Gives the writer time to store its event, unless it has to wait."""
    writer.start()
    writer.join(1)


def after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], None]) -> None:
    """Does something each time the function has found its answer, before its caller has it."""
    found = getattr(module, name)

    def then(*given: Any) -> Any:
        answer = found(*given)
        act()
        return answer

    monkeypatch.setattr(module, name, then)


def an_event(user_id: int, at: datetime) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": "ab"[user_id % 2],
        "user_id": user_id,
        "created_at": at.isoformat(),
    }
