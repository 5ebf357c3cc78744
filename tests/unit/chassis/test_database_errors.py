"""A database that isn't able is a 503, whatever kind of error the driver makes of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from flask import Flask, Response
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from analytics_app.models import db as analytics_db
from chassis import database, problems, telemetry
from tests.chaos.tools import small_disk
from users_app.models import db as users_db


def broken(kind: type[DatabaseError], *, lost: bool) -> DatabaseError:
    return kind("SELECT 1", {}, psycopg2.DatabaseError("no message"), connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (broken(DatabaseError, lost=True), 503),
        (broken(OperationalError, lost=False), 503),
        (broken(DatabaseError, lost=False), 500),
        (broken(IntegrityError, lost=False), 500),
        (PendingRollbackError("can't reconnect", code="8s2b"), 503),
        (PendingRollbackError("a flush failed", code="7s2a"), 500),
    ],
)
def test_an_error_is_an_outage_where_the_connection_is_lost(error: Exception, status: int) -> None:
    answer = answer_to(error)
    assert answer.status_code == status
    assert (answer.headers.get("Retry-After") is not None) == (status == 503)


def answer_to(error: Exception) -> Any:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    SQLAlchemy(app)
    problems.install(app)
    telemetry.install_metrics(app)
    database.install(app)

    @app.get("/")
    def view() -> str:
        raise error

    return app.test_client().get("/")


@pytest.mark.parametrize("db", [users_db, analytics_db], ids=["users", "analytics"])
def test_a_connection_that_breaks_after_the_answer_is_made_costs_nothing(
    db: SQLAlchemy, new_postgres_database: Callable[[], str]
) -> None:
    url = new_postgres_database()
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = database.database_url(url)
    db.init_app(app)

    @app.get("/")
    def view() -> str:
        return str(db.session.scalar(text("SELECT pg_backend_pid()")))

    def end_the_session(answer: Response) -> Response:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(%s::int, 5000)", (answer.get_data(as_text=True),)
            )
            assert cursor.fetchone() == (True,)
        return answer

    app.after_request(end_the_session)
    first, second = app.test_client().get("/"), app.test_client().get("/")
    assert first.status_code == second.status_code == 200
    assert first.text != second.text


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def engine(new_postgres_database: Callable[[], str]) -> Engine:
    """Returns an engine as the apps have theirs, on a table of one row."""
    options = database.engine_options("postgresql://", application_name="footfall-test")
    made = create_engine(database.database_url(new_postgres_database()), **options)
    database.prepare(made)
    Base.metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(text("INSERT INTO things VALUES (1)"))
    return made


def raised(engine: Engine, code: str) -> DBAPIError:
    """Returns the error that a server's message of this SQLSTATE becomes."""
    message = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(DBAPIError) as found, engine.connect() as connection:
        connection.execute(text(message))
    return found.value


# What another session may be able to do, what is only too much right now, and what is a bug.
ELSEWHERE = ("25006", "57P01", "57P02", "57P03", "57P05", "08006", "08P01", "55000", "25P03")
LATER = ("53100", "53200", "53300", "40001", "40P01", "55P03", "57014", "58030")
BUGS = ("XX000", "25P02", "0A000", "42P01", "23505", "22003")


@pytest.mark.parametrize("code", [*ELSEWHERE, *LATER, *BUGS])
def test_each_kind_of_error(engine: Engine, code: str) -> None:
    error = raised(engine, code)
    assert error.connection_invalidated == (code in ELSEWHERE)
    answer = answer_to(error)
    assert answer.status_code == (500 if code in BUGS else 503)
    assert ("Retry-After" in answer.headers) == (code not in BUGS)
    engine.dispose()


def test_no_connection_is_kept_that_was_pooled_with_one_that_can_not_write(
    engine: Engine,
) -> None:
    with engine.connect() as one, engine.connect() as another:
        before = {each.scalar(text("SELECT pg_backend_pid()")) for each in (one, another)}
    raised(engine, "25006")
    with engine.connect() as one, engine.connect() as another:
        after = {each.scalar(text("SELECT pg_backend_pid()")) for each in (one, another)}
    assert not before & after
    engine.dispose()


def test_writing_in_a_snapshot_is_a_bug_and_no_outage(engine: Engine) -> None:
    snapshot = engine.execution_options(postgresql_readonly=True)
    with pytest.raises(DBAPIError) as found, snapshot.connect() as connection:
        connection.execute(text("UPDATE things SET id = 2"))
    assert not found.value.connection_invalidated
    assert answer_to(found.value).status_code == 500
    engine.dispose()


def test_a_snapshot_leaves_no_mode_behind(engine: Engine) -> None:
    """Else the next transaction would say READ WRITE, and write where nobody is to write."""
    with engine.connect() as connection:
        name = connection.scalar(text("SELECT current_database()"))
    with engine.connect() as connection:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        connection.execution_options(**options).execute(text("SELECT 1"))
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        connection.commit()
        connection.execute(text("SET default_transaction_read_only = on"))
        connection.commit()
    with pytest.raises(DBAPIError) as found:
        database.check_writes(engine, Thing)
    assert isinstance(found.value.orig, psycopg2.errors.ReadOnlySqlTransaction)
    engine.dispose()


def test_looking_whether_writes_work_leaves_nothing(engine: Engine) -> None:
    ask = text("SELECT xmin::text, xmax::text, ctid::text FROM things")
    with engine.connect() as connection:
        before = connection.execute(ask).one()
    for _ in range(3):
        database.check_writes(engine, Thing)
    with engine.connect() as connection:
        assert connection.execute(ask).one() == before
        size = connection.scalar(text("SELECT pg_relation_size('things')"))
    assert size == 8192
    engine.dispose()


def sqlite(path: str) -> Engine:
    made = create_engine(
        f"sqlite:///{path}", **database.engine_options("sqlite:///x", application_name="")
    )
    database.prepare(made)
    return made


def test_a_file_that_can_not_be_written_is_seen(tmp_path: Path) -> None:
    own = sqlite(f"{tmp_path}/one.db")
    Base.metadata.create_all(own)
    database.check_writes(own, Thing)
    read_only = sqlite(f"file:{tmp_path}/one.db?mode=ro&uri=true")
    database.check(read_only)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.check_writes(read_only, Thing)


def test_who_writes_is_proof_enough(tmp_path: Path) -> None:
    own = sqlite(f"{tmp_path}/one.db")
    Base.metadata.create_all(own)
    with own.connect() as writer:
        writer.execution_options(writes=True).execute(text("INSERT INTO things VALUES (1)"))
        database.check_writes(own, Thing)
        writer.rollback()
    with own.connect() as connection:
        assert connection.scalar(text("PRAGMA busy_timeout")) == database.BUSY_TIMEOUT_MS


def test_a_file_does_not_grow_by_looks(tmp_path: Path) -> None:
    own = sqlite(f"{tmp_path}/one.db")
    Base.metadata.create_all(own)
    sizes = []
    for _ in range(2):
        for _ in range(1_100):  # SQLite begins its log again after a thousand pages
            database.check_writes(own, Thing)
        sizes.append(sum(each.stat().st_size for each in tmp_path.iterdir()))
    assert sizes[0] == sizes[1] < 6_000_000


def test_a_full_disk_is_seen() -> None:
    with small_disk(1) as disk:
        if not disk.mounted:
            pytest.skip("a small file system can't be mounted by this user")
        own = sqlite(f"{disk.folder}/one.db")
        Base.metadata.create_all(own)
        database.check_writes(own, Thing)
        disk.fill()
        with pytest.raises(sqlite3.OperationalError, match="full"):
            look_often(own)
        disk.free()
        database.check_writes(own, Thing)
        own.dispose()


def look_often(engine: Engine) -> None:
    """Looks until there is no room: what SQLite's log has left is used up first."""
    for _ in range(100):
        database.check_writes(engine, Thing)
