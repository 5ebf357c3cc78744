"""Waits until a database has the schema that this release needs; a newer one will do.

    python schema_ready.py users|analytics [--patience 300]

A Deployment's pods run it before the app, so that they neither migrate nor start too early. A
revision that this release doesn't know is a newer release's: after a rollback that is fine.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from chassis.config import read
from chassis.database import database_url


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("section", choices=("users", "analytics"))
    parser.add_argument("--patience", type=float, default=300, help="seconds (300)")
    options = parser.parse_args()
    deadline = time.monotonic() + options.patience
    while not ready(options.section):
        if time.monotonic() > deadline:
            print(f"The {options.section} database was not migrated in time.", file=sys.stderr)
            return 1
        time.sleep(1)
    return 0


def ready(section: str) -> bool:
    """Whether the database answers and is at this release's revision, or at one it can't know."""
    config = Config("alembic.ini", ini_section=section)
    scripts = ScriptDirectory.from_config(config)
    try:
        current = revisions(f"{section.upper()}_DATABASE_URL")
    except DBAPIError:
        return False
    known = {each.revision for each in scripts.walk_revisions()}
    return bool(current) and (current == set(scripts.get_heads()) or not current <= known)


def revisions(setting: str) -> set[str]:
    engine = create_engine(database_url(read(setting, os.environ) or ""), poolclass=NullPool)
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads())


if __name__ == "__main__":
    sys.exit(main())
