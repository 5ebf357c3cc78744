"""The outbox as a queue: claimed for a while, delivered, and settled row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, update

from chassis import tracing
from chassis.database import transaction
from chassis.schema import rfc3339
from chassis.telemetry import get_logger
from users_app import clock
from users_app.models import OutboxMessage, db
from users_app.outbox import ERASURE, EVENT
from users_app.relay.pauses import pause
from users_app.relay.receiver import Broken, Receiver, Trouble, Troubled, Unacceptable

BATCH = 100
COUNT = "messaging.batch.message_count"  # OpenTelemetry's name
# Longer than a call may take; a killed relay's rows come back after it.
LEASE = timedelta(seconds=15)
ERASURE_LEASE = timedelta(seconds=60)
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One claimed row; `attempts` is how often it met trouble before."""

    id: int
    kind: str
    user_id: int | None
    event: dict[str, Any]
    traceparent: str | None
    attempts: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of the claimed rows; the others were not tried or met trouble as all do.

    `trouble` is analytics' own; `troubled` are messages that met theirs while it is well:
    each of these waits by itself, and no other with it.
    """

    claimed: list[Message]
    delivered: list[Message] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    troubled: dict[int, Trouble] = field(default_factory=dict)
    trouble: Trouble | None = None

    @property
    def postponed(self) -> list[int]:
        """The ids of rows to try again as soon as analytics is well."""
        settled = {each.id for each in self.delivered} | self.refused.keys() | self.troubled.keys()
        return [each.id for each in self.claimed if each.id not in settled]


def deliver_some(receiver: Receiver) -> Outcome | None:
    """Claims up to 100 events, delivers and settles them; None if none was due."""
    return work_off(claim(EVENT), lambda outcome: take(receiver, outcome.claimed, outcome))


def erase_some(receiver: Receiver) -> Outcome | None:
    """Claims one erasure, has it done and settles it; None if none was due."""
    claimed = claim(ERASURE, limit=1, lease=ERASURE_LEASE)
    return work_off(claimed, lambda outcome: erase(receiver, outcome.claimed[0], outcome))


def work_off(claimed: list[Message], deliver: Callable[[Outcome], None]) -> Outcome | None:
    if not claimed:
        return None
    origins = [each.traceparent for each in claimed]
    with tracing.linked_span("deliver outbox", origins, **{COUNT: len(claimed)}):
        outcome = Outcome(claimed)
        try:
            deliver(outcome)
        except Troubled as error:
            outcome.trouble = error.trouble
        settle(outcome)
        return outcome


@tracing.untraced()
def claim(kind: str = EVENT, *, limit: int = BATCH, lease: timedelta = LEASE) -> list[Message]:
    """Returns due rows of a kind, oldest first, leased to this process; never "all after the
    last id", since rows don't become visible in the order of their ids."""
    now = clock.now()
    due = (
        OutboxMessage.dead_at.is_(None),
        OutboxMessage.due_at <= now,
        OutboxMessage.kind == kind,
    )
    # Most looks find nothing: a read takes no lock on SQLite, a claim would.
    found = db.session.scalar(select(OutboxMessage.id).where(*due).limit(1))
    db.session.rollback()
    if found is None:
        return []
    chosen = select(OutboxMessage.id).where(*due).order_by(OutboxMessage.due_at, OutboxMessage.id)
    claimed = (
        update(OutboxMessage)
        .where(OutboxMessage.id.in_(chosen.limit(limit).with_for_update(skip_locked=True)))
        .values(due_at=now + lease)
        .returning(OutboxMessage)
        .execution_options(synchronize_session=False)
    )
    with transaction(db.session):
        rows = db.session.scalars(claimed).all()
    return sorted((message(row) for row in rows), key=lambda each: each.id)


def message(row: OutboxMessage) -> Message:
    event = {
        "event_id": str(row.event_id),
        "event_type": row.event_type,
        "user_id": row.user_id,
        "metadata": row.details,
        "created_at": rfc3339(row.created_at),
    }
    return Message(row.id, row.kind, row.user_id, event, row.traceparent, row.attempts)


def take(receiver: Receiver, messages: list[Message], outcome: Outcome) -> None:
    """Delivers a batch; one that breaks as a whole is halved until the poison stands alone."""
    try:
        refused = receiver.take([each.event for each in messages])
    except (Unacceptable, Broken) as error:
        if len(messages) == 1:
            set_aside(receiver, messages[0], error, outcome)
            return
        half = len(messages) // 2
        take(receiver, messages[:half], outcome)
        take(receiver, messages[half:], outcome)
        return
    for index, each in enumerate(messages):
        if index in refused:
            outcome.refused[each.id] = refused[index]
        else:
            outcome.delivered.append(each)


def erase(receiver: Receiver, message: Message, outcome: Outcome) -> None:
    """Has one account's events erased; trouble with it is its own while analytics is well."""
    try:
        receiver.erase(message.user_id or 0)
    except (Unacceptable, Troubled) as error:
        set_aside(receiver, message, error, outcome)
        return
    outcome.delivered.append(message)


def set_aside(
    receiver: Receiver, message: Message, error: Unacceptable | Troubled, outcome: Outcome
) -> None:
    """Notes what is the one message's own; raises trouble that is analytics' on."""
    if isinstance(error, Unacceptable):
        outcome.refused[message.id] = str(error)
    elif receiver.is_healthy():
        outcome.troubled[message.id] = error.trouble
    else:
        raise error


def settle(outcome: Outcome) -> None:
    """Deletes what was delivered, keeps what was refused as dead, frees the rest."""
    attempts = {each.id: each.attempts for each in outcome.claimed}
    with transaction(db.session):
        remove(outcome.delivered)
        for row_id, reason in outcome.refused.items():
            bury(row_id, reason)
        for row_id, trouble in outcome.troubled.items():
            seconds = max(pause(attempts[row_id]), trouble.retry_after)
            postpone([row_id], trouble.reason, timedelta(seconds=seconds))
        if outcome.trouble and outcome.postponed:
            postpone(outcome.postponed, outcome.trouble.reason)
    if outcome.refused:
        log.error("events refused by analytics", count=len(outcome.refused))
    for row_id, trouble in outcome.troubled.items():
        log.warning("message postponed", message=row_id, reason=trouble.reason)


def remove(delivered: list[Message]) -> None:
    """Deletes the rows; an erasure leaves its `user_deleted`, which names nobody, behind."""
    ids = [each.id for each in delivered]
    erased = [each.id for each in delivered if each.kind == ERASURE]
    following = {"kind": EVENT, "user_id": None, "due_at": clock.now()}
    rows(update(OutboxMessage).where(OutboxMessage.id.in_(erased)).values(following))
    gone = OutboxMessage.id.in_(set(ids).difference(erased))
    rows(delete(OutboxMessage).where(gone))


def bury(row_id: int, reason: str) -> None:
    dead = {"dead_at": clock.now(), "last_error": reason, "attempts": OutboxMessage.attempts + 1}
    rows(update(OutboxMessage).where(OutboxMessage.id == row_id).values(dead))


def postpone(ids: list[int], reason: str, wait: timedelta = timedelta()) -> None:
    again = {
        "due_at": clock.now() + wait,
        "last_error": reason,
        "attempts": OutboxMessage.attempts + 1,
    }
    rows(update(OutboxMessage).where(OutboxMessage.id.in_(ids)).values(again))


def rows(statement: Any) -> int:
    """Runs the statement beside the session's objects; returns how many rows it touched."""
    result: Any = db.session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox; the age in seconds is that of the oldest live row."""

    pending: int
    oldest_age: float
    dead: int


def backlog() -> Backlog:
    """Returns how much waits, and since when."""
    alive = OutboxMessage.dead_at.is_(None)
    counted = select(func.count(), func.min(OutboxMessage.created_at)).where(alive)
    pending, oldest = db.session.execute(counted).one()
    dead = db.session.scalar(select(func.count()).select_from(OutboxMessage).where(~alive)) or 0
    age = (clock.now() - oldest).total_seconds() if oldest else 0.0
    return Backlog(pending, max(0.0, age), dead)


def listed(*, dead_only: bool, limit: int) -> list[OutboxMessage]:
    """Returns up to `limit` rows, oldest first."""
    query = select(OutboxMessage).order_by(OutboxMessage.id).limit(limit)
    if dead_only:
        query = query.where(OutboxMessage.dead_at.is_not(None))
    return list(db.session.scalars(query))


def requeue(ids: list[int]) -> int:
    """Makes dead rows (all of them without ids) due again; returns how many."""
    again = update(OutboxMessage).where(OutboxMessage.dead_at.is_not(None))
    if ids:
        again = again.where(OutboxMessage.id.in_(ids))
    with transaction(db.session):
        return rows(again.values(dead_at=None, due_at=clock.now(), attempts=0))
