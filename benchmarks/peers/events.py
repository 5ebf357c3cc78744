"""The event as the FastAPI peers take and answer it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field


class EventIn(BaseModel):
    """One event to store."""

    event_type: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")
    user_id: int
    event_id: UUID
    created_at: datetime
    metadata: dict[str, Any] = {}


class EventOut(EventIn):
    """One stored event."""

    id: int
