"""What /metrics, /health and the documents say."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from tests.unit.users.conftest import Clock, Person
from users_app import clock
from users_app.models import OutboxMessage, db


def gauges(client: FlaskClient) -> dict[str, float]:
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("outbox_")}


def test_the_outbox_is_measured(app: Flask, ada: Person, moving_clock: Clock) -> None:
    with app.app_context():
        first = update(OutboxMessage).where(OutboxMessage.id == 1)
        db.session.execute(first.values(dead_at=clock.now()))
        db.session.commit()
    moving_clock.forward(seconds=100)
    found = gauges(ada.client)
    assert (found["outbox_pending"], found["outbox_dead"]) == (3, 1)
    assert found["outbox_oldest_age_seconds"] >= 100


def test_metrics_and_health_survive_the_loss_of_the_database(
    app: Flask, client: FlaskClient
) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("DROP TABLE outbox"))
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert b"outbox_pending" not in answer.data
    assert client.get("/health").status_code == 200


def test_requests_are_counted_by_route_and_not_by_path(ada: Person) -> None:
    for number in range(5):
        ada.call("GET", f"/users/{number + 100}")
    text_of = ada.client.get("/metrics").get_data(as_text=True)
    assert 'url_rule="/users/<id:user_id>"' in text_of
    assert "/users/100" not in text_of


def test_health_names_each_dependency(client: FlaskClient) -> None:
    body = client.get("/health").get_json()
    assert body["service"] == "users"
    assert body["checks"] == {"database": "ok"}
    assert body["status"] == "ok"


def test_the_openapi_document_is_valid_and_complete(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    OpenAPIV31SpecValidator(document).validate()
    described = set(document["paths"])
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] in ("static", "docs", "chassis"):
            continue
        assert rule.rule.replace("<id:", "{").replace(">", "}") in described


def test_a_database_that_is_down_is_a_503(
    app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(db.session, "scalar", down)
    monkeypatch.setattr(db.session, "execute", down)
    answer = ada.call("GET", "/users/me")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    form = {"grant_type": "password", "username": "ada", "password": "x"}
    token = ada.client.post("/token", data=form)
    assert (token.status_code, token.get_json()["error"]) == (503, "temporarily_unavailable")
