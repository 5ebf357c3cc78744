"""Snapshots to read from: the replica where one is set, else the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from analytics_app import dialects
from analytics_app.engines import REPLICA
from chassis.telemetry import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection whose every statement sees the same; `as_of` is a replica's last news."""

    connection: Connection
    as_of: datetime | None = None


class Readers:
    """Opens snapshots for reports and lists; one for each app."""

    def __init__(self, db: SQLAlchemy) -> None:
        self.db = db

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Lends one read-only snapshot; a replica that is gone is passed over."""
        replica = self.db.engines.get(REPLICA)
        found = self.replica_snapshot(replica) if replica else None
        connection = found.connection if found else open_snapshot(self.db.engine)
        try:
            yield found or Snapshot(connection)
        finally:
            connection.close()

    def replica_snapshot(self, replica: Engine) -> Snapshot | None:
        try:
            connection = open_snapshot(replica)
            return Snapshot(connection, dialects.of(replica).as_of(connection))
        except (DBAPIError, PoolTimeout) as error:
            log.warning("replica not used", error=type(error).__name__)
            return None


def open_snapshot(engine: Engine) -> Connection:
    connection = engine.connect()
    return connection.execution_options(**dialects.of(engine).SNAPSHOT)
