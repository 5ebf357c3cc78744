"""What deletes many sealed columns takes its time, and is no report that ends at a limit."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, text

from analytics_app import retention
from analytics_app.behaviour import sealing
from analytics_app.behaviour.models import SealedColumn
from analytics_app.models import db
from chassis import database
from tests.unit.analytics.conftest import Api, MakeApp, user_token
from tests.unit.analytics_behaviour.histories import START, History
from tests.unit.analytics_behaviour.test_sealed_days import NOW

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({seconds}); RETURN OLD; END $$;
CREATE TRIGGER slow BEFORE DELETE ON sealed_columns FOR EACH ROW EXECUTE FUNCTION slow();
"""


@pytest.fixture
def database_url(new_postgres_database: Callable[[], str]) -> str:
    """Returns a database of PostgreSQL alone: embedded, no statement is timed."""
    return new_postgres_database()


def columns(*where: object) -> int:
    found = db.session.scalar(select(func.count()).select_from(SealedColumn).where(*where))
    db.session.rollback()
    return found or 0


def sealed_history(admin: Api, seconds: float) -> None:
    History(admin, random.Random(7)).send(200, START, 7)
    assert list(sealing.seal_due(db, NOW))
    db.session.execute(text(SLOW.format(seconds=seconds)))
    db.session.commit()


def test_columns_of_dropped_days_go_however_long_it_takes(make_app: MakeApp) -> None:
    app = make_app(report_timeout_ms=500)
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        sealed_history(admin, 0.02)
        assert columns() > 50
        retention.drop(db, START.replace(month=6))
        sealing.forget_dropped(db)
        assert columns() == 0


def test_columns_of_an_erased_type_go_slice_by_slice(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SLICE_ROWS", 5)
    app = make_app()
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        sealed_history(admin, 0.15)
        mine = SealedColumn.event_type == "purchase"
        assert columns(mine) * 0.15 > 3.0, "nothing would have been ended"
        answer = admin.call("DELETE", "/analytics/event-types/purchase")
        assert answer.status_code == 200, answer.get_json()
        assert columns(mine) == 0
