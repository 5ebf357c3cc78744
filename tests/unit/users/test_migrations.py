"""The schema: up, down, and equal to the models."""

from __future__ import annotations

from importlib import import_module

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import inspect

from tests.unit.users.conftest import MIGRATIONS, migrate
from users_app.models import db


def test_the_migrations_make_what_the_models_say(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


def test_every_migration_is_undone_and_done_again(app: Flask) -> None:
    with app.app_context():
        with (
            db.engine.begin() as connection,
            Operations.context(MigrationContext.configure(connection)),
        ):
            for name in reversed(MIGRATIONS):
                import_module(f"users_app.migrations.versions.{name}").downgrade()
        assert inspect(db.engine).get_table_names() == []
        migrate()
        assert set(inspect(db.engine).get_table_names()) == set(db.metadata.tables)


def test_the_users_table_has_the_columns_of_the_specification(app: Flask) -> None:
    with app.app_context():
        columns = {each["name"] for each in inspect(db.engine).get_columns("users")}
    assert columns >= {
        "id", "email", "username", "hashed_password", "full_name", "is_active", "created_at",
        "updated_at",
    }  # fmt: skip
