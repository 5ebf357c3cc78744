"""The analytics service in process, on each engine, its schema made by the migrations."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jwt
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

import analytics_app
from analytics_app import create_app, keys
from analytics_app.config import AnalyticsSettings
from analytics_app.models import db
from chassis.auth import Caller
from chassis.errors import Unauthenticated, Unavailable

KEY = ec.generate_private_key(ec.SECP256R1())
SCOPES = {
    "viewer": "reports:read",
    "analyst": "reports:read events:read",
    "admin": "reports:read events:read events:write events:erase keys:manage accounts:manage",
}
MIGRATIONS = sorted(
    path.stem
    for path in (Path(analytics_app.__file__).parent / "migrations/versions").glob("0*.py")
)

MakeApp = Callable[..., Flask]


class Keys:
    """A key source that knows the tests' one key."""

    def key(self, kid: str) -> Any | None:
        return KEY.public_key() if kid == "test" else None


class Standing:
    """Sessions as a test would have them: all stand, until it says otherwise.

    `revoked` has, by `sid`, the second before which tokens no longer hold; `roles` the present
    role of users that is not their token's (None: the session has ended); `down` what the
    users service is.
    """

    def __init__(self) -> None:
        self.revoked: dict[str, float] = {}
        self.roles: dict[int, str | None] = {}
        self.down = False
        self.confirmed: list[int | None] = []

    def revokes(self, session_id: str, issued_at: int) -> bool:
        return issued_at < self.revoked.get(session_id, 0)

    def confirm(self, caller: Caller) -> None:
        if self.down:
            raise Unavailable("down")
        self.confirmed.append(caller.user_id)
        if self.roles.get(caller.user_id or 0, caller.role) != caller.role:
            raise Unauthenticated()

    def check(self) -> None:
        if self.down:
            raise Unavailable("down")


def token(**claims: Any) -> str:
    """Returns a signed token with these claims; one given as None is left out."""
    now = int(time.time())
    given = {
        "iss": "footfall",
        "aud": ["users", "analytics"],
        "jti": uuid.uuid4().hex,
        "iat": now,
        "exp": now + 900,
        **claims,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(kept, KEY, algorithm="ES256", headers={"kid": "test"})


def user_token(user_id: int, role: str = "viewer", **claims: Any) -> str:
    """Returns the access token of a user."""
    given = {"sub": str(user_id), "sid": "s", "type": "access", "role": role}
    return token(**{**given, "scope": SCOPES[role], **claims})


def service_token(**claims: Any) -> str:
    """Returns the users service's own token."""
    given = {"sub": "users", "type": "service", "scope": "events:write events:erase"}
    return token(**{**given, **claims})


class Api:
    """Calls the service as one caller."""

    def __init__(self, client: FlaskClient, credential: str | None) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {credential}"} if credential else {}

    def get(self, path: str, **query: Any) -> Any:
        """Returns the JSON of a GET that must succeed."""
        answer = self.call("GET", path, query_string=query)
        assert answer.status_code == 200, answer.get_json()
        return answer.get_json()

    def send(self, event: dict[str, Any], status: int = 201) -> Any:
        """Posts one event and returns the JSON of the answer, which must have the status."""
        answer = self.call("POST", "/analytics/events", json=event)
        assert answer.status_code == status, answer.get_json()
        return answer.get_json()

    def batch(self, events: list[Any]) -> Any:
        """Posts a batch and returns the JSON of the answer, which must be a 200."""
        answer = self.call("POST", "/analytics/events/batch", json={"events": events})
        assert answer.status_code == 200, answer.get_json()
        return answer.get_json()

    def call(self, method: str, path: str, **given: Any) -> TestResponse:
        headers = {**self.headers, **given.pop("headers", {})}
        with self.client.application.app_context():  # a fresh one: `g` is a request's own
            return self.client.open(path, method=method, headers=headers, **given)


@pytest.fixture
def standing() -> Standing:
    """Returns what is known of sessions, for a test to change."""
    return Standing()


@pytest.fixture
def make_app(
    database_url: str, standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeApp]:
    """Yields a function that makes the app; its database is empty and migrated at first."""
    made: list[Flask] = []
    migrated: set[str] = set()
    secret = secrets.token_hex(32)
    # In memory all threads have one connection, and one transaction.
    monkeypatch.setattr(keys, "in_background", lambda work: work())

    def make(**settings: Any) -> Flask:
        given: dict[str, Any] = {
            "analytics_database_url": database_url,
            "secret_key": secret,
            "log_level": "ERROR",
            "api_calls_per_minute": 0,
            "ingest_timeout_ms": 10_000,  # the machine may be busy: no test here is about it
            **settings,
        }
        app = create_app(AnalyticsSettings.model_validate(given), keys=Keys(), standing=standing)
        with app.app_context():
            url = given["analytics_database_url"]
            if url not in migrated:
                migrate()
            migrated.add(url)
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.session.remove()
            for engine in db.engines.values():
                engine.dispose()


def migrate() -> None:
    with (
        db.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        for name in MIGRATIONS:
            import_module(f"analytics_app.migrations.versions.{name}").upgrade()


def partitions() -> int:
    """Returns how many partitions the app's PostgreSQL has for events."""
    found: int = db.session.execute(
        text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
    ).scalar_one()
    db.session.rollback()
    return found


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    """Yields the app, with its context pushed."""
    made = make_app()
    with made.app_context():
        yield made


@pytest.fixture
def admin(app: Flask) -> Api:
    """Calls as an admin."""
    return Api(app.test_client(), user_token(1, "admin"))


@pytest.fixture
def analyst(app: Flask) -> Api:
    """Calls as an analyst."""
    return Api(app.test_client(), user_token(2, "analyst"))


@pytest.fixture
def viewer(app: Flask) -> Api:
    """Calls as a viewer, user 3."""
    return Api(app.test_client(), user_token(3))


@pytest.fixture
def users_service(app: Flask) -> Api:
    """Calls as the users service."""
    return Api(app.test_client(), service_token())
