"""The engines: for reports and records, for ingest's own look-ups, for erasures, for a replica."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, event

from analytics_app import deadlines, dialects
from analytics_app.config import AnalyticsSettings
from chassis import database, postgres

REPLICA = "replica"
LOOKUPS = "lookups"
ERASURES = "erasures"
ERASURES_POOL_SIZE = 2  # one erases, the other is there for readiness and the sweep


def connect(app: Flask, db: SQLAlchemy, settings: AnalyticsSettings) -> None:
    """Readies the engines. On PostgreSQL ingest's look-ups and erasures have their own
    connections: reports may be waiting for all of theirs."""
    url = settings.analytics_database_url
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = reading(url, settings, "footfall-reports")
    binds = app.config.setdefault("SQLALCHEMY_BINDS", {})
    if not database.is_sqlite(url):
        binds[LOOKUPS] = {"url": url, **looking_up(url, settings)}
        binds[ERASURES] = {"url": url, **erasing(url)}
    if replica := settings.analytics_replica_url:
        # A standby refuses every transaction that isn't begun as read-only.
        binds[REPLICA] = {
            "url": replica,
            "execution_options": {"postgresql_readonly": True},
            **reading(replica, settings, "footfall-replica", writes=False),
        }
        if not database.is_sqlite(replica) and not database.is_sqlite(url):
            database.pulse_of(replica).next = database.pulse_of(url)
    db.init_app(app)
    with app.app_context():
        for engine in db.engines.values():
            event.listen(engine, "connect", dialects.of(engine).equip)
            database.prepare(engine)
            event.listen(engine, "checkout", dialects.of(engine).hurry)
            event.listen(engine, "before_cursor_execute", deadlines.look)


def reading(
    url: str, settings: AnalyticsSettings, name: str, *, writes: bool = True
) -> dict[str, Any]:
    size, timeout = settings.report_pool_size, settings.report_timeout_ms
    return options(url, name, size, timeout, 1_000, writes=writes)


def looking_up(url: str, settings: AnalyticsSettings) -> dict[str, Any]:
    """Returns options by which a look-up ends within ingest's time, whatever the server does.

    No ping before each use, which would be one wait more: what has ended while idle is seen here.
    """
    timeout = settings.ingest_timeout_ms * 45 // 100
    found = options(url, "footfall-lookups", settings.ingest_pool_size, timeout, 0)
    pool = database.pool_that_waits(timeout / 1000)
    listeners = [*found["pool_events"], (postgres.replace_ended, "checkout")]
    return {**found, "pool_pre_ping": False, "poolclass": pool, "pool_events": listeners}


def erasing(url: str) -> dict[str, Any]:
    """Returns options by which a readiness check ends soon; an erasure's work sets its own."""
    return options(url, "footfall-erasures", ERASURES_POOL_SIZE, 3_000, 500)


def options(
    url: str, name: str, size: int, timeout_ms: int, grace_ms: int, *, writes: bool = True
) -> dict[str, Any]:
    return database.engine_options(
        url,
        application_name=name,
        pool_size=size,
        statement_timeout_ms=timeout_ms,
        grace_ms=grace_ms,
        writes=writes,
    )


def for_lookups(db: SQLAlchemy) -> Engine:
    """Returns the engine for ingest's look-ups; embedded, there is one for all."""
    return db.engines.get(LOOKUPS, db.engine)


def for_erasures(db: SQLAlchemy) -> Engine:
    """Returns the engine for erasures and for readiness; embedded, there is one for all."""
    return db.engines.get(ERASURES, db.engine)
