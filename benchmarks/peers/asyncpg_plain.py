"""FastAPI + asyncpg: a plain insert of the same table, nothing else kept."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request

from benchmarks.peers.events import EventIn, EventOut

INSERT = """
INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
VALUES ($1, $2, $3, $4, $1, $5) RETURNING id
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=8, max_size=8) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/analytics/events", status_code=201)
async def store(event: EventIn, request: Request) -> EventOut:
    """Stores one event."""
    async with request.app.state.pool.acquire() as connection:
        number = await connection.fetchval(
            INSERT,
            event.user_id,
            event.created_at,
            event.event_id,
            event.event_type,
            json.dumps(event.metadata),
        )
    return EventOut(id=number, **event.model_dump())
