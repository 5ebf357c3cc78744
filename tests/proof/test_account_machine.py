"""Accounts against a small model: register, sign in, refresh, revoke, change, delete, at will."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from werkzeug.test import TestResponse

from users_app import create_app, sessions
from users_app.config import UsersSettings
from users_app.keys import new_key_pem
from users_app.models import db

PEM = new_key_pem()
NAMES = st.sampled_from(["ada", "grace"])
PASSWORDS = st.sampled_from(["a quiet walk at dawn", "nine green bottles"])

PRINTABLE = st.characters(exclude_categories=("C",))


@dataclass
class Person:
    """What the model knows of a living account."""

    id: int
    password: str
    full_name: str | None = None


@dataclass(eq=False)
class Session:
    """One sign-in: its newest tokens, and whether the service should still know it."""

    owner: str
    account_id: int
    access: str
    refresh: str
    living: bool = True
    spent: list[str] = field(default_factory=list)


def new_app() -> Flask:
    app = create_app(
        UsersSettings.model_validate(
            {
                "users_database_url": "sqlite://",
                "secret_key": secrets.token_hex(32),
                "jwt_private_key": PEM,
                "bcrypt_rounds": 4,
                "registration": "open",
                "log_level": "ERROR",
                "api_calls_per_minute": 0,
                "registrations_per_minute": 0,
                "sign_in_failures_per_address": 1_000_000,
            }
        )
    )
    with app.app_context():
        db.create_all()
    return app


class Accounts(RuleBasedStateMachine):
    """Whatever order things are done in, the service answers as the model does."""

    open_sessions = Bundle("open_sessions")

    def __init__(self) -> None:
        super().__init__()
        self.app = new_app()
        self.client: FlaskClient = self.app.test_client()
        self.people: dict[str, Person] = {}
        self.signed_in: list[Session] = []

    def teardown(self) -> None:
        with self.app.app_context():
            db.session.remove()
            db.engine.dispose()

    def call(self, session: Session, method: str, path: str, **given: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {session.access}"}
        return self.client.open(path, method=method, headers=headers, **given)

    def end(self, *, of: str, but: Session | None = None) -> None:
        for each in self.signed_in:
            if each.owner == of and each is not but:
                each.living = False

    @rule(name=NAMES, password=PASSWORDS)
    def register(self, name: str, password: str) -> None:
        body = {"email": f"{name}@example.com", "username": name, "password": password}
        answer = self.client.post("/users", json=body)
        if name in self.people:
            assert answer.status_code == 409
            return
        assert answer.status_code == 201, answer.text
        known = {person.id for person in self.people.values()}
        assert answer.json["id"] not in known | {each.account_id for each in self.signed_in}
        self.people[name] = Person(answer.json["id"], password)

    @initialize()
    def begin(self) -> None:
        self.register("ada", "a quiet walk at dawn")

    @rule(target=open_sessions, name=NAMES, password=st.none() | PASSWORDS)
    def sign_in(self, name: str, password: str | None) -> Any:
        """By the password given, or by the right one."""
        person = self.people.get(name)
        tried = password or (person.password if person else "a guess at something")
        answer = self.client.post("/login", json={"username": name, "password": tried})
        if person is None or person.password != tried:
            assert answer.status_code == 401
            return multiple()
        assert answer.status_code == 200, answer.text
        tokens = answer.json
        made = Session(name, person.id, tokens["access_token"], tokens["refresh_token"])
        self.signed_in.append(made)
        return made

    @rule(session=open_sessions)
    def refresh(self, session: Session) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh}
        answer = self.client.post("/token", data=form)
        assert answer.status_code == (200 if session.living else 400), answer.text
        if session.living:
            session.spent.append(session.refresh)
            session.access = answer.json["access_token"]
            session.refresh = answer.json["refresh_token"]

    @rule(session=open_sessions)
    def reuse_a_long_spent_refresh_token(self, session: Session) -> None:
        """The grandparent of the token in use: its child has been used, so a thief is about."""
        if len(session.spent) < 2:
            return
        form = {"grant_type": "refresh_token", "refresh_token": session.spent[-2]}
        assert self.client.post("/token", data=form).status_code == 400
        session.living = False

    @rule(session=open_sessions)
    def ask_again_for_a_lost_answer(self, session: Session) -> None:
        """The parent of a token that nobody has used yet gives that token again."""
        if not session.spent:
            return
        form = {"grant_type": "refresh_token", "refresh_token": session.spent[-1]}
        answer = self.client.post("/token", data=form)
        assert answer.status_code == (200 if session.living else 400), answer.text
        if session.living:
            assert answer.json["refresh_token"] == session.refresh

    @rule(session=open_sessions, everywhere=st.booleans())
    def sign_out(self, session: Session, everywhere: bool) -> None:
        answer = self.call(session, "POST", "/logout", json={"everywhere": everywhere})
        assert answer.status_code == (204 if session.living else 401)
        if session.living and everywhere:
            self.end(of=session.owner)
        session.living = False

    @rule(session=open_sessions, current=PASSWORDS, new=PASSWORDS)
    def change_password(self, session: Session, current: str, new: str) -> None:
        body = {"current_password": current, "new_password": new}
        answer = self.call(session, "PUT", "/users/me/password", json=body)
        if not session.living:
            assert answer.status_code == 401
        elif current != self.people[session.owner].password:
            assert answer.status_code == 422
        else:
            assert answer.status_code == 204, answer.text
            self.people[session.owner].password = new
            self.end(of=session.owner, but=session)

    @rule(
        session=open_sessions,
        full_name=st.text(st.characters(exclude_categories=("C",)), max_size=9),
    )
    def rename(self, session: Session, full_name: str) -> None:
        answer = self.call(session, "PATCH", "/users/me", json={"full_name": full_name})
        assert answer.status_code == (200 if session.living else 401), answer.text
        if session.living:
            self.people[session.owner].full_name = full_name

    @rule(session=open_sessions, current=PASSWORDS)
    def delete_account(self, session: Session, current: str) -> None:
        answer = self.call(session, "DELETE", "/users/me", json={"current_password": current})
        if not session.living:
            assert answer.status_code == 401
        elif current != self.people[session.owner].password:
            assert answer.status_code == 422
        else:
            assert answer.status_code == 204, answer.text
            del self.people[session.owner]
            self.end(of=session.owner)

    @rule(session=consumes(open_sessions), other=open_sessions)
    def look_at_somebody_else(self, session: Session, other: Session) -> None:
        """A foreign account is answered as a missing one; one's own as it is."""
        if not session.living or session.owner == other.owner or not other.account_id:
            return
        assert self.call(session, "GET", f"/users/{other.account_id}").status_code == 404
        body = {"full_name": "taken over"}
        path = f"/users/{other.account_id}"
        assert self.call(session, "PATCH", path, json=body).status_code == 404
        assert self.call(session, "DELETE", path).status_code == 404

    @invariant()
    def every_living_session_sees_its_own_account_and_no_dead_one_sees_any(self) -> None:
        for session in self.signed_in:
            answer = self.call(session, "GET", "/users/me")
            if not session.living:
                assert answer.status_code == 401
                continue
            person = self.people[session.owner]
            assert answer.status_code == 200
            assert answer.json["id"] == person.id
            assert answer.json["username"] == session.owner
            assert answer.json["full_name"] == person.full_name


EFFORT = settings(
    max_examples=15,
    stateful_step_count=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def test_accounts_answer_as_the_model_does_in_any_order() -> None:
    run_state_machine_as_test(Accounts, settings=EFFORT)


def test_the_model_sees_a_sign_out_that_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault shows that the machine gets where it matters."""
    monkeypatch.setattr(sessions, "end_session", lambda *_: True)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Accounts, settings=settings(EFFORT, phases=[Phase.generate]))
