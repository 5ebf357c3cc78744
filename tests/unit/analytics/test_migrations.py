"""The schema: up, down with rows in it, and equal to the models where Alembic can compare."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import inspect, select, text

from analytics_app.intake import FROM_USERS_SERVICE
from analytics_app.models import AuditEntry, Count, DayCount, EventType, db
from analytics_app.schemas.events import MAX_USER_ID
from tests.unit.analytics.conftest import Api

# Made by hand, each engine's own way.
BY_DIALECT = {"events", "counts", "counts_day", "presence", "tombstones", "bookkeeping"}


def is_comparable(thing: Any, name: str | None, kind: str, *_: Any) -> bool:
    table = (name if kind == "table" else thing.table.name) or ""
    return table not in BY_DIALECT and not table.startswith("events_")


def step(name: str, direction: str) -> None:
    module = import_module(f"analytics_app.migrations.versions.{name}")
    with (
        db.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        getattr(module, direction)()


def test_models_and_migrations_agree(app: Flask) -> None:
    with db.engine.connect() as connection:
        options = {"include_object": is_comparable}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, db.metadata) == []


def test_the_audit_goes_down_and_up_again(app: Flask, admin: Api) -> None:
    admin.call("GET", "/analytics/export")
    step("0003_audit", "downgrade")
    assert "audit" not in inspect(db.engine).get_table_names()
    step("0003_audit", "upgrade")
    admin.call("GET", "/analytics/export")
    assert len(db.session.scalars(select(AuditEntry)).all()) == 1
    db.session.rollback()


def limits_down() -> None:
    step("0006_erasing_types", "downgrade")
    step("0004_limits", "downgrade")


def test_the_limits_go_down_and_up_again_with_the_types_there_are(app: Flask, admin: Api) -> None:
    moment = "2026-05-01T10:00:00Z"
    for name in ("a", "b"):
        admin.send({"event_type": name, "created_at": moment, "event_id": str(uuid.uuid4())})
    limits_down()
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE counts SET count = 0 WHERE event_type = 'b'"))
        connection.execute(text("UPDATE counts_day SET count = 0 WHERE event_type = 'b'"))
    step("0004_limits", "upgrade")
    step("0006_erasing_types", "upgrade")
    with db.engine.connect() as connection:
        types = set(connection.scalars(select(EventType.event_type)))
        kept = [set(connection.scalars(select(each.event_type))) for each in (Count, DayCount)]
    assert types == {"a", *FROM_USERS_SERVICE}
    assert kept == [{"a"}, {"a"}]
    admin.send({"event_type": "a", "created_at": moment, "event_id": str(uuid.uuid4())})


def test_the_limits_stop_at_a_larger_user_id_and_name_it(app: Flask, admin: Api) -> None:
    moment, larger = "2026-05-01T10:00:00Z", MAX_USER_ID + 5
    admin.send({"event_type": "a", "created_at": moment, "event_id": str(uuid.uuid4())})
    limits_down()
    with db.engine.begin() as connection:
        connection.execute(text(f"UPDATE events SET actor = {larger}, user_id = {larger}"))
    with pytest.raises(RuntimeError, match=f"user_id {larger} is over {MAX_USER_ID}"):
        step("0004_limits", "upgrade")


def test_keys_stay_when_their_origins_go_and_come_again(app: Flask, admin: Api) -> None:
    body = {"name": "importer", "scopes": ["events:read"]}
    made = admin.call("POST", "/analytics/api-keys", json=body).get_json()
    step("0007_key_origins", "downgrade")
    step("0007_key_origins", "upgrade")
    (kept,) = admin.get("/analytics/api-keys")["items"]
    unknown = {"prefix": None, "created_by": None}
    assert kept == {**{name: made[name] for name in kept}, **unknown}
    assert Api(app.test_client(), made["key"]).get("/analytics/events")["items"] == []
