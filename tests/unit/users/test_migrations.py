"""The schema: up, down, and equal to the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import bindparam, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from tests.unit.users.conftest import MIGRATIONS, migrate
from users_app import audit, clock
from users_app.models import AuditEntry, Mail, OutboxMessage, User, db
from users_app.origin import Origin
from users_app.relay import mailer, smtp


def test_the_migrations_make_what_the_models_say(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


def test_the_migrations_are_one_chain_in_the_order_of_their_names() -> None:
    modules = [import_module(f"users_app.migrations.versions.{name}") for name in MIGRATIONS]
    revisions = [module.revision for module in modules]
    assert revisions == [name[:4] for name in MIGRATIONS]
    assert [module.down_revision for module in modules] == [None, *revisions[:-1]]


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


def test_the_audit_trail_keeps_its_entries_up_and_down_and_stays_closed(app: Flask) -> None:
    agents = import_module("users_app.migrations.versions.0005_audit_user_agent")
    with app.app_context():
        for number in range(2):
            audit.record("invited", None, Origin("192.0.2.1", "Firefox"), number=number)
            db.session.commit()
            for step in (agents.downgrade, agents.upgrade):
                with steps():
                    step()
        found = db.session.execute(select(AuditEntry.details, AuditEntry.user_agent)).all()
        assert [tuple(row) for row in found] == [({"number": 0}, None), ({"number": 1}, None)]
        db.session.rollback()
        with pytest.raises(DBAPIError):
            db.session.execute(text("DELETE FROM audit"))
        db.session.rollback()


def test_mails_wait_through_the_migration_and_are_put_by_the_release_before(app: Flask) -> None:
    mails = import_module("users_app.migrations.versions.0006_mails")
    with app.app_context():
        with steps():
            mails.downgrade()
        put_mail_as_before("first")
        with steps():
            mails.upgrade()
        put_mail_as_before("second")
        found = db.session.scalars(select(Mail).order_by(Mail.id)).all()
        assert [(row.kind, row.unanswered, row.dead_at) for row in found] == [
            ("first", 0, None), ("second", 0, None),
        ]  # fmt: skip
        mailer.bury(found[0], smtp.Failure(smtp.REFUSED, "SMTP 550"))
        assert [each.kind for each in due_as_before()] == ["second"], "nor is a dead one tried"
        with steps():
            mails.downgrade()
        assert [each.kind for each in due_as_before()] == ["second"]
        db.session.rollback()


def put_mail_as_before(kind: str) -> None:
    """Adds a mail with the columns that 0001 knew, as its release does."""
    now = clock.now()
    given = {"kind": kind, "recipient": "ada@example.com", "attempts": 0, "created_at": now,
             "due_at": now}  # fmt: skip
    columns = [Mail.__table__.c[name] for name in given]
    with db.engine.begin() as connection:
        names = ", ".join(column.name for column in columns)
        marks = ", ".join(f":{column.name}" for column in columns)
        typed = [bindparam(column.name, type_=column.type) for column in columns]
        statement = text(f"INSERT INTO mails ({names}) VALUES ({marks})")
        connection.execute(statement.bindparams(*typed), given)


def due_as_before() -> list[Any]:
    """Returns the mails that are due as the release before looks for them."""
    query = select(Mail.id, Mail.kind).where(Mail.due_at <= clock.now() + timedelta(days=900))
    found = list(db.session.execute(query).all())
    db.session.rollback()
    return found


EMAILS = ["Ada@example.com", "ada@straße.example", "ſam@example.com", "ÄDA@bücher.example"]
NAME_KEYS = ["ada@example.com", "ada@strasse.example", "sam@example.com", "äda@bücher.example"]
ADDRESS_KEYS = [
    "ada@example.com", "ada@xn--strae-oqa.example", "ſam@example.com", "Äda@xn--bcher-kva.example",
]  # fmt: skip


def test_email_keys_are_made_anew_up_and_down_and_emails_stay(app: Flask) -> None:
    keys = import_module("users_app.migrations.versions.0004_email_keys")
    with app.app_context():
        put_accounts(dict(zip(EMAILS, NAME_KEYS, strict=True)))
        for step, expected in ((keys.upgrade, ADDRESS_KEYS), (keys.downgrade, NAME_KEYS)):
            with steps():
                step()
            rows = db.session.execute(select(User.email, User.email_key).order_by(User.id)).all()
            db.session.rollback()
            assert [tuple(row) for row in rows] == list(zip(EMAILS, expected, strict=True))


@pytest.mark.parametrize(
    ("step", "emails"),
    [
        ("upgrade", ["a@xn--strae-oqa.example", "b@example.com", "a@straße.example"]),
        ("downgrade", ["a@strasse.example", "b@example.com", "a@straße.example"]),
    ],
)
def test_two_accounts_that_would_share_a_key_are_named_and_nothing_changes(
    app: Flask, step: str, emails: list[str]
) -> None:
    keys = import_module("users_app.migrations.versions.0004_email_keys")
    with app.app_context():
        put_accounts({each: f"key {each}" for each in emails})
        with pytest.raises(RuntimeError, match=r"\[\[1, 3\]\]"), steps():
            getattr(keys, step)()
        stored = db.session.scalars(select(User.email_key).order_by(User.id)).all()
        assert stored == [f"key {each}" for each in emails]
        db.session.rollback()


def put_accounts(emails: dict[str, str]) -> None:
    """Adds an account for each email, with the key given."""
    now = clock.now()
    rows = [
        {"email": email, "email_key": key, "username": f"user{n}", "username_key": f"user{n}",
         "hashed_password": "", "role": "viewer", "is_active": True, "search_text": "",
         "created_at": now, "updated_at": now}
        for n, (email, key) in enumerate(emails.items())
    ]  # fmt: skip
    with db.engine.begin() as connection:
        connection.execute(insert(User.__table__), rows)
