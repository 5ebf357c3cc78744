"""The schema stays fit to be distributed by actor, checked in the catalogue of plain PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from analytics_app.models import db
from tests.unit.analytics.conftest import MakeApp

FILE = Path(__file__).parents[3] / "ops" / "citus.sql"
DISTRIBUTED = re.compile(r"create_distributed_table\('(\w+)', '(\w+)'")

KEYS = """
SELECT i.indexrelid::regclass::text, array_agg(a.attname::text)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = CAST(:table AS regclass) AND (i.indisunique OR i.indisexclusion) GROUP BY 1
"""


@pytest.fixture
def catalogue(make_app: MakeApp, new_postgres_database: Callable[[], str]) -> Iterator[Connection]:
    """Yields a connection to a migrated PostgreSQL."""
    app = make_app(analytics_database_url=new_postgres_database())
    with app.app_context(), db.engine.connect() as connection:
        yield connection


def distributed() -> dict[str, str]:
    found = dict(DISTRIBUTED.findall(FILE.read_text()))
    assert {"events", "presence"} <= found.keys()
    return found


def test_the_column_to_distribute_by_is_a_bigint_that_is_never_null(catalogue: Connection) -> None:
    for table, column in distributed().items():
        found = catalogue.execute(
            text(
                "SELECT data_type, is_nullable, is_generated FROM information_schema.columns "
                "WHERE table_name = :table AND column_name = :column"
            ),
            {"table": table, "column": column},
        ).one()
        assert tuple(found) == ("bigint", "NO", "NEVER"), table


def test_every_unique_key_of_a_distributed_table_holds_its_column(catalogue: Connection) -> None:
    for table, column in distributed().items():
        keys = catalogue.execute(text(KEYS), {"table": table}).all()
        assert keys, f"{table} has a primary key"
        assert {name for name, columns in keys if column not in columns} == set()


def test_nothing_that_citus_refuses_stands_in_the_schema(catalogue: Connection) -> None:
    triggers = catalogue.execute(
        text("SELECT tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal")
    )
    assert not {str(table) for (table,) in triggers} & distributed().keys()
    foreign = catalogue.execute(
        text("SELECT conrelid::regclass FROM pg_constraint WHERE contype = 'f'")
    )
    assert not {str(table) for (table,) in foreign} & distributed().keys()
    identities = catalogue.execute(
        text(
            "SELECT table_name, data_type FROM information_schema.columns "
            "WHERE is_identity = 'YES' AND data_type <> 'bigint'"
        )
    )
    assert identities.all() == []


def test_no_statement_changes_whose_an_event_is() -> None:
    app = Path(__file__).parents[3] / "analytics_app"
    changes = re.compile(r"(?i)\bSET\s+actor\b|update\((Event|Presence)\)")
    assert [path.name for path in app.rglob("*.py") if changes.search(path.read_text())] == []
