"""What has ended has ended everywhere: each way to end, each kind of route, real workers.

Two workers each, no relay. What lasts or can't be undone is refused from the first call on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from chassis.revocation import digest
from tests.integration.users_service import PASSWORD, Api, at_once, users_stack
from tests.servers import BUSY_SECONDS, wait_until
from tests.stack import Stack

NEW = "another horse battery"
PROMISED_SECONDS = 2.0
CALLS = 12  # on a connection each: both workers answer some
numbers = itertools.count()


class Person:
    """An admin, signed in, whose token both workers of analytics have seen."""

    def __init__(self, stack: Stack, root: Person | None = None) -> None:
        self.stack = stack
        self.users, self.analytics = Api(stack.users_url), Api(stack.analytics_url)
        self.name = f"person{next(numbers)}"
        self.id: int = self.users.register(self.name).json()["id"]
        if root:
            root.change(self, role="admin")
        self.tokens = self.users.tokens(self.name)

    def change(self, other: Person, **changed: Any) -> None:
        """Changes an account as an admin."""
        answer = self.call(self.users, "PATCH", f"/users/{other.id}", json=changed)
        assert answer.status_code == 200, answer.text

    def call(self, service: Api, method: str, path: str, **given: Any) -> requests.Response:
        return service.call(method, path, self.tokens["access_token"], **given)

    def elsewhere(self, method: str, path: str, **given: Any) -> None:
        """Calls the users service from another session of the account."""
        answer = self.users.call(
            method, path, self.users.tokens(self.name)["access_token"], **given
        )
        assert answer.status_code == 204, answer.text

    @property
    def session_id(self) -> int:
        items = self.call(self.users, "GET", "/users/me/sessions").json()["items"]
        (found,) = [each["id"] for each in items if each["current"]]
        return int(found)

    def statuses(self, routes: dict[str, Any]) -> set[int]:
        """Returns what analytics answers to each route, a dozen times each."""
        return {
            self.ask(method, path, body)
            for _ in range(CALLS)
            for (method, path), body in ((name.split(" "), body) for name, body in routes.items())
        }

    def ask(self, method: str, path: str, body: Any) -> int:
        given = {} if body is None else {"json": body() if callable(body) else body}
        return self.call(self.analytics, method, path, **given).status_code

    def keys(self) -> list[int]:
        items = self.call(self.analytics, "GET", "/analytics/api-keys").json()["items"]
        return [each["id"] for each in items]


def an_event() -> dict[str, Any]:
    return {"event_type": "page_view", "created_at": datetime.now(UTC).isoformat()}


# The plain event is the lane's, the batch and all else Flask's.
READS: dict[str, Any] = {
    "GET /analytics/summary": None,
    "GET /analytics/events": None,
    "GET /analytics/api-keys": None,
    "POST /analytics/funnel": {"steps": [{"event_type": "a"}, {"event_type": "b"}]},
}
WRITES: dict[str, Any] = {
    "POST /analytics/events": an_event,
    "POST /analytics/events/batch": lambda: {"events": [an_event()]},
    "POST /analytics/annotations": {"day": "2026-05-01", "text": "x"},
}
A_KEY: dict[str, Any] = {"name": "lasting", "scopes": ["events:read"]}


def lasting(root: Person) -> dict[str, Any]:
    """Returns the routes that destroy, or give what outlives the token."""
    return {
        "POST /analytics/api-keys": A_KEY,
        f"DELETE /analytics/api-keys/{root.keys()[0]}": None,
        "DELETE /analytics/users/424242/events": None,
        "DELETE /analytics/visitors/somebody/events": None,
    }


def reset(one: Person, _: Person) -> None:
    assert one.users.call("POST", "/password-reset", json={"email": f"{one.name}@example.com"}).ok
    one.stack.start("relay")  # it sends the mail
    try:
        code = mailed_code(one)
    finally:
        one.stack.stop("relay")
    body = {"token": code, "new_password": NEW}
    assert one.users.call("POST", "/password-reset/confirm", json=body).status_code == 204


def mailed_code(one: Person) -> str:
    folder, found = Path(one.stack.environment["MAIL_DIR"]), []

    def came() -> bool:
        texts = [each.read_text() for each in folder.glob("*") if each.is_file()]
        # Quoted-printable: the code may be broken over lines, and `=` stands as `=3D`.
        plain = [each.replace("=\n", "").replace("=3D", "=") for each in texts]
        found[:] = [m[1] for each in plain if one.name in each
                    if (m := re.search(r"token=([\w-]+)", each))]  # fmt: skip
        return bool(found)

    wait_until("the mail", came)
    return found[0]


def reuse(one: Person, _: Person) -> None:
    spent = one.tokens["refresh_token"]
    child = one.users.refresh(spent).json()["refresh_token"]
    assert one.users.refresh(child).status_code == 200
    assert one.users.refresh(spent).status_code == 400


ENDS: dict[str, Callable[[Person, Person], Any]] = {
    "signed out": lambda one, _: one.call(one.users, "POST", "/logout"),
    "everywhere": lambda one, _: one.elsewhere("POST", "/logout", json={"everywhere": True}),
    "one session": lambda one, _: one.elsewhere("DELETE", f"/users/me/sessions/{one.session_id}"),
    "password changed": lambda one, _: one.elsewhere(
        "PUT", "/users/me/password", json={"current_password": PASSWORD, "new_password": NEW}
    ),
    "password reset": reset,
    "disabled": lambda one, root: root.change(one, is_active=False),
    "deleted": lambda one, root: root.call(root.users, "DELETE", f"/users/{one.id}"),
    "role lowered": lambda one, root: root.change(one, role="viewer"),
    "reuse": reuse,
}


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    parts = ("users", "analytics")
    if request.param == "sqlite":
        with users_stack("sqlite://", parts, workers=2) as running:
            yield running
        return
    make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    with users_stack(make(), parts, workers=2, analytics_database_url=make()) as running:
        yield running


@pytest.fixture(scope="module")
def root(stack: Stack) -> Person:
    """Returns the first account: an admin whom nothing happens to."""
    made = Person(stack)
    assert made.statuses({"POST /analytics/api-keys": A_KEY}) == {201}
    return made


@pytest.mark.parametrize("how", ENDS)
def test_what_has_ended_has_ended_everywhere(stack: Stack, root: Person, how: str) -> None:
    one = Person(stack, root)
    usual = {**READS, **WRITES}
    assert one.statuses(usual) <= {200, 201}
    kept, destructive = root.keys(), lasting(root)
    ENDS[how](one, root)
    assert one.statuses(destructive) == {401}
    assert root.keys() == kept
    wait_until("the refusal", lambda: one.statuses(usual) == {401}, PROMISED_SECONDS + BUSY_SECONDS)
    assert one.statuses({**usual, **destructive}) == {401}
    if how == "role lowered":
        refreshed_as_viewer(one, destructive)


def refreshed_as_viewer(one: Person, destructive: dict[str, Any]) -> None:
    """One refresh and no more: the next token holds at once, with the lower role."""
    one.tokens = one.users.refresh(one.tokens["refresh_token"]).json()
    assert one.tokens["scope"] == "reports:read"
    assert one.statuses({"GET /analytics/summary": None}) == {200}
    assert one.statuses({**destructive, "GET /analytics/events": None}) == {403}


def test_a_restart_in_between_changes_nothing(stack: Stack, root: Person) -> None:
    one = Person(stack, root)
    assert one.statuses(READS) == {200}
    stack.stop("analytics")
    assert one.call(one.users, "POST", "/logout").status_code == 204
    stack.start("analytics")
    assert one.statuses({**READS, **WRITES, **lasting(root)}) == {401}


def test_while_the_list_can_not_be_had(stack: Stack, root: Person) -> None:
    """Reading and storing go on by the last list; what lasts waits; who has none says so."""
    one, ended = Person(stack, root), Person(stack, root)
    key = root.call(root.analytics, "POST", "/analytics/api-keys", json={
        "name": "program", "scopes": ["events:write", "reports:read"]}).json()["key"]  # fmt: skip
    usual, destructive = {**READS, **WRITES}, lasting(root)
    assert one.statuses(usual) <= {200, 201}
    ended.call(ended.users, "POST", "/logout")
    refused = partial(lambda: ended.statuses(READS) == {401})
    wait_until("the refusal", refused, PROMISED_SECONDS + BUSY_SECONDS)
    stack.stop("users")
    try:
        assert one.statuses(usual) <= {200, 201}
        assert one.statuses(destructive) == {503}
        assert ended.statuses(usual) == {401}
        stack.stop("analytics")
        stack.start("analytics")
        # A token is checked with keys that can't be had either, so 503 all the more.
        assert one.statuses({**usual, **destructive}) == {503}
        program = {"tokens": {"access_token": key}, "analytics": one.analytics}
        sender = Person.__new__(Person)
        sender.__dict__ |= program
        assert sender.statuses({"POST /analytics/events": an_event}) == {201}
        assert requests.get(f"{stack.analytics_url}/health", timeout=10).json()["status"] == (
            "degraded"
        )
    finally:
        stack.start("users")
    wait_until("the list", lambda: one.statuses(usual) <= {200, 201})
    assert ended.statuses(READS) == {401}


def test_no_token_slips_between_a_change_and_its_second(stack: Stack, root: Person) -> None:
    """Refreshes and changes of the role at once: a token that says more than is so is listed."""
    one = Person(stack, root)
    for role in ("viewer", "admin") * 8:
        refreshes = [partial(one.users.refresh, one.tokens["refresh_token"]) for _ in range(3)]
        *answers, _ = at_once([*refreshes, partial(root.change, one, role=role)])
        answers = [each.json() for each in answers if each.status_code == 200]
        before = {
            each["sid_sha256"]: datetime.fromisoformat(each["issued_before"]).timestamp()
            for each in requests.get(f"{stack.users_url}/.well-known/revoked", timeout=10).json()[
                "sessions"
            ]
            if each["issued_before"]
        }
        for tokens in answers:
            claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
            holds = claims["iat"] >= before[digest(claims["sid"])]
            assert holds == (claims["role"] == role)
        one.tokens = answers[0]
