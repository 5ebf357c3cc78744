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
from analytics_app.deadlines import OPTION, Deadline
from analytics_app.engines import REPLICA
from chassis.telemetry import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection whose every statement sees the same; `as_of` is a replica's last news."""

    connection: Connection
    deadline: Deadline
    as_of: datetime | None = None


class Readers:
    """Opens snapshots for reports and lists; one for each app."""

    def __init__(self, db: SQLAlchemy) -> None:
        self.db = db

    @contextmanager
    def snapshot(self, deadline: Deadline) -> Iterator[Snapshot]:
        """Lends one read-only snapshot; a replica that is gone is passed over.

        All its statements end by the deadline. What fails then is Unavailable, and says so.
        """
        connection, as_of = self.opened(deadline)
        try:
            with dialects.of(connection.engine).bounded(connection, deadline.is_over):
                yield Snapshot(connection, deadline, as_of)
        except DBAPIError as error:
            if deadline.is_over():
                raise deadline.refusal() from error
            raise
        finally:
            connection.close()

    def opened(self, deadline: Deadline) -> tuple[Connection, datetime | None]:
        replica = self.db.engines.get(REPLICA)
        found = self.opened_replica(replica, deadline) if replica else None
        return found or (open_snapshot(self.db.engine, deadline), None)

    def opened_replica(
        self, replica: Engine, deadline: Deadline
    ) -> tuple[Connection, datetime] | None:
        try:
            connection = open_snapshot(replica, deadline)
            return connection, dialects.of(replica).as_of(connection)
        except (DBAPIError, PoolTimeout) as error:
            log.warning("replica not used", error=type(error).__name__)
            return None


def open_snapshot(engine: Engine, deadline: Deadline | None = None) -> Connection:
    options = dialects.of(engine).SNAPSHOT
    return engine.connect().execution_options(**options, **{OPTION: deadline})
