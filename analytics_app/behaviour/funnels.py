"""Funnels as they are asked for -> steps, and the people who stopped as a page of a list."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic_core import to_json

from analytics_app.behaviour import funnel
from analytics_app.behaviour.frames import Window
from analytics_app.behaviour.funnel import Attempts, Step
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.source import Source
from analytics_app.schemas.behaviour import DroppedIn, FunnelIn, FunnelSteps, ValueIn, Wanted
from analytics_app.zones import microseconds, moment_at
from chassis.errors import FieldError, Invalid
from chassis.schema import rfc3339


def steps_of(body: FunnelSteps) -> list[Step]:
    return [
        Step(step.event_type, {key: texts_of(wanted) for key, wanted in step.metadata.items()})
        for step in body.steps
    ]


def texts_of(wanted: Wanted) -> list[str]:
    return [text_of(value) for value in (wanted if isinstance(wanted, list) else [wanted])]


def text_of(value: ValueIn) -> str:
    """Returns the value as the text that it spells in metadata."""
    return value if isinstance(value, str) else to_json(value).decode()


def report(source: Source, body: FunnelIn, window: Window, seconds: int) -> dict[str, Any]:
    """Returns the funnel's figures, by value too where that is asked for."""
    steps = steps_of(body)
    found = funnel.attempts(source, steps, window, seconds * 1_000_000, body.breakdown)
    answer: dict[str, Any] = {"window_seconds": seconds}
    answer["steps"] = funnel.figures(found, steps, np.arange(len(found.actors)))
    if body.breakdown:
        answer["breakdown"] = funnel.by_value(found, steps, body.limit, source.deadline)
    return answer


def dropped(source: Source, body: DroppedIn, window: Window, seconds: int) -> dict[str, Any]:
    """Returns a page of the people who did all steps up to the one before `step`, and not it."""
    if body.step > len(body.steps):
        raise Invalid([FieldError("step", f"must be at most {len(body.steps)}: the last step")])
    found = funnel.attempts(source, steps_of(body), window, seconds * 1_000_000)
    everybody = funnel.dropped_at(found, body.step - 1)
    users = everybody[found.actors[everybody] > 0]
    rows = after(found, users, body).tolist()
    return {
        "step": body.step,
        "users": len(everybody),
        "visitors": len(everybody) - len(users),
        **body.page(rows, lambda n: dropped_user(found, n, body.step)),
    }


def after(found: Attempts, users: Array, body: DroppedIn) -> Array:
    """Returns the users from the cursor on, one more than fit on the page."""
    if place := body.after():
        time, actor = microseconds(place[0]), place[1]
        times, actors = found.times[body.step - 2][users], found.actors[users]
        users = users[(times < time) | ((times == time) & (actors > actor))]
    return users[: body.limit + 1]


def dropped_user(found: Attempts, position: int, step: int) -> dict[str, Any]:
    time = found.times[step - 2][position]
    return {
        "user_id": int(found.actors[position]),
        "started_at": rfc3339(moment_at(found.times[0][position])),
        "last_step_at": rfc3339(moment_at(time)),
    }
