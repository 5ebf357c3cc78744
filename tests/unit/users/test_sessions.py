"""Refresh families: rotated, given again when lost, ended when copied; sessions and signing out."""

from __future__ import annotations

import base64
import struct

import pytest
from flask import Flask
from sqlalchemy import select, text, update

from tests.unit.users.conftest import Clock, MakeApp, Person
from users_app import sessions
from users_app.models import Session, User, db
from users_app.relay import housekeeping


def test_a_refresh_gives_the_next_token_and_a_working_access_token(ada: Person) -> None:
    answer = ada.refresh()
    assert answer.status_code == 200
    fresh = answer.get_json()
    assert fresh["refresh_token"] != ada.tokens["refresh_token"]
    assert fresh["access_token"] != ada.tokens["access_token"]
    ada.tokens = fresh
    assert ada.call("GET", "/users/me").status_code == 200
    assert ada.refresh().status_code == 200


def test_a_lost_answer_is_given_again_for_a_minute(ada: Person, moving_clock: Clock) -> None:
    first = ada.refresh().get_json()["refresh_token"]
    moving_clock.forward(seconds=59)
    assert ada.refresh().get_json()["refresh_token"] == first
    moving_clock.forward(seconds=2)
    assert ada.refresh().status_code == 400


def test_a_reused_token_ends_its_family(ada: Person, moving_clock: Clock) -> None:
    child = ada.refresh().get_json()["refresh_token"]
    moving_clock.forward(seconds=61)
    assert ada.refresh().get_json()["error"] == "invalid_grant"
    assert ada.refresh(child).status_code == 400, "the end was committed though the call failed"
    assert ada.call("GET", "/users/me").status_code == 401


def test_an_answer_lost_long_after_the_sign_in_is_given_again_too(
    ada: Person, moving_clock: Clock
) -> None:
    moving_clock.forward(hours=1)
    first = ada.refresh().get_json()["refresh_token"]
    moving_clock.forward(seconds=60)
    assert ada.refresh().get_json()["refresh_token"] == first


def made_up(session_id: int, generation: int, mac: bytes = bytes(32)) -> str:
    octets = struct.pack(">QQ", session_id, generation) + mac
    return "rt_" + base64.urlsafe_b64encode(octets).decode()


def test_a_token_is_taken_only_as_it_was_given(ada: Person) -> None:
    token = ada.tokens["refresh_token"]
    octets = base64.urlsafe_b64decode(token.removeprefix("rt_"))
    longer, shorter = octets + b"x", octets[:-1]
    for other in (
        token.removeprefix("rt_"),
        "rt_" + token,
        token[:9] + "\n" + token[9:],
        token[:9] + "!" + token[9:],
        *("rt_" + base64.urlsafe_b64encode(each).decode() for each in (longer, shorter, b"")),
        made_up(2**63, 0),
        made_up(1, 2**63),
        made_up(2**64 - 1, 2**64 - 1),
        made_up(2**63 - 1, 2**63 - 1),
        "rt_é",
    ):
        answer = ada.refresh(other)
        assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_grant"), other
    assert ada.refresh().status_code == 200


def test_an_account_that_is_not_active_gets_nowhere_with_a_session_that_lives(
    app: Flask, ada: Person
) -> None:
    with app.app_context():
        db.session.execute(update(User).where(User.id == ada.id).values(is_active=False))
        db.session.commit()
    assert ada.call("GET", "/users/me").status_code == 401
    assert ada.refresh().status_code == 400


def test_a_session_vouches_for_its_own_account_alone(
    app: Flask, admin: Person, ada: Person, moving_clock: Clock
) -> None:
    (session,) = ada.call("GET", "/users/me/sessions").get_json()["items"]
    with app.app_context():
        mine = sessions.account_of_session(ada.id, session["id"])
        assert mine is not None
        assert mine.id == ada.id
        assert sessions.account_of_session(admin.id, session["id"]) is None
        moving_clock.forward(days=30)
        assert sessions.account_of_session(ada.id, session["id"]) is None
        assert sessions.sessions_of(ada.id) == []


def test_a_session_is_listed_with_its_last_use(ada: Person, moving_clock: Clock) -> None:
    moving_clock.forward(minutes=1)
    ada.sign_in()
    moving_clock.forward(minutes=1)
    form = {"grant_type": "refresh_token", "refresh_token": ada.tokens["refresh_token"]}
    ada.client.post("/token", data=form, environ_base={"REMOTE_ADDR": "198.51.100.7"})
    newest, used = ada.call("GET", "/users/me/sessions").get_json()["items"]
    assert (newest["current"], used["current"]) == (False, True)
    assert used["address"] == "198.51.100.7"
    assert used["last_used_at"] > newest["last_used_at"]


def test_a_parent_is_a_copy_as_soon_as_its_child_was_used(ada: Person) -> None:
    child = ada.refresh().get_json()["refresh_token"]
    grandchild = ada.refresh(child).get_json()["refresh_token"]
    assert ada.refresh().status_code == 400
    assert ada.refresh(grandchild).status_code == 400


def test_the_end_of_one_family_leaves_the_others_alone(ada: Person) -> None:
    other = ada.sign_in().get_json()["refresh_token"]
    ada.refresh(ada.refresh().get_json()["refresh_token"])
    assert ada.refresh().status_code == 400
    assert ada.refresh(other).status_code == 200


def test_a_forged_or_foreign_mac_ends_nothing(admin: Person, ada: Person) -> None:
    token = ada.tokens["refresh_token"]
    forged = token[:-10] + ("A" * 8 if token[-10:-2] != "A" * 8 else "B" * 8) + token[-2:]
    assert ada.refresh(forged).status_code == 400
    assert ada.refresh().status_code == 200


def test_a_family_ends_at_its_absolute_expiry_however_often_it_is_used(
    ada: Person, moving_clock: Clock
) -> None:
    token = ada.tokens["refresh_token"]
    for _ in range(29):
        moving_clock.forward(days=1)
        token = ada.refresh(token).get_json()["refresh_token"]
    moving_clock.forward(days=1)
    assert ada.refresh(token).status_code == 400


def test_a_session_lives_to_the_moment_of_its_expiry(moving_clock: Clock, ada: Person) -> None:
    moving_clock.forward(days=30, milliseconds=-1)
    assert ada.call("GET", "/users/me").status_code == 200
    moving_clock.forward(milliseconds=1)
    assert ada.call("GET", "/users/me").status_code == 401
    assert ada.refresh().status_code == 400
    ada.tokens = ada.sign_in().get_json()
    assert len(ada.call("GET", "/users/me/sessions").get_json()["items"]) == 1


def test_a_session_may_have_any_number(app: Flask, ada: Person) -> None:
    with app.app_context():
        highest = {"id": 2**62, "sequence": "sessions_id_seq"}
        if db.engine.dialect.name == "sqlite":
            db.session.execute(update(Session).values(id=Session.id + highest["id"]))
        else:
            db.session.execute(text("SELECT setval(:sequence, :id)"), highest)
        db.session.commit()
    token = ada.sign_in().get_json()["refresh_token"]
    assert ada.refresh(token).status_code == 200


def test_no_refresh_token_is_stored(app: Flask, ada: Person) -> None:
    token = ada.refresh().get_json()["refresh_token"]
    with app.app_context():
        rows = db.session.execute(select(Session.__table__)).all()
    assert rows
    assert token not in str(rows)
    assert token.removeprefix("rt_")[20:40] not in str(rows)


def test_signing_out_ends_this_session_only(ada: Person) -> None:
    other = ada.sign_in().get_json()["refresh_token"]
    assert ada.call("POST", "/logout").status_code == 204
    assert ada.call("GET", "/users/me").status_code == 401
    assert ada.refresh().status_code == 400
    assert ada.refresh(other).status_code == 200


def test_signing_out_everywhere_ends_all(ada: Person) -> None:
    other = ada.sign_in().get_json()["refresh_token"]
    assert ada.call("POST", "/logout", json={"everywhere": True}).status_code == 204
    assert ada.refresh().status_code == 400
    assert ada.refresh(other).status_code == 400


def test_the_first_account_signs_out_everywhere_too(admin: Person) -> None:
    admin.call("POST", "/logout", json={"everywhere": True})
    assert admin.refresh().status_code == 400


@pytest.mark.parametrize("body", [{"everywhere": "yes"}, {"everywhere": None}, {"session": 1}])
def test_a_malformed_sign_out_ends_nothing(ada: Person, body: dict[str, object]) -> None:
    assert ada.call("POST", "/logout", json=body).status_code == 422
    assert ada.call("GET", "/users/me").status_code == 200


def test_a_session_too_many_ends_the_one_unused_longest(make_app: MakeApp) -> None:
    client = make_app(sessions_per_account=3).test_client()
    root, ada = Person(client, "root"), Person(client, "ada")
    second = ada.sign_in().get_json()["refresh_token"]
    third = ada.sign_in().get_json()["refresh_token"]
    ada.tokens["refresh_token"] = ada.refresh().get_json()["refresh_token"]
    fourth = ada.sign_in().get_json()["refresh_token"]
    assert ada.refresh(second).status_code == 400, "unused for longer than the first"
    assert [ada.refresh(each).status_code for each in (third, fourth)] == [200, 200]
    assert ada.refresh().status_code == 200
    assert len(ada.call("GET", "/users/me/sessions").get_json()["items"]) == 3
    assert root.refresh().status_code == 200, "each account has its own"
    for person in (root, root, root, ada):
        person.sign_in()
    assert len(ada.call("GET", "/users/me/sessions").get_json()["items"]) == 3


def test_sessions_are_listed_with_where_they_are(ada: Person) -> None:
    ada.client.post(
        "/login",
        json={"username": "ada", "password": "correct horse battery"},
        headers={"User-Agent": "Browser/1.0 \x7f(test)" + "x" * 300},
        environ_base={"REMOTE_ADDR": "2001:db8::1"},
    )
    found = ada.call("GET", "/users/me/sessions").get_json()["items"]
    assert [each["current"] for each in found] == [False, True]
    assert found[0]["address"] == "2001:db8::1"
    assert found[0]["user_agent"].startswith("Browser/1.0 (test)xxx")
    assert len(found[0]["user_agent"]) == 200


def test_one_session_is_signed_out_by_its_id(ada: Person) -> None:
    other = ada.sign_in().get_json()["refresh_token"]
    sessions = ada.call("GET", "/users/me/sessions").get_json()["items"]
    (other_id,) = [each["id"] for each in sessions if not each["current"]]
    assert ada.call("DELETE", f"/users/me/sessions/{other_id}").status_code == 204
    assert ada.refresh(other).status_code == 400
    assert ada.call("DELETE", f"/users/me/sessions/{other_id}").status_code == 404
    assert len(ada.call("GET", "/users/me/sessions").get_json()["items"]) == 1


def test_anothers_session_can_not_be_signed_out(admin: Person, ada: Person) -> None:
    (session,) = ada.call("GET", "/users/me/sessions").get_json()["items"]
    assert admin.call("DELETE", f"/users/me/sessions/{session['id']}").status_code == 404
    assert ada.refresh().status_code == 200


def test_the_sessions_of_a_deleted_account_are_gone(admin: Person, ada: Person) -> None:
    admin.call("DELETE", f"/users/{ada.id}")
    assert ada.refresh().status_code == 400
    assert ada.call("GET", "/users/me").status_code == 401


def test_a_reuse_is_in_the_audit_trail(admin: Person, ada: Person) -> None:
    (session,) = ada.call("GET", "/users/me/sessions").get_json()["items"]
    ada.refresh(ada.refresh().get_json()["refresh_token"])
    ada.refresh()
    newest = admin.call("GET", f"/audit?account_id={ada.id}").get_json()["items"][0]
    assert newest["action"] == "refresh_token_reused"
    assert newest["details"] == {"session_id": session["id"]}


def test_dead_sessions_are_removed_in_the_end(app: Flask, ada: Person, moving_clock: Clock) -> None:
    ada.call("POST", "/logout")
    with app.app_context():
        before = len(db.session.scalars(select(Session)).all())
        housekeeping.remove_expired()
        assert len(db.session.scalars(select(Session)).all()) == before
        moving_clock.forward(days=1, minutes=1)
        housekeeping.remove_expired()
        assert len(db.session.scalars(select(Session)).all()) == before - 1
