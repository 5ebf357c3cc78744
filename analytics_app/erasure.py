"""Erasure: a person's events and every count of them go, and late deliveries stay out."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, delete, func, select

from analytics_app import audit, counting, dialects
from analytics_app.behaviour import dirt
from analytics_app.models import FOR_EVER, Event, Presence, Tombstone
from analytics_app.zones import QUARTERS_A_DAY, quarter_of
from chassis.database import transaction


def erase(db: SQLAlchemy, actor: int, now: datetime, *, for_ever: bool) -> int:
    """Erases all events of an actor; returns how many they were.

    First the tombstone is committed and statements that began before it are waited out;
    what arrives from then on, dated before `now` (or ever), is refused. Then the events
    are deleted and taken out of the counts. Counts of events that retention had dropped
    before stay, as nobody's: nothing tells any more whose they were.
    """
    dialect = dialects.of(db.engine)
    with transaction(db.session):
        bury(db.session.connection(), actor, FOR_EVER if for_ever else now)
        account_id = actor if actor > 0 else None  # below zero it is a visitor
        audit.record(db.session.connection(), "events_erased", account_id, for_ever=for_ever)
        older = dialect.mark(db.session.connection())
    dialect.wait_out(db.session, older)
    with transaction(db.session):
        return remove(db.session.connection(), actor)


def bury(connection: Connection, actor: int, before: datetime) -> None:
    """Sets the actor's tombstone, or moves it forward."""
    table = Tombstone.__table__
    adding = dialects.of(connection.engine).insert(table).values(actor=actor, erased_before=before)
    moved = adding.on_conflict_do_update(
        index_elements=["actor"],
        set_={"erased_before": adding.excluded.erased_before},
        where=table.c.erased_before < adding.excluded.erased_before,
    )
    connection.execute(moved)


def remove(connection: Connection, actor: int) -> int:
    dialects.of(connection.engine).unhurried(connection)
    gone = delete(Event).where(Event.actor == actor).returning(Event.event_type, Event.created_at)
    tally: Counter[tuple[int, str]] = Counter()
    for event_type, created_at in connection.execute(gone):
        tally[quarter_of(created_at), event_type] -= 1
    counting.add(connection, tally)
    dirt.mark(connection, {quarter // QUARTERS_A_DAY for quarter, _ in tally})
    leave(connection, actor)
    return -tally.total()


def leave(connection: Connection, actor: int) -> None:
    """Deletes the actor's presence; its key begins with the day, so the days are named."""
    first, last = connection.execute(select(func.min(Presence.day), func.max(Presence.day))).one()
    if first is not None:
        days = range(first, last + 1)
        connection.execute(delete(Presence).where(Presence.actor == actor, Presence.day.in_(days)))
