"""The migration makes the tables that the models name, and takes them away again."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import inspect

from analytics_app.models import db

OURS = {"sealed_days", "dirty_days", "sealed_columns", "saved_reports", "annotations"}


def is_ours(thing: Any, name: str | None, kind: str, *_: Any) -> bool:
    return (name if kind == "table" else thing.table.name) in OURS


def test_models_and_migration_agree(app: Flask) -> None:
    with db.engine.connect() as connection:
        options = {"include_object": is_ours}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, db.metadata) == []
        assert set(inspect(connection).get_table_names()) >= OURS


def test_the_migration_goes_down_and_up_again(app: Flask) -> None:
    migration = import_module("analytics_app.migrations.versions.0002_behaviour")
    with (
        db.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        migration.downgrade()
        assert not OURS & set(inspect(connection).get_table_names())
        migration.upgrade()
        assert set(inspect(connection).get_table_names()) >= OURS
