"""API keys: shown once, kept as digests, dead soon after their deletion."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from analytics_app import keys
from analytics_app.models import ApiKey, db
from analytics_app.services import services
from chassis.errors import Unavailable
from tests.stand_ins import replace_in
from tests.unit.analytics.conftest import Api, MakeApp

PATH = "/analytics/api-keys"


def new_key(admin: Api, *scopes: str, **given: Any) -> Any:
    body = {"name": "importer", "scopes": list(scopes), **given}
    answer = admin.call("POST", PATH, json=body)
    assert answer.status_code == 201, answer.get_json()
    return answer.get_json()


def test_a_key_is_shown_once_and_kept_as_a_digest(app: Flask, admin: Api) -> None:
    made = new_key(admin, "events:write", expires_in_days=30)
    assert set(made) == {
        "id", "name", "scopes", "key", "prefix", "created_by", "created_at", "expires_at",
        "last_used_at",
    }  # fmt: skip
    assert made["key"].startswith(made["prefix"])
    assert (len(made["prefix"]), made["created_by"], made["last_used_at"]) == (10, 1, None)
    expires = datetime.fromisoformat(made["expires_at"])
    assert expires - datetime.fromisoformat(made["created_at"]) == timedelta(days=30)
    listed = admin.get(PATH)["items"]
    assert listed == [{name: made[name] for name in made if name != "key"}]
    kept = db.session.execute(text("SELECT * FROM api_keys")).all()
    assert made["key"] not in str(kept)


def test_a_key_does_what_its_scopes_say(app: Flask, admin: Api) -> None:
    writer = Api(app.test_client(), new_key(admin, "events:write")["key"])
    writer.send({"event_type": "user_logged_in", "user_id": 5})
    assert writer.call("GET", "/analytics/summary").status_code == 403
    reader = Api(app.test_client(), new_key(admin, "events:read")["key"])
    assert reader.get("/analytics/users/5/events")["items"]
    assert reader.get("/analytics/summary")["total_events"] == 1
    reader.send({"event_type": "a"}, 403)
    viewer = Api(app.test_client(), new_key(admin, "reports:read")["key"])
    assert viewer.get("/analytics/summary")["total_events"] == 1
    assert viewer.call("GET", "/analytics/events").status_code == 403


def test_a_deleted_key_is_dead_within_five_seconds(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_key(admin, "reports:read")
    holder = Api(app.test_client(), made["key"])
    holder.get("/analytics/summary")
    assert admin.call("DELETE", f"{PATH}/{made['id']}").status_code == 204
    later = time.monotonic() + 5
    replace_in(monkeypatch, time, "analytics_app.keys", monotonic=lambda: later)
    answer = holder.call("GET", "/analytics/summary")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert admin.call("DELETE", f"{PATH}/{made['id']}").status_code == 404


def test_a_new_key_may_be_used_by_more_callers_at_once_than_there_are_connections(
    app: Flask, admin: Api
) -> None:
    if db.engine.dialect.name == "sqlite":
        pytest.skip("embedded, in memory, there is one connection for all")
    made = new_key(admin, "reports:read")
    ring = services().keys
    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            ring.known.clear()
            holders = list(pool.map(ring.holder, [made["key"]] * 6))
            assert [each.subject for each in holders if each] == [str(made["id"])] * 6


def test_an_expired_key_is_nobodys(app: Flask, admin: Api) -> None:
    made = new_key(admin, "reports:read", expires_in_days=1)
    db.session.execute(update(ApiKey).values(expires_at=datetime.now(UTC)))
    db.session.commit()
    holder = Api(app.test_client(), made["key"])
    assert holder.call("GET", "/analytics/summary").status_code == 401
    assert db.session.scalars(select(ApiKey)).one().name == "importer"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["events:read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["keys:manage"]},
        {"name": "x", "scopes": ["events:erase"]},
        {"name": "x" * 101, "scopes": ["events:read"]},
        {"name": "x\x00", "scopes": ["events:read"]},
        {"name": "x\ny", "scopes": ["events:read"]},
        {"name": "x", "scopes": ["events:read"], "expires_in_days": 0},
        {"name": "x", "scopes": ["events:read"], "expires_in_days": 10**9},
        {"name": "x", "scopes": "events:read"},
        {"scopes": ["events:read"], "name": "x", "extra": 1},
    ],
)
def test_a_key_that_makes_no_sense_is_a_422(admin: Api, body: dict[str, Any]) -> None:
    assert admin.call("POST", PATH, json=body).status_code == 422


def test_keys_are_listed_by_pages(admin: Api) -> None:
    made = [new_key(admin, "reports:read", name=f"key {n}")["id"] for n in range(5)]
    first = admin.get(PATH, limit=3)
    rest = admin.get(PATH, limit=3, cursor=first["next_cursor"])
    assert [key["id"] for key in first["items"] + rest["items"]] == made
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "credential", ["ffk_", "ffk_" + "x" * 43, "nonsense", "a.b", "ffk_" + "x" * 9000]
)
def test_made_up_keys_are_nobodys(app: Flask, credential: str) -> None:
    assert Api(app.test_client(), credential).call("GET", "/analytics/summary").status_code == 401


class Looks:
    """A ring whose look-ups are counted, with a clock that a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ring = services().keys
        self.count, self.now = 0, 1000.0
        self.down: Exception | None = None
        self.look_up = self.ring.look_up
        monkeypatch.setattr(self.ring, "look_up", self.counted)
        modules = "analytics_app.keys", "analytics_app.outage"
        replace_in(monkeypatch, time, *modules, monotonic=lambda: self.now)

    def counted(self, name: str) -> Any:
        self.count += 1
        if self.down:
            raise self.down
        return self.look_up(name)


@pytest.fixture
def looks(admin: Api, monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_a_key_is_looked_up_once_in_four_seconds_whether_or_not_it_exists(
    admin: Api, looks: Looks
) -> None:
    for number, key in enumerate((new_key(admin, "reports:read")["key"], "ffk_" + "x" * 43), 1):
        found = [looks.ring.holder(key) for _ in range(5)]
        assert (looks.count, {each is not None for each in found}) == (number, {number == 1})
    looks.now += 3.9
    looks.ring.holder(key)
    assert looks.count == 2
    looks.now += 0.1
    looks.ring.holder(key)
    assert looks.count == 3


def test_what_can_be_no_key_is_not_looked_up(looks: Looks) -> None:
    for text_ in ("ffk", "xffk_" + "x" * 43, "ffk_" + "x" * 97):
        assert looks.ring.holder(text_) is None
    assert looks.count == 0
    looks.ring.holder("ffk_" + "x" * 96)
    assert looks.count == 1


def test_made_up_keys_fill_no_memory(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "REMEMBERED", 3)
    for number in range(10):
        looks.ring.holder(f"ffk_{number}")
        assert len(looks.ring.known) <= 3
    assert looks.count == 10
    looks.ring.holder("ffk_9")
    assert looks.count == 10, "the last ones are remembered all the same"


def test_while_the_database_is_away_only_whoever_was_known_comes_in(
    admin: Api, looks: Looks
) -> None:
    known, unknown = new_key(admin, "reports:read")["key"], "ffk_unknown"
    for key in (known, unknown):
        looks.ring.holder(key)
    looks.now += 60
    looks.down = OperationalError("SELECT", {}, Exception("no connection"))
    for _ in range(3):  # the first waits in vain, and the others are told at once
        with pytest.raises(Unavailable):
            looks.ring.holder(unknown)
        with pytest.raises(Unavailable):
            looks.ring.holder("ffk_new")
    assert looks.count == 3
    for ask in (looks.ring.holder, looks.ring.remembered):
        assert ask(known) is not None
    looks.now += 1
    assert looks.ring.remembered(known) is None
    looks.down = None
    assert looks.ring.holder(known) is not None


def test_the_fast_path_believes_a_key_as_long_as_flask_does(admin: Api, looks: Looks) -> None:
    key = new_key(admin, "reports:read")["key"]
    assert looks.ring.remembered(key) is None
    looks.ring.holder(key)
    looks.now += 3.9
    assert looks.ring.remembered(key) is not None
    assert looks.ring.remembered("ffk_" + "x" * 43) is None
    looks.now += 0.1
    assert looks.ring.remembered(key) is None


def test_a_key_is_dead_at_its_very_end_and_not_before(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_key(admin, "reports:read", expires_in_days=1)
    end = datetime.fromisoformat(made["expires_at"])
    for moment, lives in ((end - timedelta(microseconds=1), True), (end, False)):
        clock = type("Clock", (datetime,), {"now": staticmethod(lambda _zone, m=moment: m)})
        monkeypatch.setattr(keys, "datetime", clock)
        services().keys.known.clear()
        assert (services().keys.holder(made["key"]) is not None) == lives


def test_the_last_page_of_keys_names_no_next_one(admin: Api) -> None:
    for number in range(3):
        new_key(admin, "reports:read", name=f"key {number}")
    page = admin.get(PATH, limit=3)
    assert (len(page["items"]), page["next_cursor"]) == (3, None)


def test_the_document_names_the_refusal_of_one_key_too_many(admin: Api) -> None:
    operation = admin.get("/openapi.json")["paths"][PATH]["post"]
    assert {"201", "401", "403", "409", "422"} <= operation["responses"].keys()


def test_a_use_is_noted_once_a_minute(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_key(admin, "reports:read")
    holder = Api(app.test_client(), made["key"])
    assert last_used(admin) is None
    holder.get("/analytics/summary")
    first = last_used(admin)
    assert first is not None
    services().keys.known.clear()  # as 4 s later
    holder.get("/analytics/summary")
    assert last_used(admin) == first
    monkeypatch.setattr(keys, "USE_NOTED_EVERY", timedelta(0))
    services().keys.known.clear()
    holder.get("/analytics/summary")
    assert last_used(admin) > first


def test_a_use_is_noted_of_the_key_alone_and_by_one_of_two_workers(app: Flask, admin: Api) -> None:
    used, other = new_key(admin, "reports:read"), new_key(admin, "reports:read")
    noted = []
    for _ in range(2):  # neither has seen what the other writes
        services().keys.uses.note(used["id"], None)
        noted.append({each["id"]: each["last_used_at"] for each in admin.get(PATH)["items"]})
    assert noted[0] == noted[1]
    assert noted[0][used["id"]] is not None
    assert noted[0][other["id"]] is None


def test_a_use_that_could_not_be_noted_is_logged(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(log_level="WARNING")
    with app.app_context(), capture_logs() as lines:
        monkeypatch.setattr(services().keys.uses, "engine", None)
        services().keys.uses.note(7, None)
    assert [(each["log_level"], each["key_id"], each["reason"]) for each in lines] == [
        ("warning", 7, "AttributeError")
    ]


def last_used(admin: Api) -> Any:
    return admin.get(PATH)["items"][0]["last_used_at"]


def test_a_refused_key_is_not_noted_as_used(app: Flask, admin: Api) -> None:
    made = new_key(admin, "reports:read", expires_in_days=1)
    db.session.execute(update(ApiKey).values(expires_at=datetime.now(UTC)))
    db.session.commit()
    assert Api(app.test_client(), made["key"]).call("GET", "/analytics/summary").status_code == 401
    assert last_used(admin) is None


@pytest.mark.parametrize("trouble", ["no thread", "no database", "another is being written"])
def test_a_use_that_can_not_be_noted_fails_no_request(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    made = new_key(admin, "reports:read")
    uses = services().keys.uses
    if trouble == "no thread":
        monkeypatch.setattr(keys, "in_background", no_thread)
    elif trouble == "no database":
        monkeypatch.setattr(uses, "engine", None)
    else:
        uses.writing.acquire()
    Api(app.test_client(), made["key"]).get("/analytics/summary")
    assert last_used(admin) is None
    assert uses.writing.locked() == (trouble == "another is being written")


def no_thread(_work: Callable[[], None]) -> None:
    raise RuntimeError("can't start new thread")


def test_a_key_stays_listed_with_who_made_it_once_it_has_expired(admin: Api) -> None:
    new_key(admin, "reports:read", expires_in_days=1)
    db.session.execute(update(ApiKey).values(expires_at=datetime.now(UTC)))
    db.session.commit()
    (listed,) = admin.get(PATH)["items"]
    assert listed["created_by"] == 1


def test_what_is_noted_of_a_key_is_noted_beside_the_request() -> None:
    done = Event()
    keys.in_background(done.set)
    assert done.wait(10)
