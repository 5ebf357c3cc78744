"""The schema: up, down, and equal to the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import insert, inspect, select, text

from tests.unit.users.conftest import MIGRATIONS, migrate
from users_app import clock
from users_app.models import OutboxMessage, db


def test_the_migrations_make_what_the_models_say(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


def test_every_migration_is_undone_and_done_again(app: Flask) -> None:
    with app.app_context():
        with steps():
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


def test_the_outbox_keeps_its_rows_up_and_down_and_takes_those_of_the_release_before(
    app: Flask,
) -> None:
    newest = import_module("users_app.migrations.versions.0002_outbox_traceparent")
    with app.app_context():
        put_as_before("first")
        with steps():
            newest.downgrade()
        put_as_before("second")
        with steps():
            newest.upgrade()
        put_as_before("third")
        found = db.session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)).all()
        assert [row.event_type for row in found] == ["first", "second", "third"]
        assert {row.traceparent for row in found} == {None}
        db.session.rollback()


@contextmanager
def steps() -> Iterator[None]:
    with (
        db.engine.begin() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        yield


def put_as_before(event_type: str) -> None:
    """Adds a message with the columns that 0001 knew, as its release does."""
    table = OutboxMessage.__table__
    now = clock.now()
    given = {"kind": "event", "event_type": event_type, "event_id": clock.uuid7(now),
             "details": {}, "created_at": now, "due_at": now, "attempts": 0}  # fmt: skip
    with db.engine.begin() as connection:
        connection.execute(insert(table).values(given))
        names = "id, kind, user_id, event_id, event_type, details, created_at, due_at, attempts"
        connection.execute(text(f"SELECT {names}, last_error, dead_at FROM outbox"))
