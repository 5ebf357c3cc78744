"""What the service tells analytics, written in the transaction of each change."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from tests.unit.users.conftest import PASSWORD, Person, register
from users_app import outbox
from users_app.models import OutboxMessage, User, db


def waiting(app: Flask) -> list[OutboxMessage]:
    with app.app_context():
        return list(db.session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)))


def told(app: Flask, person: Person) -> list[tuple[str, dict[str, Any]]]:
    """Returns type and metadata of what waits about the person, after the first sign-in."""
    about = [(row.event_type, row.details) for row in waiting(app) if row.user_id == person.id]
    return about[2:]


def test_registering_and_signing_in_are_told(app: Flask, ada: Person) -> None:
    about = [row for row in waiting(app) if row.user_id == ada.id]
    assert [row.event_type for row in about] == ["user_registered", "user_logged_in"]
    assert about[0].details == {"registration": "open", "role": "viewer"}
    assert about[1].details == {"method": "password"}


def test_an_event_has_a_time_ordered_identity_from_the_start(app: Flask, ada: Person) -> None:
    for row in waiting(app):
        event_id = row.event_id
        assert isinstance(event_id, UUID)
        assert event_id.version == 7
        assert event_id.int >> 80 == int(row.created_at.timestamp() * 1000)


def test_a_token_by_password_is_a_sign_in_and_a_refresh_is_none(app: Flask, ada: Person) -> None:
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    ada.client.post("/token", data=form)
    ada.refresh()
    assert [event for event, _ in told(app, ada)] == ["user_logged_in"]


def test_a_failed_sign_in_is_told_for_an_account_that_exists_only(app: Flask, ada: Person) -> None:
    before = len(waiting(app))
    ada.client.post("/login", json={"username": "nobody", "password": "x"})
    assert len(waiting(app)) == before
    ada.sign_in("wrong password")
    assert told(app, ada) == [("user_login_failed", {"reason": "wrong_password"})]


def test_each_change_is_told_once_by_its_name(app: Flask, admin: Person, ada: Person) -> None:
    path = f"/users/{ada.id}"
    ada.call("PATCH", "/users/me", json={"full_name": "Ada L", "username": "ada"})
    new = {"current_password": PASSWORD, "new_password": "another long one"}
    ada.call("PUT", "/users/me/password", json=new)
    admin.call("PATCH", path, json={"is_active": False})
    admin.call("PATCH", path, json={"is_active": True, "role": "analyst"})
    admin.call("PATCH", path, json={"role": "analyst"})
    assert told(app, ada) == [
        ("user_updated", {"fields": ["full_name"]}),
        ("user_password_changed", {"how": "change"}),
        ("user_deactivated", {}),
        ("user_reactivated", {}),
        ("user_updated", {"fields": ["role"]}),
    ]


def test_signing_out_is_told(app: Flask, ada: Person) -> None:
    ada.call("POST", "/logout", json={"everywhere": True})
    assert told(app, ada) == [("user_logged_out", {"everywhere": True})]


def test_nothing_personal_is_ever_in_the_outbox(app: Flask, admin: Person, ada: Person) -> None:
    new = {"email": "countess@example.com", "full_name": "Lovelace", "current_password": PASSWORD}
    ada.call("PATCH", "/users/me", json=new)
    ada.call("PATCH", "/users/me", json={"username": "byron", "current_password": PASSWORD})
    everything = str([(row.event_type, row.details) for row in waiting(app)]).lower()
    for private in ("countess", "example.com", "lovelace", "byron", "ada", PASSWORD):
        assert private not in everything


def test_a_deletion_drops_what_waits_and_leaves_one_erasure(
    app: Flask, admin: Person, ada: Person
) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada L"})
    ada.call("DELETE", "/users/me", json={"current_password": PASSWORD})
    (row,) = [row for row in waiting(app) if row.user_id == ada.id]
    assert (row.kind, row.event_type, row.details) == ("erasure", "user_deleted", {"by": "self"})


def test_a_change_that_fails_tells_nothing(app: Flask, admin: Person, ada: Person) -> None:
    before = len(waiting(app))
    assert register(ada.client, "ADA", email="other@example.com").status_code == 409
    body = {"username": "root", "current_password": PASSWORD}
    assert ada.call("PATCH", "/users/me", json=body).status_code == 409
    assert len(waiting(app)) == before


def test_the_text_of_a_database_error_holds_no_parameters(app: Flask) -> None:
    with app.app_context():
        with pytest.raises(DBAPIError) as failure:
            db.session.execute(text("SELECT 1 FROM nowhere WHERE x = :x"), {"x": "a-secret"})
        db.session.rollback()
    assert "parameters hidden" in str(failure.value)


def test_a_change_is_not_stored_without_its_event(
    app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the outbox can't be written")

    monkeypatch.setattr(outbox, "put", fail)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert ada.call("PATCH", "/users/me", json={"full_name": "lost"}).status_code == 500
    with app.app_context():
        assert db.session.get_one(User, ada.id).full_name is None
