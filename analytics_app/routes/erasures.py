"""Erasing all that is kept of a user or a visitor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any

from flask import Blueprint

from analytics_app import event_types
from analytics_app.erasure import erase
from analytics_app.models import Erasure, db
from analytics_app.routes.events import account_id
from analytics_app.schemas.erasures import Erased, ErasureBegun, ErasureOut, TypeErased
from analytics_app.schemas.events import MAX_VISITOR_ID
from analytics_app.services import services
from chassis.api import api
from chassis.auth import caller, requires
from chassis.errors import FieldError, Invalid, NotFound, Unavailable

AT_ONCE = 1  # in each worker: of the two connections for it, readiness needs the other
WAIT_SECONDS = 2.0

routes = Blueprint("erasures", __name__, url_prefix="/analytics")
running = BoundedSemaphore(AT_ONCE)


@routes.delete("/users/<id:user_id>/events")
@requires("events:erase", confirmed=True)
@api(answers={200: Erased, 202: ErasureBegun}, errors=(Invalid,))
def erase_user_events(user_id: int) -> Any:
    """Erase all events of a user.

    From the answer on no report, list or export holds them. Over 5,000 are deleted in the
    background: that is a 202. What arrives later but is dated before is refused: for ever
    when the users service asks, which it does for deleted accounts. One erasure runs at a
    time in each worker; one more waits for up to 2 s, then it is a 503 with Retry-After.
    """
    return erased(account_id(user_id), for_ever=caller().kind == "service")


@routes.delete("/visitors/<path:visitor_id>/events")
@requires("events:erase", confirmed=True)
@api(answers={200: Erased, 202: ErasureBegun}, errors=(Invalid,))
def erase_visitor_events(visitor_id: str) -> Any:
    """Erase all events of a visitor, as of a user."""
    if len(visitor_id) > MAX_VISITOR_ID:
        raise Invalid([FieldError("visitor_id", f"must have at most {MAX_VISITOR_ID} characters")])
    return erased(services().ingest.intake.visitor(visitor_id), for_ever=False)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    if not running.acquire(timeout=WAIT_SECONDS):
        raise Unavailable("Another erasure is under way: try again soon.", retry_after=2)
    try:
        yield
    finally:
        running.release()


def erased(actor: int, *, for_ever: bool) -> tuple[dict[str, int], int]:
    with one_at_a_time():
        found = erase(db, actor, datetime.now(UTC), for_ever=for_ever)
    if found.erasure is None:
        return {"erased": found.events}, 200
    return {"erasure": found.erasure}, 202


@routes.delete("/event-types/<event_type>")
@requires("keys:manage", confirmed=True)  # admins alone: the users service erases people
@api(answers={200: TypeErased, 202: TypeErased})
def erase_event_type(event_type: str) -> Any:
    """Erase an event type: its events leave every report, and its name is free again.

    Many events are deleted in the background: that is a 202, and until they are gone no
    event of the type is taken, and people may still be counted as active by them. Those of
    the users service keep their names.
    """
    with one_at_a_time():
        found = event_types.erase(db, event_type)
    return {"event_type": event_type, "erased": found.events}, 200 if found.done else 202


@routes.get("/erasures/<id:erasure_id>")
@requires("events:erase")
@api(answers={200: ErasureOut})
def get_erasure(erasure_id: int) -> dict[str, Any]:
    """Show how far the erasure of many events is."""
    found = db.session.get(Erasure, erasure_id)
    if found is None:
        raise NotFound("There is no such erasure.")
    return {
        "id": found.id,
        "state": "done" if found.finished_at else "erasing",
        "user_id": found.actor if found.actor > 0 else None,
        "events": found.events,
        "erased": found.erased,
        "requested_at": found.requested_at,
        "finished_at": found.finished_at,
    }
