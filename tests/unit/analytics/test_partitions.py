"""Partitions that a request makes are kept: whoever sends again gets further, and is done."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, text

from analytics_app.dialects import partitions as partitioning
from analytics_app.dialects.rows import PartitionLimits
from analytics_app.models import db
from tests.servers import BUSY_SECONDS
from tests.unit.analytics.conftest import Api, MakeApp, partitions, user_token

SLOW = """
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({seconds}); END $$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION slow();
"""


@pytest.fixture
def database_url(new_postgres_database: Callable[[], str]) -> str:
    """Returns a database of PostgreSQL alone: there events have partitions."""
    return new_postgres_database()


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    """Yields an app with the product's own time-out."""
    app = make_app(ingest_timeout_ms=1_500)
    with app.app_context():
        yield app


def months(number: int, first: int = 2001) -> list[dict[str, Any]]:
    """Returns one event in each of so many months, each with an id of its own."""
    return [
        {
            "event_type": "a",
            "user_id": 1,
            "event_id": str(uuid.uuid4()),
            "created_at": f"{first + n // 12}-{n % 12 + 1:02}-03T00:00:00Z",
        }
        for n in range(number)
    ]


def run(sql: str) -> None:
    db.session.execute(text(sql))
    db.session.commit()


def sent_until_stored(api: Api, events: list[Any], tries: int) -> list[int]:
    """Sends the batch again and again; returns how many partitions there were after each try."""
    there = [partitions()]
    for _ in range(tries):
        answer = api.call("POST", "/analytics/events/batch", json={"events": events})
        there.append(partitions())
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            continue
        assert answer.status_code == 200, answer.get_json()
        found = answer.get_json()
        if found["accepted"] + found["duplicates"] == len(events):
            return there
    raise AssertionError(f"not stored in {tries} tries: {there}")


def test_a_batch_over_fifty_months_is_stored_in_five_calls(app: Flask) -> None:
    admin = Api(app.test_client(), user_token(1, "admin"))
    there = sent_until_stored(admin, months(50), 5)
    assert [after - before for before, after in itertools.pairwise(there)] == [12, 12, 12, 12, 2]


def test_with_slow_ddl_each_call_gets_further(app: Flask) -> None:
    run(SLOW.format(seconds=0.5))
    admin = Api(app.test_client(), user_token(1, "admin"))
    there = sent_until_stored(admin, months(14), 30)
    assert len(there) > 4, "all in one call: nothing was slow"
    assert there == sorted(there)
    found = admin.get("/analytics/summary", start="2001-01-01", end="2003-01-01")
    assert found["total_events"] == 14


def test_two_senders_of_the_same_months_both_get_done(app: Flask) -> None:
    run(SLOW.format(seconds=0.1))
    events = [months(30), months(30)]
    told: dict[int, list[int]] = {}

    def send(number: int) -> None:
        with app.app_context():
            admin = Api(app.test_client(), user_token(1, "admin"))
            told[number] = sent_until_stored(admin, events[number], 60)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(2)]
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    assert len(told) == 2
    assert partitions() == told[0][0] + 30
    admin = Api(app.test_client(), user_token(1, "admin"))
    found = admin.get("/analytics/summary", start="2001-01-01", end="2006-01-01")
    assert found["total_events"] == 60


def test_what_another_sender_made_is_not_counted_as_made_here() -> None:
    """Both see twelve missing; the one that comes second finds the first one's."""
    bounds = "FROM ('2001-01-01 00:00:00+00') TO ('2002-01-01 00:00:00+00')"
    made: list[str] = []

    def execute(sql: str) -> list[tuple[Any, ...]]:
        if sql == partitioning.DROPPED:
            return [(None,)]
        if sql == partitioning.EXISTING:
            looks.append(sql)
            return [("events_2001", bounds, 0)] if len(looks) > 1 else []
        if sql.startswith("CREATE"):
            made.append(sql)
        return []

    looks: list[str] = []
    moments = [datetime(2001, 1, 3, tzinfo=UTC), datetime(2003, 1, 3, tzinfo=UTC)]
    assert partitioning.ensure(execute, moments, PartitionLimits(1)) == set()
    assert len(made) == 1


@pytest.mark.parametrize(
    "held",
    ["LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE",
     f"SELECT pg_advisory_xact_lock({partitioning.LOCK})"],
)  # fmt: skip
def test_while_partitions_are_locked_others_go_on_and_then_all_is_stored(
    app: Flask, held: str
) -> None:
    admin = Api(app.test_client(), user_token(1, "admin"))
    events = months(15)
    admin.batch(events[:1])
    other = create_engine(db.engine.url)
    with other.begin() as holder:
        holder.execute(text(held))
        begun = time.monotonic()
        answer = admin.call("POST", "/analytics/events/batch", json={"events": events})
        assert answer.status_code == 503
        assert time.monotonic() - begun < 1.5 + BUSY_SECONDS
        assert admin.batch(months(1))["accepted"] == 1
        assert admin.batch(events[:1])["duplicates"] == 1
    other.dispose()
    sent_until_stored(admin, events, 3)
