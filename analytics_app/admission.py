"""Admission control: which events may come in by the limits on types and on accounts.

What programs send of types that are known costs one look into a set. A new type is
registered, and an account's own events are counted, in a transaction of its own before the
events are stored; what was counted for events that then weren't stored is given back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Connection, Engine, case, delete, func, select, update

from analytics_app import dialects
from analytics_app.dialects.rows import Row
from analytics_app.intake import Sender
from analytics_app.models import DailyUse, Event, EventType
from analytics_app.zones import EPOCH
from chassis.database import writing
from chassis.errors import FieldError

AT_ONCE = 500  # names in one statement
EVENTS = "events"
ERASING = FieldError("event_type", "is being erased: send it again later")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many types there may be, how many new ones accounts may add, and events send a day."""

    types: int
    types_per_user: int
    types_by_users: int
    events_per_user_a_day: int


@dataclass(slots=True)
class Admitted:
    """Which of the rows may not come in, by position, and how many events were counted.

    Among those that may not are `repeats`, where they would have gone over an account's day.
    """

    complaints: dict[int, FieldError] = field(default_factory=dict)
    repeats: set[int] = field(default_factory=set)
    new_types: list[str] = field(default_factory=list)
    day: int = 0
    counted: int = 0
    stored: int = 0


class Admission:
    """Lets events in; one for each app."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self.limits = limits
        self.known: set[str] = set()

    def is_free(self, row: Row, sender: Sender) -> bool:
        """Whether the row may come in without a look at the database."""
        return sender.trusted and row.event_type in self.known

    def forget(self, types: set[str]) -> None:
        """Looks these types up again when they come next: they aren't registered any more."""
        self.known -= types

    @contextmanager
    def admitting(self, rows: Sequence[Row], sender: Sender) -> Iterator[Admitted]:
        """Says which rows may come in; whoever stores them sets how many are `stored`."""
        admitted = self.admitted(rows, sender)
        try:
            yield admitted
        finally:
            self.give_back(admitted, sender)

    def admitted(self, rows: Sequence[Row], sender: Sender) -> Admitted:
        unknown = list(dict.fromkeys(row.event_type for row in rows))
        unknown = [each for each in unknown if each not in self.known]
        if sender.trusted and not unknown:
            return Admitted()
        with self.transaction() as connection:
            there = registered(connection, unknown)
            admitted = self.judged(connection, rows, there, sender)
            register(connection, admitted.new_types, sender)
        self.known.update(name for name, erasing in there.items() if not erasing)
        self.known.update(admitted.new_types)
        return admitted

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self.engine.connect() as connection, writing(connection):
            yield connection

    def judged(
        self, connection: Connection, rows: Sequence[Row], there: dict[str, bool], sender: Sender
    ) -> Admitted:
        """Judges the rows in their order, and counts those of an account that may come in."""
        admitted = Admitted(day=datetime.now(UTC).date().toordinal() - EPOCH)
        events = math.inf if sender.trusted else self.events_left(connection, admitted.day, sender)
        if len(rows) > events:
            admitted.repeats = stored_already(connection, rows)
        types, why = self.room(connection, rows, there, sender)
        new: dict[str, None] = {}
        for position, row in enumerate(rows):
            name = row.event_type
            is_new = name not in self.known and name not in there and name not in new
            if position in admitted.repeats:
                continue
            if there.get(name):
                admitted.complaints[position] = ERASING
            elif is_new and len(new) >= types:
                admitted.complaints[position] = why
            elif admitted.counted >= events:
                admitted.complaints[position] = self.too_many_events()
            else:
                admitted.counted += 1
                new.update({name: None} if is_new else {})
        admitted.new_types = list(new)
        if not sender.trusted:
            use(connection, admitted.day, sender, admitted.counted)
        return admitted

    def events_left(self, connection: Connection, day: int, sender: Sender) -> int:
        """Returns how many events the account may still send today; its row is locked."""
        table = DailyUse.__table__
        adding = dialects.of(connection.engine).insert(table)
        locked = adding.values(day=day, what=EVENTS, actor=sender.user_id, used=0)
        locked = locked.on_conflict_do_update(
            index_elements=["day", "what", "actor"], set_={"used": table.c.used}
        )
        used: int = connection.execute(locked.returning(table.c.used)).scalar_one()
        return max(0, self.limits.events_per_user_a_day - used)

    def room(
        self, connection: Connection, rows: Sequence[Row], there: dict[str, bool], sender: Sender
    ) -> tuple[int, FieldError]:
        """Returns how many types may be added, and what to say of further ones.

        While there is no room nobody is kept waiting; with room, others who add wait.
        """
        if all(row.event_type in self.known or row.event_type in there for row in rows):
            return 0, ERASING
        found = self.types_left(connection, sender)
        if found[0] > 0:
            dialects.of(connection.engine).one_at_a_time(connection, "registering")
            found = self.types_left(connection, sender)
        return found

    def types_left(self, connection: Connection, sender: Sender) -> tuple[int, FieldError]:
        own = case((EventType.created_by == sender.user_id, 1))
        counts = select(func.count(), func.count(EventType.created_by), func.count(own))
        total, users, own_types = connection.execute(counts.select_from(EventType)).one()
        limits = self.limits
        left = [(limits.types - total, limits.types, HELD)]
        if not sender.trusted:
            per_user, by_users = limits.types_per_user, limits.types_by_users
            left.append((per_user - own_types, per_user, PER_USER))
            left.append((by_users - users, by_users, BY_USERS))
        room, limit, said = min(left)
        return max(0, room), FieldError("event_type", said.format(limit))

    def too_many_events(self) -> FieldError:
        limit = self.limits.events_per_user_a_day
        return FieldError(
            "user_id",
            f"has sent the {limit:,} events that an account may send in a UTC day "
            "(MAX_EVENTS_PER_USER_A_DAY)",
        )

    def give_back(self, admitted: Admitted, sender: Sender) -> None:
        unused = admitted.counted - admitted.stored
        if unused and not sender.trusted:
            with self.transaction() as connection:
                use(connection, admitted.day, sender, -unused)


HELD = "is new, and the installation holds no more than {:,} types (MAX_EVENT_TYPES)"
PER_USER = (
    "is new, and an account without events:write adds no more than {:,} types "
    "(MAX_EVENT_TYPES_PER_USER)"
)
BY_USERS = (
    "is new, and accounts without events:write add no more than {:,} types together "
    "(MAX_EVENT_TYPES_BY_USERS)"
)


def registered(connection: Connection, names: Sequence[str]) -> dict[str, bool]:
    """Returns those of the types that are registered, and whether each is being erased."""
    found: dict[str, bool] = {}
    for start in range(0, len(names), AT_ONCE):
        chosen = select(EventType.event_type, EventType.erasing).where(
            EventType.event_type.in_(names[start : start + AT_ONCE])
        )
        found.update(connection.execute(chosen).tuples().all())
    return found


def stored_already(connection: Connection, rows: Sequence[Row]) -> set[int]:
    """Returns the positions of those rows, all of one actor, that are stored."""
    places = {(row.created_at, row.event_id): position for position, row in enumerate(rows)}
    found: set[int] = set()
    pending = iter(places)
    while some := list(islice(pending, AT_ONCE)):
        moments, ids = ({key[n] for key in some} for n in range(2))
        chosen = select(Event.created_at, Event.event_id).where(
            Event.actor == rows[0].actor,
            Event.created_at.in_(moments),
            Event.event_id.in_(ids),
        )
        keys = connection.execute(chosen).tuples()
        found.update(places[key] for key in keys if key in places)
    return found


def register(connection: Connection, names: Sequence[str], sender: Sender) -> None:
    """Registers the types; one that somebody has registered meanwhile is left as it is."""
    now = datetime.now(UTC)
    by = None if sender.trusted else sender.user_id
    rows = [
        {"event_type": name, "created_at": now, "created_by": by, "erasing": False}
        for name in sorted(names)
    ]
    if rows:
        adding = dialects.of(connection.engine).insert(EventType.__table__)
        connection.execute(adding.on_conflict_do_nothing(), rows)


def use(connection: Connection, day: int, sender: Sender, n: int) -> None:
    """Adds to what the account has used of its day."""
    mine = (DailyUse.day == day, DailyUse.what == EVENTS, DailyUse.actor == sender.user_id)
    connection.execute(update(DailyUse).where(*mine).values(used=DailyUse.used + n))


def forget_former_days(engine: Engine, moment: datetime) -> None:
    """Deletes what accounts used of days that are over."""
    today = moment.date().toordinal() - EPOCH
    with engine.connect() as connection, writing(connection):
        connection.execute(delete(DailyUse).where(DailyUse.day < today))
