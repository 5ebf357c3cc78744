"""API keys for other programs: opaque, scoped, kept as digests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Lock, Thread
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, or_, select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from analytics_app import audit
from analytics_app.models import ApiKey
from analytics_app.outage import Outage, not_answering
from analytics_app.room import need_room
from chassis.auth import Caller
from chassis.database import transaction, writing
from chassis.errors import NotFound
from chassis.keyset import rows_of
from chassis.pagination import Paging
from chassis.schema import rfc3339
from chassis.telemetry import get_logger

PREFIX = "ffk_"
SHOWN_CHARACTERS = 10  # of a key, in lists: 36 of its 256 bits
USE_NOTED_EVERY = timedelta(minutes=1)
BELIEVED_SECONDS = 4.0
REMEMBERED = 4096
log = get_logger(__name__)


def issue(
    db: SQLAlchemy,
    name: str,
    scopes: Sequence[str],
    expires_in_days: int | None,
    created_by: int | None,
    most: int,
) -> dict[str, Any]:
    """Makes a key for an account; returns it with its text, which is shown this once.

    Raises Conflict where there are so many.
    """
    text = PREFIX + secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    expires_at = now + timedelta(days=expires_in_days) if expires_in_days else None
    with transaction(db.session):
        need_room(db.session.connection(), ApiKey.__table__, most, "api keys")
        key = ApiKey(
            name=name,
            scopes=" ".join(sorted(set(scopes))),
            digest=digest(text),
            prefix=text[:SHOWN_CHARACTERS],
            created_by=created_by,
            created_at=now,
            expires_at=expires_at,
        )
        db.session.add(key)
        db.session.flush()
        note(db, "key_created", key)
        return {**answered(key), "key": text}


def listed(db: SQLAlchemy, query: Paging) -> list[ApiKey]:
    """Returns a page's keys in the order they were made, and one more."""
    return rows_of(db.session, select(ApiKey), query, ApiKey.id, oldest_first=True)


def revoke(db: SQLAlchemy, key_id: int) -> None:
    """Deletes a key; raises NotFound. All workers refuse it within 5 s."""
    with transaction(db.session):
        key = db.session.get(ApiKey, key_id)
        if key is None:
            raise NotFound("There is no such API key.")
        db.session.delete(key)
        note(db, "key_deleted", key)


def note(db: SQLAlchemy, action: str, key: ApiKey) -> None:
    audit.record(
        db.session.connection(), action, key_id=key.id, prefix=key.prefix, scopes=key.scopes
    )


def answered(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes.split(),
        "prefix": key.prefix,
        "created_by": key.created_by,
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at) if key.expires_at else None,
        "last_used_at": rfc3339(key.last_used_at) if key.last_used_at else None,
    }


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def in_background(work: Callable[[], None]) -> None:
    """Does the work on a thread of its own."""
    Thread(target=work, name="key-use", daemon=True).start()


class Uses:
    """Writes down when keys were last used, beside the requests that use them.

    One key at a time in each process, and none more than once a minute: what doesn't get
    its turn is noted when the key is looked up again, 4 s later.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.writing = Lock()

    def note(self, key_id: int, last_used_at: datetime | None) -> None:
        """Has the use written, if the last one that is known is a minute old; never waits."""
        if last_used_at and datetime.now(UTC) - last_used_at < USE_NOTED_EVERY:
            return
        if not self.writing.acquire(blocking=False):
            return
        try:
            in_background(lambda: self.write(key_id))
        except RuntimeError:  # no thread can be had
            self.writing.release()

    def write(self, key_id: int) -> None:
        now = datetime.now(UTC)
        earlier = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - USE_NOTED_EVERY)
        change = update(ApiKey).where(ApiKey.id == key_id, earlier).values(last_used_at=now)
        try:
            with self.engine.connect() as connection, writing(connection):
                connection.execute(change)
        except Exception as error:  # the next use tries again
            log.warning(
                "a key's use could not be noted", key_id=key_id, reason=type(error).__name__
            )
        finally:
            self.writing.release()


class KeyRing:
    """Finds callers by their keys; what it found it believes for 4 s.

    While the database doesn't answer nobody is found anew, and whoever was is not asked
    about again: nothing can be stored or deleted then.
    """

    def __init__(self, engine: Engine, outage: Outage, uses: Uses) -> None:
        self.engine = engine
        self.outage = outage
        self.uses = uses
        self.known: dict[str, tuple[float, Caller | None]] = {}

    def holder(self, credential: str) -> Caller | None:
        """Returns the caller whose key this is; None if it is unknown, expired or deleted."""
        if not credential.startswith(PREFIX) or len(credential) > 100:
            return None
        name, now = digest(credential), time.monotonic()
        until, found = self.known.get(name, (0.0, None))
        if until > now or (found and self.outage.is_recent()):
            return found
        found = self.asked(name)
        if len(self.known) >= REMEMBERED:
            self.known.clear()
        self.known[name] = now + BELIEVED_SECONDS, found
        return found

    def asked(self, name: str) -> Caller | None:
        """Looks the key up; raises Unavailable, at once if others have just waited in vain."""
        if self.outage.is_recent():
            raise not_answering()
        try:
            return self.look_up(name)
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            self.outage.note()
            raise not_answering() from error

    def remembered(self, credential: str) -> Caller | None:
        """Returns the caller found by this key moments ago, without asking the database."""
        until, found = self.known.get(digest(credential), (0.0, None))
        return found if until > time.monotonic() or self.outage.is_recent() else None

    def look_up(self, name: str) -> Caller | None:
        columns = ApiKey.id, ApiKey.scopes, ApiKey.expires_at, ApiKey.last_used_at
        with self.engine.connect() as connection:
            found = connection.execute(select(*columns).where(ApiKey.digest == name)).one_or_none()
        if found is None or (found.expires_at and found.expires_at <= datetime.now(UTC)):
            return None
        self.uses.note(found.id, found.last_used_at)
        return Caller("key", str(found.id), frozenset(found.scopes.split()))
