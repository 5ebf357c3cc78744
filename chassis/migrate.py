"""What both `migrations/env.py` run: one database, by the URL its setting names."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import MetaData, create_engine, pool
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from chassis.config import ConfigurationError, read
from chassis.database import database_url

LOCK = 7_041_776_001  # any constant: two migrations at once wait for each other


def run(metadata: MetaData, setting: str) -> None:
    """Migrates the database that `setting` (or alembic's `-x url=…`) names.

    Raises ConfigurationError if it names none, or one that can't be reached.
    """
    engine = create_engine(url(setting), poolclass=pool.NullPool)
    try:
        connection = engine.connect()
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise ConfigurationError(f"{setting} can't be reached: {reason}") from None
    with connection:
        migrate(connection, metadata)


def url(setting: str) -> str:
    given = context.get_x_argument(as_dictionary=True).get("url")
    text = given or context.config.attributes.get("url") or read(setting, os.environ)
    if not text:
        raise ConfigurationError(f"{setting} is not set: it names the database to migrate.")
    return database_url(text)


def migrate(connection: Connection, metadata: MetaData) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite can't ALTER much: Alembic copies the table there.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        context.run_migrations()
