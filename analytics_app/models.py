"""The tables: raw events, what is counted from them, and the service's own records.

Every key of `events`, `presence` and `tombstones` holds `actor`, so that these can be
distributed by it; counts hold no person. Quarters and days are numbers as in zones.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, BigInteger, Identity, Index, Integer, SmallInteger, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Uuid

from chassis.database import RequestSession, UtcDateTime

FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)


class Base(DeclarativeBase):
    """The declarative base of this service's tables."""


db = SQLAlchemy(
    model_class=Base, session_options={"class_": RequestSession}, disable_autonaming=True
)


class Event(Base):
    """One stored event; `actor` is the user id, a visitor's negative hash, or 0 for nobody."""

    __tablename__ = "events"

    actor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    event_id: Mapped[Any] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity())
    event_type: Mapped[str] = mapped_column(String(100))
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    # `metadata` is a name that declarative classes keep for themselves.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)

    __table_args__ = (
        Index("events_by_type", "event_type", "created_at", postgresql_include=["actor"]),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )


class Count(Base):
    """How many events of a type one quarter holds: the sum over its slots."""

    __tablename__ = "counts"

    quarter: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_type: Mapped[str] = mapped_column(String(100), primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)


class DayCount(Base):
    """How many events of a type one day of the reporting zone holds: the sum over its slots."""

    __tablename__ = "counts_day"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_type: Mapped[str] = mapped_column(String(100), primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)


class Presence(Base):
    """The quarters of one UTC day in which an actor did anything: 48 bits low, 48 bits high."""

    __tablename__ = "presence"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    actor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    low: Mapped[int] = mapped_column(BigInteger)
    high: Mapped[int] = mapped_column(BigInteger)


class Tombstone(Base):
    """An actor whose events dated before a moment were erased, and stay out."""

    __tablename__ = "tombstones"

    actor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    erased_before: Mapped[datetime] = mapped_column(UtcDateTime)


class Erasure(Base):
    """The deletion, slice by slice, of an actor's events dated before a moment.

    They are out of the counts already, and no read sees them (erased.py). `events` is how
    many they are, `erased` how many of them are deleted so far; an actor has one at a time.
    """

    __tablename__ = "erasures"
    __table_args__ = (
        Index(
            "erasures_open",
            "actor",
            unique=True,
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True
    )
    actor: Mapped[int] = mapped_column(BigInteger)
    before: Mapped[datetime] = mapped_column(UtcDateTime)
    events: Mapped[int] = mapped_column(BigInteger)
    erased: Mapped[int] = mapped_column(BigInteger)
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Bookkeeping(Base):
    """The one row of what the service must remember of itself.

    `reporting_zone` is the zone that `counts_day` is kept in; while `days_ready` is false
    it is being rebuilt. Events before `dropped_before` were dropped by retention.
    """

    __tablename__ = "bookkeeping"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reporting_zone: Mapped[str] = mapped_column(String(64))
    days_ready: Mapped[bool]
    dropped_before: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ApiKey(Base):
    """Another program's key, kept as the SHA-256 digest of what was shown once.

    Of keys older than these columns nobody knows `prefix` and `created_by`.
    """

    __tablename__ = "api_keys"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(100))
    scopes: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str | None] = mapped_column(String(10))
    created_by: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class EventType(Base):
    """A type of which events may be stored; no event is of a type that has no row here.

    `created_by` is the account that made it without `events:write`, 0 once that account was
    deleted, else null. While it is `erasing`, no event of it is taken.
    """

    __tablename__ = "event_types"
    __table_args__ = (
        Index(
            "event_types_erasing",
            "event_type",
            postgresql_where=text("erasing"),
            sqlite_where=text("erasing"),
        ),
    )

    event_type: Mapped[str] = mapped_column(String(100), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[int | None] = mapped_column(BigInteger)
    erasing: Mapped[bool]


class DailyUse(Base):
    """How much of a daily limit is used up: by one account, or by all together (actor 0)."""

    __tablename__ = "daily_use"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    what: Mapped[str] = mapped_column(String(20), primary_key=True)
    actor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    used: Mapped[int]


class AuditEntry(Base):
    """Who made or deleted a key, exported or erased; rows are never changed or deleted.

    `actor_kind` is that of a Caller, or "command"; `actor_id` the account's or key's id.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    action: Mapped[str] = mapped_column(String(40))
    actor_kind: Mapped[str] = mapped_column(String(10))
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    account_id: Mapped[int | None] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(String(45))
    request_id: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (
        Index("ix_audit_action", "action"),
        Index("ix_audit_actor_id", "actor_id"),
        Index("ix_audit_account_id", "account_id"),
        {"sqlite_autoincrement": True},
    )
