"""The export of all that is held about me."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from flask import Flask

from chassis.database import transaction
from tests.unit.users.conftest import MakeApp, Person
from tests.unit.users.receiver import StandIn
from users_app import audit
from users_app.export import Document, running
from users_app.models import db
from users_app.origin import COMMAND


@pytest.fixture
def analytics() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.close()


@pytest.fixture
def app(make_app: MakeApp, analytics: StandIn) -> Flask:
    """Returns the app beside a stand-in for analytics."""
    return make_app(analytics_url=analytics.url)


def event(number: int) -> dict[str, object]:
    return {"id": number, "event_type": "page_view", "metadata": {"n": number}}


def test_an_export_holds_everything_and_is_a_download(
    admin: Person, ada: Person, analytics: StandIn
) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada L"})
    ada.client.post("/password-reset", json={"email": ada.email})
    analytics.pages = [
        {"items": [event(1), event(2)], "next_cursor": "more"},
        {"items": [event(3)], "next_cursor": None},
    ]
    answer = ada.call("GET", "/users/me/export")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=footfall-")
    document = json.loads(answer.data)
    assert document["account"] == ada.call("GET", "/users/me").get_json()
    assert [each["id"] for each in document["events"]] == [1, 2, 3]
    assert len(document["sessions"]) == 1
    assert [each["kind"] for each in document["mails"]] == ["password_reset"]
    assert [each["action"] for each in document["audit"]] == [
        "registered",
        "signed_in",
        "updated",
    ]
    waiting = [each["event_type"] for each in document["undelivered_events"]]
    assert waiting == ["user_registered", "user_logged_in", "user_updated"]
    assert "hashed_password" not in document["account"]


def test_an_export_tells_nobody_where_an_admin_is(
    admin: Person, ada: Person, analytics: StandIn
) -> None:
    at_home = {"environ_base": {"REMOTE_ADDR": "203.0.113.7"}, "headers": {"User-Agent": "Home/1"}}
    admin.call("PATCH", f"/users/{ada.id}", json={"role": "analyst"}, **at_home)
    ada.sign_in("a wrong password")
    analytics.pages = [{"items": [], "next_cursor": None}]
    answer = ada.call("GET", "/users/me/export")
    places = {each["action"]: each["address"] for each in answer.get_json()["audit"]}
    assert places["role_changed"] is None
    assert places["signed_in"] == places["sign_in_failed"] == "127.0.0.1"
    assert "203.0.113.7" not in answer.text
    assert "Home/1" not in answer.text


def test_the_events_are_asked_for_with_the_persons_own_token(
    ada: Person, analytics: StandIn
) -> None:
    analytics.pages = [{"items": [], "next_cursor": None}]
    ada.call("GET", "/users/me/export")
    assert analytics.tokens == [f"Bearer {ada.tokens['access_token']}"]
    assert analytics.asked == [f"/analytics/users/{ada.id}/events?limit=500"]


@pytest.mark.parametrize("reply", [(500, {}, {}), (503, {}, {}), (403, {}, {}), (429, {}, {})])
def test_without_analytics_an_export_says_when_to_come_back(
    ada: Person, analytics: StandIn, reply: tuple[int, dict[str, str], object]
) -> None:
    analytics.pages = [{"items": [event(1)], "next_cursor": "more"}]
    analytics.decide = lambda _method, path, _document: reply if "cursor" in path else None
    answer = ada.call("GET", "/users/me/export")
    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_token_that_analytics_no_longer_takes_wants_a_refresh(
    ada: Person, analytics: StandIn
) -> None:
    analytics.decide = lambda *_: (401, {}, {})
    answer = ada.call("GET", "/users/me/export")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert not running


@pytest.mark.parametrize("page", [{}, {"items": 5, "next_cursor": None}, ["x"]])
def test_an_answer_that_makes_no_sense_is_no_export(
    ada: Person, analytics: StandIn, page: object
) -> None:
    analytics.decide = lambda *_: (200, {}, page)
    assert ada.call("GET", "/users/me/export").status_code == 503


def test_nothing_but_the_export_needs_analytics(make_app: MakeApp) -> None:
    ada = Person(make_app(analytics_url="http://127.0.0.1:9").test_client(), "ada")
    assert ada.call("PATCH", "/users/me", json={"full_name": "Ada"}).status_code == 200
    assert ada.call("GET", "/users/me/export").status_code == 503
    assert ada.client.get("/health").status_code == 200


def test_one_export_of_an_account_and_two_of_all_run_at_a_time(
    admin: Person, ada: Person, analytics: StandIn
) -> None:
    analytics.pages = [{"items": [], "next_cursor": None}]
    mine = Document(ada.id)
    refused = ada.call("GET", "/users/me/export")
    assert (refused.status_code, analytics.asked) == (429, [])
    assert "one at a time" in refused.get_json()["detail"]
    another = Document(98)
    full = admin.call("GET", "/users/me/export")
    assert (full.status_code, analytics.asked) == (503, [])
    assert min(int(each.headers["Retry-After"]) for each in (refused, full)) >= 1
    mine.close()
    again = Document(ada.id)
    mine.close()
    assert running == {98, ada.id}, "who is closed twice frees nobody else's place"
    again.close()
    another.close()
    assert ada.call("GET", "/users/me/export").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
def test_a_place_is_free_once_the_answer_is_over(
    ada: Person, analytics: StandIn, method: str, encoding: str
) -> None:
    many = [event(number) for number in range(500)]
    analytics.decide = lambda *_: (200, {}, {"items": many, "next_cursor": None})
    headers = {"Accept-Encoding": encoding}
    answer = ada.call(method, "/users/me/export", headers=headers, buffered=False)
    assert answer.status_code == 200
    if method == "GET":
        assert running == {ada.id}, "while it is being read"
    answer.close()
    assert running == set()


def test_an_export_ends_when_its_client_has_gone(ada: Person, analytics: StandIn) -> None:
    analytics.pages = [{"items": [], "next_cursor": None}]
    server, client = socket.socketpair()
    client.close()
    ada.call("GET", "/users/me/export", environ_overrides={"gunicorn.socket": server})
    assert (analytics.asked, running) == ([], set())
    server.close()


def test_entries_about_an_account_are_held_some_at_a_time(
    ada: Person, analytics: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROWS_AT_ONCE", 10)
    analytics.decide = lambda *_: (200, {}, {"items": [], "next_cursor": None})
    with ada.client.application.test_request_context():
        with transaction(db.session):
            for number in range(100):
                audit.record("updated", ada.id, COMMAND, number=number)
        held = [len(db.session.identity_map) for _ in audit.entries_about(ada.id)]
    assert (len(held), max(held) < 30) == (102, True)
    document = ada.call("GET", "/users/me/export").get_json()
    numbers = [each["details"].get("number") for each in document["audit"]]
    assert numbers[2:] == list(range(100))


def test_an_export_says_how_fresh_a_replica_was(ada: Person, analytics: StandIn) -> None:
    page = {"items": [event(2)], "next_cursor": None}
    analytics.pages = [
        {"items": [event(1)], "next_cursor": "more", "as_of": "2026-05-01T10:00:00Z"},
        {**page, "as_of": "2026-05-01T10:00:07Z"},
        page,
    ]
    document = ada.call("GET", "/users/me/export").get_json()
    assert document["as_of"] == "2026-05-01T10:00:00Z"
    assert "as_of" not in ada.call("GET", "/users/me/export").get_json()
