"""A connection that breaks under way is a 503, whatever kind of error the driver makes of it."""

from __future__ import annotations

import psycopg2
import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, PendingRollbackError

from chassis import database, problems, telemetry


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
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    SQLAlchemy(app)
    problems.install(app)
    telemetry.install_metrics(app)
    database.install(app)

    @app.get("/")
    def view() -> str:
        raise error

    answer = app.test_client().get("/")
    assert answer.status_code == status
    assert (answer.headers.get("Retry-After") is not None) == (status == 503)
