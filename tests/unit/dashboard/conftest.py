"""The dashboard in process, over the real services, which a requests adapter calls as WSGI."""

from __future__ import annotations

import io
import re
import secrets
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from flask.testing import FlaskClient
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from sqlalchemy import create_engine
from werkzeug.test import Client, TestResponse

import analytics_app
import dashboard_app
import users_app
from analytics_app.config import AnalyticsSettings
from chassis.revocation import PATH, RevocationList
from chassis.standing import RemoteStanding
from dashboard_app import reports
from dashboard_app.config import DashboardSettings
from users_app.config import UsersSettings
from users_app.keys import key_ring, new_key_pem

PASSWORD = "correct horse battery"
USERS, ANALYTICS = "http://users.test", "http://analytics.test"
KEY_PEM = new_key_pem()
PROOF = secrets.token_hex(32)


class WsgiAdapter(BaseAdapter):
    """Sends requests straight into a WSGI app; while `down` it refuses to connect."""

    def __init__(self, app: Flask) -> None:
        super().__init__()
        self.app = app
        self.down = False
        self.calls: list[str] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        if self.down:
            raise requests.ConnectionError("down")
        self.calls.append(f"{request.method} {request.path_url}")
        parts = urlsplit(request.url or "")
        headers = [each for each in request.headers.items() if each[0] != "Accept-Encoding"]
        answer = Client(self.app).open(
            f"{parts.path}?{parts.query}", method=request.method,
            headers=headers, data=request.body, base_url=USERS,
        )  # fmt: skip
        return as_response(request, answer)

    def close(self) -> None:
        return None


class AskedEachTime(RevocationList):
    """An app's list of ended sessions, asked for at each question and not by a thread."""

    def __init__(self, apps: RevocationList, users: WsgiAdapter) -> None:
        super().__init__(apps.url.removesuffix(PATH))
        self.session.mount("http://", users)
        self.tried.set()

    def follow(self) -> None:
        self.refresh()


def standing_at(users: WsgiAdapter) -> RemoteStanding:
    """Returns what analytics knows of sessions, asked of the users service in process."""
    standing = RemoteStanding(USERS)
    standing.list = AskedEachTime(standing.list, WsgiAdapter(users.app))
    standing.users.session.mount("http://", users)
    return standing


def as_response(request: requests.PreparedRequest, answer: TestResponse) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status_code
    response.headers = CaseInsensitiveDict(answer.headers.items())
    response.raw = io.BytesIO(answer.get_data())
    response.encoding = "utf-8"
    response.request, response.url = request, request.url or ""
    return response


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with both databases, migrated and empty."""
    folder = tmp_path_factory.mktemp("databases")
    for app in ("users", "analytics"):
        engine = create_engine(f"sqlite:///{folder}/{app}.db")
        with (
            engine.begin() as connection,
            Operations.context(MigrationContext.configure(connection)),
        ):
            for path in sorted(Path(f"{app}_app/migrations/versions").glob("0*.py")):
                import_module(f"{app}_app.migrations.versions.{path.stem}").upgrade()
        engine.dispose()
    return folder


@dataclass
class Platform:
    """All three apps; `users` and `analytics` can be taken down."""

    app: Flask
    users: WsgiAdapter
    analytics: WsgiAdapter
    folder: Path
    people: dict[str, Person] = field(default_factory=dict)

    def visitor(self) -> Browser:
        """Returns a browser nobody has signed in with."""
        return Browser(self.app.test_client())

    def person(self, name: str, role: str = "viewer") -> Person:
        """Returns someone signed in with that role; the first to ask also makes the admin."""
        if "root" not in self.people:
            self.people["root"] = Person(self, "root", None)
        if name not in self.people:
            self.people[name] = Person(self, name, role)
        return self.people[name]

    @property
    def admin(self) -> Person:
        """The first account, an admin."""
        return self.person("root")

    def call(
        self, service: str, method: str, path: str, token: str | None = None, **given: Any
    ) -> Any:
        """Calls a service directly and returns the JSON; the call must succeed."""
        adapter: WsgiAdapter = getattr(self, service)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = Client(adapter.app).open(path, method=method, headers=headers, **given)
        assert answer.status_code < 300, answer.get_data(as_text=True)
        return answer.get_json(silent=True)

    def send(self, *events: dict[str, Any]) -> None:
        """Stores events as the admin would."""
        token = self.admin.token
        body = {"events": list(events)}
        answer = self.call("analytics", "POST", "/analytics/events/batch", token, json=body)
        assert answer["accepted"] == len(events), answer
        reports.rankings.values.clear()
        reports.pulses.values.clear()


@dataclass
class Browser:
    """A browser as far as pages without scripts need one."""

    client: FlaskClient

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={"Sec-Fetch-Site": "none", **headers})

    def fragment(self, path: str, **headers: str) -> TestResponse:
        """Asks as htmx does."""
        return self.client.get(path, headers={"HX-Request": "true", **headers})

    def submit(self, path: str, form: dict[str, Any], page: str | None = None) -> TestResponse:
        """Fills in the form of a page and sends it."""
        token = csrf_of(self.get(page or path).text)
        headers = {"Sec-Fetch-Site": "same-origin", "Referer": f"http://localhost{page or path}"}
        return self.client.post(path, data={"csrf_token": token, **form}, headers=headers)

    def sign_in(self, name: str, password: str = PASSWORD, **form: str) -> TestResponse:
        return self.submit("/login", {"username": name, "password": password, **form})


class Person(Browser):
    """A browser with someone signed in, and their access token for direct calls."""

    def __init__(self, platform: Platform, name: str, role: str | None) -> None:
        super().__init__(platform.app.test_client())
        self.name = name
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        self.id: int = platform.call("users", "POST", "/users", json=body)["id"]
        if role not in (None, "viewer"):
            platform.call(
                "users", "PATCH", f"/users/{self.id}", platform.admin.token, json={"role": role}
            )
        credentials = {"username": name, "password": PASSWORD}
        self.token: str = platform.call("users", "POST", "/login", json=credentials)["access_token"]
        assert self.sign_in(name).status_code == 303


def csrf_of(html: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', html)
    assert found, html[:500]
    return found[1]


class Words(HTMLParser):
    """Gathers what a reader sees, without scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipping = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.skipping = tag in ("script", "template")

    def handle_endtag(self, tag: str) -> None:
        self.skipping = False

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.parts.append(data)


def text_of(answer: TestResponse) -> str:
    """Returns the words of a page, single spaces between them."""
    words = Words()
    words.feed(answer.text)
    return " ".join(" ".join(words.parts).split())


def event(kind: str, hours_ago: float = 1, **given: Any) -> dict[str, Any]:
    """Returns an event as /batch takes it."""
    created = datetime.now(UTC) - timedelta(hours=hours_ago)
    return {
        "event_type": kind,
        "created_at": created.isoformat(),
        "event_id": str(uuid.uuid4()),
        **given,
    }


MakePlatform = Callable[..., Platform]
Services = dict[str, dict[str, Any]]


@pytest.fixture
def make_platform(empty_databases: Path, tmp_path: Path) -> Iterator[MakePlatform]:
    """Yields a function that makes all three apps, on databases of this test alone.

    It takes settings of the dashboard, and in `services` those of the other two by name.
    """
    made: list[Platform] = []

    def make(services: Services | None = None, **settings: Any) -> Platform:
        folder = tmp_path / str(len(made))
        shutil.copytree(empty_databases, folder)
        made.append(new_platform(folder, settings, services or {}))
        return made[-1]

    yield make
    for platform in made:
        dispose(platform)


def new_platform(folder: Path, settings: dict[str, Any], services: Services) -> Platform:
    secret, quiet = secrets.token_hex(32), {"log_level": "ERROR", "api_calls_per_minute": 0}
    users = users_app.create_app(
        UsersSettings.model_validate(
            {
                "users_database_url": f"sqlite:///{folder}/users.db", "secret_key": secret,
                "jwt_private_key": KEY_PEM, "bcrypt_rounds": 4, "registration": "open",
                "first_account_is_admin": True, "client_address_secret": PROOF,
                "registrations_per_minute": 0, **quiet, **services.get("users", {}),
            }
        )
    )  # fmt: skip
    adapters = {"users": WsgiAdapter(users)}
    analytics = analytics_app.create_app(
        AnalyticsSettings.model_validate(
            {"analytics_database_url": f"sqlite:///{folder}/analytics.db",
             "client_address_secret": PROOF, "secret_key": secret, **quiet,
             **services.get("analytics", {})}
        ),
        keys=key_ring(KEY_PEM),
        standing=standing_at(adapters["users"]),
    )  # fmt: skip
    app = dashboard_app.create_app(
        DashboardSettings.model_validate(
            {
                "users_url": USERS, "analytics_url": ANALYTICS, "secret_key": secret,
                "client_address_secret": PROOF, "session_dir": folder / "sessions",
                "public_url": "http://localhost", **quiet, **settings,
            }
        )
    )  # fmt: skip
    adapters["analytics"] = WsgiAdapter(analytics)
    for name, adapter in adapters.items():
        app.extensions[name].api.session.mount("http://", adapter)
    followed = app.extensions["revocations"]
    app.extensions["revocations"] = AskedEachTime(followed, adapters["users"])
    users.extensions["users"].analytics.session.mount("http://", adapters["analytics"])
    for cache in (reports.rankings, reports.pulses):
        cache.values.clear()
    return Platform(app, adapters["users"], adapters["analytics"], folder)


def dispose(platform: Platform) -> None:
    from analytics_app.models import db as analytics_db
    from users_app.models import db as users_db

    for app, db in ((platform.users.app, users_db), (platform.analytics.app, analytics_db)):
        with app.app_context():
            db.session.remove()
            for engine in db.engines.values():
                engine.dispose()


@pytest.fixture
def platform(make_platform: MakePlatform) -> Platform:
    """Returns the three apps with open registration."""
    return make_platform()


@pytest.fixture
def admin(platform: Platform) -> Person:
    """Returns the first account, an admin, signed in."""
    return platform.admin
