"""Who may use which route: every rule of the url map stands in one table."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.unit.users.conftest import KEY_PEM, Person
from users_app.keys import key_ring

WHO = ("anonymous", "viewer", "analyst", "admin", "owner", "other", "service")
IN = 0  # let in: whatever the route then says to an empty or unknown body
PUBLIC = (IN,) * 7
SIGNED_IN = (401, IN, IN, IN, IN, IN, 401)
ADMIN = (401, 403, 403, IN, 403, 403, 401)
SELF_OR_ADMIN = (401, 404, 404, IN, IN, 404, 401)

TABLE = {
    "GET /health": PUBLIC,
    "GET /health/live": PUBLIC,
    "GET /metrics": PUBLIC,
    "GET /openapi.json": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /docs.css": PUBLIC,
    "GET /docs.js": PUBLIC,
    "GET /.well-known/jwks.json": PUBLIC,
    "GET /.well-known/revoked": PUBLIC,
    "POST /users": PUBLIC,
    "POST /login": PUBLIC,
    "POST /token": PUBLIC,
    "POST /password-reset": PUBLIC,
    "POST /password-reset/confirm": PUBLIC,
    "POST /logout": SIGNED_IN,
    "GET /users/me": SIGNED_IN,
    "PATCH /users/me": SIGNED_IN,
    "DELETE /users/me": SIGNED_IN,
    "PUT /users/me/password": SIGNED_IN,
    "GET /users/me/export": SIGNED_IN,
    "GET /users/me/sessions": SIGNED_IN,
    "DELETE /users/me/sessions/<id:session_id>": SIGNED_IN,
    "GET /users": ADMIN,
    "GET /users/<id:user_id>": SELF_OR_ADMIN,
    "PATCH /users/<id:user_id>": SELF_OR_ADMIN,
    "DELETE /users/<id:user_id>": SELF_OR_ADMIN,
    "POST /invites": ADMIN,
    "GET /invites": ADMIN,
    "DELETE /invites/<id:invite_id>": ADMIN,
    "GET /audit": ADMIN,
}


def rules(app: Flask) -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def service_token() -> str:
    """Returns one that differs from a user's only in its kind: genuine, for this audience."""
    key = key_ring(KEY_PEM).signing
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": "footfall", "aud": ["users", "analytics"], "sub": "users", "type": "service",
        "jti": "x", "iat": now, "exp": now + 300, "role": "admin", "sid": "1",
        "scope": "accounts:manage events:write events:erase",
    }  # fmt: skip
    return jwt.encode(claims, key.private, "ES256", headers={"kid": key.kid})


@pytest.fixture
def bearers(admin: Person) -> dict[str, str | None]:
    """Returns an access token for each of WHO."""
    people = {name: Person(admin.client, name) for name in ("viewer", "analyst", "owner", "other")}
    admin.call("PATCH", f"/users/{people['analyst'].id}", json={"role": "analyst"})
    tokens = {name: person.tokens["access_token"] for name, person in people.items()}
    found = {"admin": admin.tokens["access_token"], "service": service_token(), **tokens}
    return {"anonymous": None, "owner_id": str(people["owner"].id), **found}


def test_every_route_has_a_row_and_every_row_a_route(app: Flask) -> None:
    assert rules(app) == set(TABLE)


def test_every_route_lets_in_whom_the_table_says(
    client: FlaskClient, bearers: dict[str, str | None]
) -> None:
    wrong = []
    for rule, row in TABLE.items():
        for who, expected in zip(WHO, row, strict=True):
            status = status_of(client, rule, bearers, who)
            let_in = status not in (401, 403) and (row is not SELF_OR_ADMIN or status != 404)
            if (IN if let_in else status) != expected:
                wrong.append(f"{rule} as {who}: {status}")
    assert wrong == []


def status_of(client: FlaskClient, rule: str, bearers: dict[str, str | None], who: str) -> int:
    method, path = rule.split()
    path = path.replace("<id:user_id>", bearers["owner_id"] or "")
    path = path.replace("<id:session_id>", "99999").replace("<id:invite_id>", "99999")
    headers = {"Authorization": f"Bearer {bearers[who]}"} if bearers[who] else {}
    # A field that no route knows: nothing is changed, nobody is signed out.
    body = None if method == "GET" else {"unknown field": 1}
    return client.open(path, method=method, headers=headers, json=body).status_code


def test_a_view_that_declares_nothing_is_closed_to_everybody(app: Flask, admin: Person) -> None:
    app._got_first_request = False
    app.add_url_rule("/forgotten", "forgotten", lambda: "open")
    assert admin.client.get("/forgotten").status_code == 401
    assert admin.call("GET", "/forgotten").status_code == 403


@pytest.mark.parametrize("path", ["/users", "/users/me", "/nowhere"])
def test_an_unknown_method_is_a_405_and_an_unknown_path_a_404(admin: Person, path: str) -> None:
    status = admin.client.open(path, method="BREW").status_code
    assert status == (404 if path == "/nowhere" else 405)
