"""Retention: whole months of raw events go, their counts stay, and the day is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select

from analytics_app import dialects
from analytics_app.models import Bookkeeping
from chassis.database import transaction


@dataclass(frozen=True, slots=True)
class Dropped:
    """What goes (or would go): `events` raw events, all from before `before`."""

    before: datetime | None
    events: int


def preview(db: SQLAlchemy, cutoff: datetime) -> Dropped:
    """Returns what `drop` would drop."""
    return Dropped(*dialects.of(db.engine).droppable(db.session, cutoff))


def drop(db: SQLAlchemy, cutoff: datetime) -> Dropped:
    """Drops the events of all months (or parts of one) that ended by the cutoff.

    First it is recorded from when on events are kept, and older statements are waited
    out: a replay from before is refused from then on, so that nothing counts twice.
    """
    dialect = dialects.of(db.engine)
    found = preview(db, cutoff)
    if found.before is None:
        return found
    with transaction(db.session):
        kept = db.session.scalars(select(Bookkeeping).with_for_update()).one()
        kept.dropped_before = max(found.before, kept.dropped_before or found.before)
        db.session.flush()
        older = dialect.mark(db.session.connection())
    dialect.wait_out(db.session, older)
    dialect.drop_events(db.session, found.before)
    return found
