"""FastAPI + asyncpg doing the same work: uniqueness, counts and presence, in one statement."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request, Response

from benchmarks.peers.events import EventIn, EventOut

STORE = """
WITH claimed AS (
    INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
    SELECT $1::bigint, $2::timestamptz, $3::uuid, $4::text, $1::bigint, $5::json
    WHERE NOT EXISTS (
        SELECT FROM tombstones t WHERE t.actor = $1 AND $2::timestamptz < t.erased_before)
    ON CONFLICT DO NOTHING
    RETURNING id
), counted AS (
    INSERT INTO counts AS c (quarter, event_type, slot, count)
    SELECT $6::int, $4::text, $7::smallint, 1 FROM claimed
    ON CONFLICT (quarter, event_type, slot) DO UPDATE SET count = c.count + 1
), counted_by_day AS (
    INSERT INTO counts_day AS c (day, event_type, slot, count)
    SELECT $6::int / 96, $4::text, $7::smallint, 1 FROM claimed
    ON CONFLICT (day, event_type, slot) DO UPDATE SET count = c.count + 1
), present AS (
    INSERT INTO presence AS p (day, actor, low, high)
    SELECT $6::int / 96, $1::bigint, $8::bigint, $9::bigint FROM claimed
    WHERE NOT EXISTS (
        SELECT FROM presence k WHERE k.day = $6::int / 96 AND k.actor = $1::bigint
        AND (k.low | $8::bigint) = k.low AND (k.high | $9::bigint) = k.high)
    ON CONFLICT (day, actor) DO UPDATE
        SET low = p.low | excluded.low, high = p.high | excluded.high
)
SELECT id FROM claimed
"""
SLOT = 1 + os.getpid() % 8


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=8, max_size=8) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/analytics/events", status_code=201)
async def store(event: EventIn, request: Request, response: Response) -> EventOut:
    """Stores and counts one event."""
    quarter = int(event.created_at.timestamp()) // 900
    bit = 1 << quarter % 96
    async with request.app.state.pool.acquire() as connection:
        number = await connection.fetchval(
            STORE,
            event.user_id,
            event.created_at,
            event.event_id,
            event.event_type,
            json.dumps(event.metadata),
            quarter,
            SLOT,
            bit & ((1 << 48) - 1),
            bit >> 48,
        )
    if number is None:
        response.status_code = 200
    return EventOut(id=number or 0, **event.model_dump())
