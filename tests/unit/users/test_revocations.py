"""The list of sessions whose tokens no longer hold: every way to end is on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, insert, select, update

from chassis.database import transaction
from chassis.revocation import digest
from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person
from users_app import resets, revocations
from users_app.models import Revocation, Session, db
from users_app.relay import housekeeping

Listed = dict[str, str | None]
NEW = "another horse battery"
SALT = b"0123456789abcdef"


def listed(client: FlaskClient) -> Listed:
    """Returns what others are told: `issued_before` by digest."""
    found = client.get("/.well-known/revoked").get_json()["sessions"]
    return {each["sid_sha256"]: each["issued_before"] for each in found}


def claims(tokens: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return found


def name(tokens: dict[str, Any]) -> str:
    """Returns what the list calls the session of these tokens."""
    return digest(claims(tokens)["sid"])


def sign_out_one(ada: Person, _: Person) -> None:
    ada.client.delete(
        f"/users/me/sessions/{claims(ada.tokens)['sid']}",
        headers={"Authorization": f"Bearer {ada.sign_in().get_json()['access_token']}"},
    )


def reset(ada: Person, _: Person) -> None:
    with ada.client.application.app_context():
        assert resets.issue(ada.email, SALT)
        db.session.commit()
        body = {"token": resets.code(SALT), "new_password": NEW}
    assert ada.client.post("/password-reset/confirm", json=body).status_code == 204


def change_password_elsewhere(ada: Person, _: Person) -> None:
    body = {"current_password": PASSWORD, "new_password": NEW}
    bearer = {"Authorization": f"Bearer {ada.sign_in().get_json()['access_token']}"}
    answer = ada.client.put("/users/me/password", json=body, headers=bearer)
    assert answer.status_code == 204


def reuse(ada: Person, _: Person) -> None:
    ada.refresh(ada.refresh().get_json()["refresh_token"])
    assert ada.refresh().status_code == 400


ENDS: dict[str, Callable[[Person, Person], Any]] = {
    "signed out": lambda ada, _: ada.call("POST", "/logout"),
    "everywhere": lambda ada, _: ada.call("POST", "/logout", json={"everywhere": True}),
    "one from elsewhere": sign_out_one,
    "password changed": change_password_elsewhere,
    "password reset": reset,
    "disabled": lambda ada, root: root.call("PATCH", f"/users/{ada.id}", json={"is_active": False}),
    "deleted": lambda ada, root: root.call("DELETE", f"/users/{ada.id}"),
    "deleted by oneself": lambda ada, _: ada.call(
        "DELETE", "/users/me", json={"current_password": PASSWORD}
    ),
    "reuse": reuse,
}


@pytest.mark.parametrize("how", ENDS)
def test_every_way_to_end_is_listed(admin: Person, ada: Person, how: str) -> None:
    assert listed(ada.client) == {}
    ENDS[how](ada, admin)
    assert listed(ada.client)[name(ada.tokens)] is None
    assert name(admin.tokens) not in listed(ada.client)


def test_an_expired_session_is_ended_too_while_its_tokens_may_live(
    app: Flask, admin: Person, ada: Person
) -> None:
    with app.app_context():
        db.session.execute(update(Session).values(expires_at=Session.created_at))
        db.session.commit()
        housekeeping.remove_expired()
    root = Person.__new__(Person)
    root.__dict__ |= {**admin.__dict__, "tokens": admin.sign_in().get_json()}
    root.call("PATCH", f"/users/{ada.id}", json={"is_active": False})
    assert name(ada.tokens) in listed(ada.client)


def test_the_session_that_changes_its_password_goes_on(ada: Person) -> None:
    other = ada.sign_in().get_json()
    body = {"current_password": PASSWORD, "new_password": NEW}
    ada.call("PUT", "/users/me/password", json=body)
    assert listed(ada.client) == {name(other): None}


def test_a_role_revokes_what_was_issued_before_it_and_the_next_token_holds(
    admin: Person, ada: Person
) -> None:
    other = ada.sign_in().get_json()
    admin.call("PATCH", f"/users/{ada.id}", json={"role": "analyst"})
    refreshed = ada.refresh().get_json()
    found = listed(ada.client)
    assert set(found) == {name(ada.tokens), name(other)}
    assert not holds(ada.tokens, found)
    assert not holds(other, found)
    assert holds(refreshed, found)
    assert claims(refreshed)["role"] == "analyst"


def holds(tokens: dict[str, Any], found: Listed) -> bool:
    before = datetime.fromisoformat(found[name(tokens)] or "9999-01-01T00:00:00Z")
    return bool(claims(tokens)["iat"] >= before.timestamp())


def test_two_changes_within_a_second_revoke_the_token_made_between(
    admin: Person, ada: Person
) -> None:
    token, between = ada.tokens, []
    for role in ("analyst", "viewer", "admin", "viewer"):
        admin.call("PATCH", f"/users/{ada.id}", json={"role": role})
        assert not holds(token, listed(ada.client))
        token = ada.refresh(token["refresh_token"]).get_json()
        assert holds(token, listed(ada.client))
        between.append(token)
    assert not any(holds(each, listed(ada.client)) for each in between[:-1])
    # Dated ahead, and taken all the same.
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    assert ada.client.get("/users/me", headers=bearer).status_code == 200


def test_a_role_changed_again_and_again_dates_no_token_further_ahead_than_is_taken(
    admin: Person, ada: Person
) -> None:
    """Dated an hour ahead, a token would rise again when its row is no longer kept."""
    answers = [
        admin.call("PATCH", f"/users/{ada.id}", json={"role": role})
        for role in ("analyst", "viewer") * 40
    ]
    assert {answer.status_code for answer in answers} == {200, 429}
    refreshed = ada.refresh().get_json()
    assert claims(refreshed)["iat"] <= time.time() + revocations.MAX_AHEAD_SECONDS + 1
    bearer = {"Authorization": f"Bearer {refreshed['access_token']}"}
    assert ada.client.get("/users/me", headers=bearer).status_code == 200


def test_what_revokes_no_token_is_not_listed(admin: Person, ada: Person) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada L"})
    admin.call("PATCH", f"/users/{ada.id}", json={"role": "viewer", "username": "lovelace"})
    ada.refresh()
    assert listed(ada.client) == {}


def test_a_change_that_is_refused_lists_nothing(admin: Person) -> None:
    assert admin.call("PATCH", f"/users/{admin.id}", json={"role": "viewer"}).status_code == 409
    assert admin.call("DELETE", f"/users/{admin.id}", json={
        "current_password": PASSWORD}).status_code == 409  # fmt: skip
    assert listed(admin.client) == {}


def test_a_row_is_listed_for_the_tokens_life_and_then_removed(app: Flask, ada: Person) -> None:
    ada.call("POST", "/logout")
    with app.app_context():
        (row,) = db.session.scalars(select(Revocation))
        assert 15 * 60 < row.kept_until.timestamp() - time.time() <= 16 * 60
        housekeeping.remove_expired()
        assert len(listed(ada.client)) == 1
        expire(row)
        assert listed(ada.client) == {}
        housekeeping.remove_expired()
        assert db.session.scalars(select(Revocation)).all() == []


def expire(row: Revocation) -> None:
    past = datetime.fromisoformat("2026-01-01T00:00:00Z")
    db.session.execute(update(Revocation).values(kept_until=past))
    db.session.commit()


def test_an_unchanged_list_is_a_304(ada: Person) -> None:
    ada.call("POST", "/logout")
    first = ada.client.get("/.well-known/revoked")
    again = {"If-None-Match": first.headers["ETag"]}
    assert ada.client.get("/.well-known/revoked", headers=again).status_code == 304
    ada.tokens = ada.sign_in().get_json()
    ada.call("POST", "/logout")
    assert ada.client.get("/.well-known/revoked", headers=again).status_code == 200


def test_a_second_stands_for_more_than_the_list_may_hold(
    admin: Person, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [ada.sign_in().get_json() for _ in range(3)]
    monkeypatch.setattr(revocations, "MAX_LISTED", 2)
    for each in (*others, ada.tokens):
        bearer = {"Authorization": f"Bearer {each['access_token']}"}
        assert ada.client.post("/logout", headers=bearer).status_code == 204
        time.sleep(0.001)
    found = ada.client.get("/.well-known/revoked").get_json()
    assert [each["sid_sha256"] for each in found["sessions"]] == [
        name(ada.tokens), name(others[2])
    ]  # fmt: skip
    before = datetime.fromisoformat(found["issued_before"]).timestamp()
    assert all(claims(each)["iat"] < before <= time.time() + 1 for each in others)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Returns a list with an item for each time that the rows were read and written out."""
    made: list[None] = []
    read = revocations.in_force

    def counted() -> Any:
        made.append(None)
        return read()

    monkeypatch.setattr(revocations, "in_force", counted)
    return made


def test_an_unchanged_list_is_read_once_whoever_asks(
    ada: Person, make_app: MakeApp, readings: list[None]
) -> None:
    ada.call("POST", "/logout")
    first = ada.client.get("/.well-known/revoked")
    for known in ("", first.headers["ETag"], 'W/"another"') * 17:
        again = ada.client.get("/.well-known/revoked", headers={"If-None-Match": known})
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.data == (b"" if again.status_code == 304 else first.data)
    assert len(readings) == 1
    assert make_app().test_client().get("/.well-known/revoked").data == first.data
    assert len(readings) == 2, "another app has its own"


NOW = datetime.now(UTC).replace(microsecond=0)


def row(name: str, minute: float, before: int | None = None) -> dict[str, Any]:
    until = NOW + timedelta(minutes=minute)
    return {"digest": digest(name), "issued_before": before, "kept_until": until}


def put(*rows: dict[str, Any]) -> None:
    db.session.execute(insert(Revocation), list(rows))


def change(name: str, **values: Any) -> None:
    named = update(Revocation).where(Revocation.digest == digest(name))
    db.session.execute(named.values(**values))


def later(before: int) -> dict[str, Any]:
    return {"issued_before": before, "kept_until": row("role", 16)["kept_until"]}


def is_over(name: str) -> None:
    change(name, kept_until=NOW - timedelta(minutes=1))


def one_over_and_another_committed_late() -> None:
    is_over("oldest")
    put(row("late", 12))  # of a transaction that began before the newest row's


CHANGES: dict[str, Callable[[], Any]] = {
    "a session ended": lambda: put(row("new", 16)),
    "committed late": lambda: put(row("late", 12)),
    "a role changed": lambda: put(row("new", 16, 7)),
    "a role changed again": lambda: change("role", **later(8)),
    "within a microsecond": lambda: change("role", issued_before=8),
    "and then the session ended": lambda: change("role", issued_before=None),
    "the oldest is over": lambda: is_over("oldest"),
    "one over, another committed late": one_over_and_another_committed_late,
    "one over, a newer one": lambda: (is_over("oldest"), put(row("new", 16))),
    "all over": lambda: db.session.execute(delete(Revocation)),
}  # fmt: skip


@pytest.mark.parametrize("listed_at_most", [10_000, 3, 2])
@pytest.mark.parametrize("how", CHANGES)
def test_a_list_that_changed_is_told_at_once(
    app: Flask, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, how: str, listed_at_most: int
) -> None:
    monkeypatch.setattr(revocations, "MAX_LISTED", listed_at_most)
    commit(app, lambda: put(row("oldest", 10), row("as old", 10), row("role", 13, 7), row("b", 15)))
    told(app)
    commit(app, CHANGES[how])
    assert told(app) == told(make_app())  # which never answered before


def commit(app: Flask, change: Callable[[], Any]) -> None:
    with app.app_context(), transaction(db.session):
        change()


def told(app: Flask) -> tuple[str, bytes]:
    answer = app.test_client().get("/.well-known/revoked")
    return answer.headers["ETag"], answer.data


def test_no_limit_stands_between_the_services(make_app: MakeApp) -> None:
    client = make_app(api_calls_per_minute=1).test_client()
    paths = ["/.well-known/revoked", "/.well-known/jwks.json"] * 3
    assert {client.get(path).status_code for path in paths} == {200}


def test_both_times_are_the_databases(admin: Person, ada: Person, moving_clock: Clock) -> None:
    moving_clock.forward(hours=1)  # this server's clock is wrong
    tokens = ada.sign_in().get_json()
    assert abs(claims(tokens)["iat"] - time.time()) < 30
    admin.call("PATCH", f"/users/{ada.id}", json={"role": "analyst"})
    before = datetime.fromisoformat(listed(ada.client)[name(tokens)] or "")
    assert abs(before.timestamp() - time.time()) < 30
