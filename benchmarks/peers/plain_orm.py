"""FastAPI + SQLAlchemy ORM + psycopg2: a plain insert of the same table, nothing else kept."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import JSON, BigInteger, DateTime, Identity, Index, String, Uuid, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from benchmarks.peers.events import EventIn, EventOut

URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://")
engine = create_engine(URL, pool_size=20, max_overflow=20)
Sessions = sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """The declarative base."""


class Event(Base):
    """One event, with the indexes that ours has."""

    __tablename__ = "events"

    actor: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity())
    event_type: Mapped[str] = mapped_column(String(100))
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON)

    __table_args__ = (
        Index("events_by_type", "event_type", "created_at", postgresql_include=["actor"]),
    )


def session() -> Iterator[Session]:
    with Sessions() as opened:
        yield opened


@app.post("/analytics/events", status_code=201)
def store(event: EventIn, opened: Annotated[Session, Depends(session)]) -> EventOut:
    """Stores one event."""
    row = Event(
        actor=event.user_id,
        created_at=event.created_at,
        event_id=event.event_id,
        event_type=event.event_type,
        user_id=event.user_id,
        details=event.metadata,
    )
    opened.add(row)
    opened.commit()
    return EventOut(id=row.id, **event.model_dump())
