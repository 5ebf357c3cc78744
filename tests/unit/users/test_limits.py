"""Rate limits and CORS."""

from __future__ import annotations

import pytest

from tests.unit.users.conftest import PASSWORD, MakeApp, Person, register

HOME, ELSEWHERE = {"REMOTE_ADDR": "192.0.2.1"}, {"REMOTE_ADDR": "192.0.2.2"}


def test_an_address_may_call_so_often_a_minute(make_app: MakeApp) -> None:
    client = make_app(api_calls_per_minute=3).test_client()
    for _ in range(3):
        assert client.get("/openapi.json", environ_base=HOME).status_code == 200
    refused = client.get("/openapi.json", environ_base=HOME)
    assert refused.status_code == 429
    assert refused.content_type == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert client.get("/openapi.json", environ_base=ELSEWHERE).status_code == 200


def test_every_route_is_counted_and_health_and_metrics_are_not(make_app: MakeApp) -> None:
    client = make_app(api_calls_per_minute=2).test_client()
    for path in ("/users/me", "/openapi.json"):
        assert client.get(path).status_code != 429
    assert client.get("/users").status_code == 429
    assert client.get("/health").status_code == 200
    assert client.get("/health/live").status_code == 200
    assert client.get("/metrics").status_code == 200


def test_an_account_is_counted_wherever_it_calls_from(make_app: MakeApp) -> None:
    app = make_app(api_calls_per_minute=6)
    ada = Person(app.test_client(), "ada")
    statuses = [
        ada.call("GET", "/users/me", environ_base={"REMOTE_ADDR": f"192.0.2.{n}"}).status_code
        for n in range(8)
    ]
    assert statuses == [200] * 6 + [429] * 2


def test_registrations_are_limited_by_address(make_app: MakeApp) -> None:
    client = make_app(registrations_per_minute=2).test_client()
    for name in ("ann", "ben"):
        assert register(client, name).status_code == 201
    refused = register(client, "cat")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert client.post("/login", json={"username": "ann", "password": PASSWORD}).status_code == 200


def test_mails_for_forgotten_passwords_are_limited_too(make_app: MakeApp) -> None:
    client = make_app(registrations_per_minute=1).test_client()
    body = {"email": "ada@example.com"}
    assert client.post("/password-reset", json=body).status_code == 202
    assert client.post("/password-reset", json=body).status_code == 429


def test_whoever_is_signed_in_has_no_further_mails_than_the_address(make_app: MakeApp) -> None:
    app = make_app(registrations_per_minute=3)
    people = [Person(app.test_client(), name) for name in ("ann", "ben")]
    body = {"email": "ada@example.com"}
    statuses = [each.call("POST", "/password-reset", json=body).status_code for each in people * 2]
    assert statuses == [202, 202, 202, 429]


def test_the_limit_at_token_is_told_in_its_form(make_app: MakeApp) -> None:
    client = make_app(api_calls_per_minute=1).test_client()
    client.post("/token")
    refused = client.post("/token")
    assert refused.status_code == 429
    assert refused.get_json()["error"] == "temporarily_unavailable"
    assert int(refused.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_only_the_configured_origins_may_read_answers(make_app: MakeApp, method: str) -> None:
    client = make_app(cors_origins="https://app.test").test_client()
    for origin, allowed in (("https://app.test", "https://app.test"), ("https://evil.test", None)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = client.open("/users/me", method=method, headers=headers)
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_without_configured_origins_no_cors_header_is_sent(make_app: MakeApp) -> None:
    answer = make_app().test_client().get("/health", headers={"Origin": "https://app.test"})
    assert "Access-Control" not in str(answer.headers)
