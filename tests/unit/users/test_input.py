"""Hostile input: whatever is sent, the answer is a 4xx that says why, and never a 5xx."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import NO_IDS, UNPARSABLE, VALUES
from tests.unit.users.conftest import PASSWORD, Person

BODIES: dict[str, dict[str, Any]] = {
    "POST /users": {
        "email": "new@example.com", "username": "new", "password": PASSWORD,
        "full_name": "New", "invite": "code",
    },
    "POST /login": {"username": "ada", "password": PASSWORD},
    "POST /logout": {"everywhere": False},
    "PATCH /users/me": {
        "email": "x@example.com", "username": "x", "full_name": "x", "current_password": "x",
    },
    "DELETE /users/me": {"current_password": "x"},
    "PUT /users/me/password": {"current_password": "x", "new_password": "y" * 20},
    "PATCH /users/1": {"role": "admin", "is_active": True, "full_name": "x", "username": "root"},
    "DELETE /users/1": {"current_password": "x"},
    "POST /invites": {"email": "x@example.com", "role": "viewer", "expires_in_days": 3},
    "POST /password-reset": {"email": "x@example.com"},
    "POST /password-reset/confirm": {"token": "x", "new_password": "y" * 20},
}  # fmt: skip


@pytest.mark.parametrize("rule", BODIES)
def test_a_hostile_value_in_any_field_is_a_4xx(admin: Person, rule: str) -> None:
    method, path = rule.split()
    for field in BODIES[rule]:
        for value in VALUES:
            body = {**BODIES[rule], field: value}
            answer = admin.call(method, path, json=body)
            assert answer.status_code < 500, (field, value, answer.get_json())
            if answer.status_code == 422:
                assert answer.get_json()["errors"], (field, value)
        admin.tokens = admin.sign_in().get_json() if path == "/logout" else admin.tokens


@pytest.mark.parametrize("rule", BODIES)
def test_a_body_that_does_not_parse_is_a_400_as_a_whole(admin: Person, rule: str) -> None:
    method, path = rule.split()
    json_type = {"Content-Type": "application/json"}
    for data in UNPARSABLE:
        answer = admin.call(method, path, data=data, headers=json_type)
        assert answer.status_code == 400, data[:20]
        assert answer.content_type == "application/problem+json"


def test_a_body_of_another_kind_is_a_415(client: FlaskClient) -> None:
    assert client.post("/users", data="a=b").status_code == 415
    assert client.post("/login", data={"username": "x"}).status_code == 415


def test_a_body_over_the_limit_is_a_413_also_in_chunks(client: FlaskClient) -> None:
    body = json.dumps({"username": "x" * 100_000, "password": "x"}).encode()
    assert client.post("/login", data=body, content_type="application/json").status_code == 413
    chunked = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = client.post(
        "/login", data=body, content_type="application/json", environ_overrides=chunked
    )
    assert answer.status_code == 413


def test_an_id_that_is_none_is_a_404(admin: Person) -> None:
    for user_id in NO_IDS:
        for method in ("GET", "PATCH", "DELETE"):
            assert admin.call(method, f"/users/{user_id}", json={}).status_code in (404, 405)
        assert admin.call("DELETE", f"/users/me/sessions/{user_id}").status_code == 404
        assert admin.call("DELETE", f"/invites/{user_id}").status_code == 404


def test_the_largest_id_is_only_missing(admin: Person) -> None:
    assert admin.call("GET", f"/users/{2**63 - 1}").status_code == 404


QUERIES = [
    "limit=0", "limit=501", "limit=x", "limit=1.5", "limit=", f"limit={2**70}", "cursor=",
    "cursor=%00", "cursor=W10", "cursor=WyJ4Il0", "cursor=WzFlNDAwXQ", "cursor=" + "A" * 2000,
    f"cursor={'WzkyMjMzNzIwMzY4NTQ3NzU4MDhd'}", "cursor=é", "q=%00", "q=%ED%A0%80", "q=%FF",
    "role=owner", "is_active=perhaps", "unknown=1", "limit=1&limit=2", "fields=", "fields=%00",
    "account_id=0", f"account_id={2**63}", "action=%00", "actor_id=x", "[]=1", "a[b]=1", "%00=1",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/users", "/invites", "/audit"])
def test_a_malformed_query_is_no_5xx(admin: Person, path: str) -> None:
    for query in QUERIES:
        status = admin.call("GET", f"{path}?{query}").status_code
        assert status in (200, 422), (query, status)


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "\x7fé\xad" * 200},
        {"X-Request-ID": "x" * 65},
        {"X-Request-ID": "a b\x7f"},
        {"X-Client-Address": "é", "X-Client-Address-Proof": "é"},
        {"X-Client-Address": "not an address", "X-Client-Address-Proof": "0" * 64},
        {"Accept-Encoding": ";q=x,,"},
        {"If-None-Match": '"'},
        {"Content-Encoding": "identity"},
    ],
)
def test_a_strange_header_is_no_5xx(ada: Person, headers: dict[str, str]) -> None:
    body = {"username": "ada", "password": PASSWORD}
    answer = ada.client.post("/login", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"].isascii()


@pytest.mark.parametrize(
    "address",
    ["a@b", "a@b.test", "ada@localhost", "a+b@example.com", '"quoted"@example.com', "ä@example.com",
     "x" * 64 + "@example.com", "a@" + "b" * 63 + ".com", "a@[127.0.0.1]", "a@xn--nxasmq6b.com"],
)  # fmt: skip
def test_an_unusual_address_is_taken_or_refused_and_never_a_5xx(
    client: FlaskClient, address: str
) -> None:
    body = {"email": address, "username": "someone", "password": PASSWORD}
    assert client.post("/users", json=body).status_code in (201, 422)


@pytest.mark.parametrize(
    "address", ["ada@example.com", "ada@b.test", "ada@localhost", "a.b+c@mail.local"]
)
def test_an_address_of_ones_own_server_is_taken(client: FlaskClient, address: str) -> None:
    body = {"email": address, "username": "someone", "password": PASSWORD}
    assert client.post("/users", json=body).get_json()["email"] == address


@pytest.mark.parametrize(
    "name", ["a@b", "a b", ".a", "-", "a/b", "a\u200bb", "a\u202eb", "\u0301a", "x" * 65, "🦆"]
)
def test_a_username_that_could_pass_for_something_else_is_refused(
    client: FlaskClient, name: str
) -> None:
    body = {"email": "x@example.com", "username": name, "password": PASSWORD}
    answer = client.post("/users", json=body)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "username"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    rule=st.sampled_from(sorted(BODIES)),
    values=st.dictionaries(
        st.sampled_from(["email", "username", "password", "full_name", "current_password",
                         "new_password", "token", "role", "is_active", "invite", "everywhere"])
        | st.text(),
        JSON,
    ),
)  # fmt: skip
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_made_up_body_is_a_5xx(app: Flask, rule: str, values: dict[str, Any]) -> None:
    client = app.test_client()
    method, path = rule.split()
    answer = client.open(path, method=method, json=values)
    assert answer.status_code < 500


def test_json_and_forms_may_come_compressed(admin: Person) -> None:
    headers = {"Content-Encoding": "gzip"}
    body = json.dumps({"username": "root", "password": PASSWORD}).encode()
    sent: dict[str, Any] = {"headers": headers, "content_type": "application/json"}
    assert admin.client.post("/login", data=gzip.compress(body), **sent).status_code == 200
    form = f"grant_type=refresh_token&refresh_token={admin.tokens['refresh_token']}".encode()
    sent["content_type"] = "application/x-www-form-urlencoded"
    assert admin.client.post("/token", data=gzip.compress(form), **sent).status_code == 200
    headers["Content-Encoding"] = "br"
    refused = admin.client.post("/token", data=form, **sent)
    assert (refused.status_code, refused.headers["Accept-Encoding"]) == (415, "gzip")
    assert refused.get_json()["error"] == "invalid_request"
