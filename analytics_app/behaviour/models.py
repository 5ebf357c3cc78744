"""The tables of the behaviour reports: sealed days, and people's saved reports and notes."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, Identity, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from analytics_app.models import Base
from chassis.database import UtcDateTime

BIG_KEY = BigInteger().with_variant(Integer, "sqlite")


class SealedDay(Base):
    """A closed UTC day that is kept in columns too, once it is `ready`.

    `generation` grows with each attempt to seal it: only the latest may finish.
    """

    __tablename__ = "sealed_days"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int] = mapped_column(BigInteger)
    ready: Mapped[bool]


class DirtyDay(Base):
    """A UTC day whose events changed since it was sealed: it is read from `events`."""

    __tablename__ = "dirty_days"

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class SealedColumn(Base):
    """One column of one day: of the events of a type, or of all where `event_type` is ''."""

    __tablename__ = "sealed_columns"

    event_type: Mapped[str] = mapped_column(String(100), primary_key=True)
    name: Mapped[str] = mapped_column(String(201), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class SavedReport(Base):
    """A named set of parameters of one report's page; `created_by` is a user id."""

    __tablename__ = "saved_reports"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BIG_KEY, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    report: Mapped[str] = mapped_column(String(20))
    query: Mapped[str] = mapped_column(String(4000))
    created_by: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Annotation(Base):
    """A note on a day, such as a release; `created_by` is a user id, None for a program."""

    __tablename__ = "annotations"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BIG_KEY, Identity(), primary_key=True)
    day: Mapped[date] = mapped_column(Date, index=True)
    text: Mapped[str] = mapped_column(String(200))
    created_by: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
