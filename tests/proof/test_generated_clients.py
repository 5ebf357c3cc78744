"""A client that openapi-python-client makes of either document works against the platform."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.operations.programs import output
from tests.proof.documents import NAMES
from tests.stack import BIN, ROOT, Stack, must

CONFIG = ROOT / "ops" / "openapi-python-client.yaml"
PERSON = {"username": "ada", "password": "correct horse battery"}


class Client:
    """A generated package, and one of its clients signed in at the service."""

    def __init__(self, package: str, url: str) -> None:
        self.package = package
        self.url = url
        self.http: Any = self.module("client").Client(base_url=url)

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{name}")

    def sign_in(self, token: str) -> None:
        made: Any = self.module("client").AuthenticatedClient
        self.http = made(base_url=self.url, token=token)

    def model(self, name: str, **given: Any) -> Any:
        return getattr(self.module("models"), name).from_dict(given)

    def call(self, name: str, *path: Any, **given: Any) -> Any:
        """Returns what a call answers, read into the client's own models."""
        return self.module(f"api.{name}").sync(*path, client=self.http, **given)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=("users", "analytics")) as running:
        yield running


@pytest.fixture(scope="module")
def clients(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """Yields both services' clients, generated without a warning."""
    folder = tmp_path_factory.mktemp("clients")
    urls = {"users": stack.users_url, "analytics": stack.analytics_url}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{BIN}:{os.environ['PATH']}")  # it looks for ruff there
        patched.syspath_prepend(folder)
        yield {name: generated(name, url, folder) for name, url in urls.items()}


def generated(name: str, url: str, folder: Path) -> Client:
    document = folder / f"{name}.json"
    document.write_bytes(must("GET", f"{url}/openapi.json").content)
    package = f"generated_{name}"
    said = output(
        BIN / "openapi-python-client", "generate", "--path", document, "--config", CONFIG,
        "--meta", "none", "--output-path", folder / package, "--fail-on-warning", cwd=folder,
    )  # fmt: skip
    assert "WARNING" not in said.upper()
    return Client(package, url)


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_there_and_can_be_imported(
    clients: dict[str, Client], name: str
) -> None:
    document = must("GET", f"{clients[name].url}/openapi.json").json()
    calls = [call for methods in document["paths"].values() for call in methods.values()]
    assert calls
    for call in calls:
        assert clients[name].module(f"api.{call['tags'][0]}.{call['operationId']}").sync_detailed


def test_the_clients_sign_in_send_and_read(clients: dict[str, Client]) -> None:
    users, analytics = clients["users"], clients["analytics"]
    account = users.model("Registration", **PERSON, email="ada@example.com")
    assert users.call("accounts.register", body=account).role == "admin"
    signed_in = users.call("sessions.login", body=users.model("SignIn", **PERSON))
    assert signed_in.user.username == "ada"
    users.sign_in(signed_in.access_token)
    analytics.sign_in(signed_in.access_token)
    assert [each.current for each in users.call("me.list_my_sessions").items] == [True]
    batch = analytics.model("BatchIn", events=[event("order"), event("order"), {"event_type": "x"}])
    stored = analytics.call("events.store_batch", body=batch)
    assert (stored.accepted, stored.rejected) == (3, 0)
    lines = analytics.module("types").File(payload=BytesIO(b'{"event_type": "order"}\n{"a": 1}\n'))
    stored = analytics.call("events.store_batch", body=lines)
    assert (stored.accepted, stored.rejected) == (1, 1)
    assert [each.field for each in stored.results[0].errors]
    counts = analytics.call("reports.count_by_type")
    assert {each.event_type: each.count for each in counts.items} == {"order": 3, "x": 1}
    page = analytics.call("events.list_events", event_type=["order"], limit=2)
    assert (len(page.items), page.items[0].event_type) == (2, "order")
    onward = analytics.call("events.list_events", event_type=["order"], cursor=page.next_cursor)
    assert len(onward.items) == 1
    assert page.items[0].created_at <= datetime.now(UTC).isoformat()
    refused = analytics.call("events.list_events", limit=0)
    assert (refused.status, refused.errors[0].field) == (422, "limit")
    reports_by_a_token_of_the_form(users, analytics)


def event(kind: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"event_type": kind, "user_id": 7, "created_at": now, "metadata": {"plan": "team"}}


def reports_by_a_token_of_the_form(users: Client, analytics: Client) -> None:
    form = users.model("TokenForm", grant_type="password", **PERSON)
    tokens = users.call("tokens.issue_tokens", body=form)
    again = users.model("TokenForm", grant_type="refresh_token", refresh_token=tokens.refresh_token)
    analytics.sign_in(users.call("tokens.issue_tokens", body=again).access_token)
    summary = analytics.call("reports.get_summary", compare="previous")
    assert (summary.total_events, summary.unique_users) == (4, 1)
    steps = [{"event_type": "order"}, {"event_type": "x"}]
    funnel = analytics.call("behaviour.get_funnel", body=analytics.model("FunnelIn", steps=steps))
    assert [each.users for each in funnel.steps] == [1, 0]
    export = analytics.call("export.export_events").payload.read()
    assert export.count(b"\n") == 4
    assert users.call("me.export_me").account.username == "ada"
    assert users.call("keys.get_jwks").keys[0].alg == "ES256"


def test_without_the_settings_only_lines_of_json_are_left_out(stack: Stack, tmp_path: Path) -> None:
    document = tmp_path / "analytics.json"
    document.write_bytes(must("GET", f"{stack.analytics_url}/openapi.json").content)
    done = subprocess.run(
        [BIN / "openapi-python-client", "generate", "--path", document, "--meta", "none"],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert re.findall(r"WARNING parsing (.*) within", said) == ["POST /analytics/events/batch"]
    assert "Unsupported content type application/x-ndjson" in said
