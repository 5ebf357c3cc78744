"""The schema: up, down with rows in it, and equal to the models where Alembic can compare."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import inspect, select

from analytics_app.models import AuditEntry, db
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
