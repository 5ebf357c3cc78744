"""The users service in process, on each engine, its schema made by the migrations."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.test import TestResponse

import users_app
from users_app import clock, create_app
from users_app.config import UsersSettings
from users_app.keys import new_key_pem
from users_app.models import db

PASSWORD = "correct horse battery"
KEY_PEM = new_key_pem()
SECRET = secrets.token_hex(32)
MIGRATIONS = sorted(
    path.stem for path in (Path(users_app.__file__).parent / "migrations/versions").glob("0*.py")
)

MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(database_url: str) -> Iterator[MakeApp]:
    """Yields a function that makes the app on an empty, migrated database."""
    made: list[Flask] = []

    def make(**settings: Any) -> Flask:
        app = create_app(users_settings(database_url, **settings))
        if made:
            share_database(made[0], app)
        else:
            with app.app_context():
                migrate()
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def share_database(first: Flask, second: Flask) -> None:
    """Gives the second app the first one's engine: one in memory can't be opened twice."""
    with first.app_context():
        engine = db.engine
    with second.app_context():
        cast("dict[str | None, Engine]", db.engines)[None] = engine


def users_settings(database_url: str, **settings: Any) -> UsersSettings:
    given: dict[str, Any] = {
        "users_database_url": database_url,
        "secret_key": SECRET,
        "jwt_private_key": KEY_PEM,
        "bcrypt_rounds": 4,
        "registration": "open",
        "first_account_is_admin": True,
        "hashing_slots": 4,
        "public_url": "https://footfall.test",
        "log_level": "ERROR",
        **settings,
    }
    return UsersSettings.model_validate(given)


def migrate() -> None:
    with (
        db.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        for name in MIGRATIONS:
            import_module(f"users_app.migrations.versions.{name}").upgrade()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """Returns the app with open registration; its first account is admin."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Returns a client without credentials."""
    return app.test_client()


class Person:
    """A registered, signed-in account and its calls."""

    def __init__(self, client: FlaskClient, name: str, **address: str) -> None:
        self.client = client
        self.name = name
        self.email = f"{name}@example.com"
        self.account = register(client, name).get_json()
        self.id: int = self.account["id"]
        self.tokens: dict[str, Any] = self.sign_in().get_json()

    def sign_in(self, password: str = PASSWORD) -> TestResponse:
        """Signs in once more; the tokens of the first sign-in stay in use."""
        return self.client.post("/login", json={"username": self.name, "password": password})

    def call(self, method: str, path: str, **given: Any) -> TestResponse:
        """Calls with this person's access token."""
        bearer = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        headers = {**bearer, **given.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **given)

    def refresh(self, token: str | None = None) -> TestResponse:
        """Uses a refresh token, by default the one of the first sign-in."""
        return refresh(self.client, token or self.tokens["refresh_token"])


def register(client: FlaskClient, name: str, **changed: Any) -> TestResponse:
    """Registers `name`@example.com."""
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD, **changed}
    return client.post("/users", json=body)


def mentions(what: object, name: str) -> bool:
    """Whether the name stands there as a word: hex digits alone may spell some names."""
    return re.search(rf"\b{name}\b", str(what), re.IGNORECASE) is not None


def refresh(client: FlaskClient, token: str) -> TestResponse:
    """Uses a refresh token."""
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return client.post("/token", data=form)


@pytest.fixture
def admin(client: FlaskClient) -> Person:
    """Returns the first account, an admin."""
    return Person(client, "root")


@pytest.fixture
def ada(admin: Person) -> Person:
    """Returns a viewer."""
    return Person(admin.client, "ada")


class Clock:
    """Time that a test moves on."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **by: float) -> None:
        """Moves on by so many seconds, minutes or days."""
        self.moment += timedelta(**by)


@pytest.fixture
def moving_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Returns the clock that the service reads, stopped at the present."""
    stopped = Clock(clock.now())
    monkeypatch.setattr(clock, "now", stopped)
    return stopped
