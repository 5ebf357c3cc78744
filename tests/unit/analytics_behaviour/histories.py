"""Histories: events of a few people over some weeks, sent to the service and remembered."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.reference import Happening

KINDS = ("signup", "view", "cart", "purchase")
PEOPLE: tuple[int | str | None, ...] = (1, 2, 3, 4, 5, 70_000, 2**40, "ann", "bob", None)
PLANS: tuple[Any, ...] = ("pro", "free", "Größe", 3, "3", 2.5, True, None, ["a"], {"b": 1})
START = datetime(2026, 3, 20, tzinfo=UTC)
DAYS = 21


@dataclass
class History:
    """What was accepted and not erased since, as `events`."""

    api: Api
    chance: random.Random
    events: list[Happening] = field(default_factory=list)
    erased: set[int | str] = field(default_factory=set)

    def send(self, number: int, start: datetime = START, days: int = DAYS) -> None:
        """Sends so many events; some share their moment, some lie on days' very edges."""
        found = [self.event(start, days) for _ in range(number)]
        answer = self.api.batch([written(each) for each in found])
        kept = [event for event in found if event.who not in self.erased]
        assert answer["accepted"] == len(kept), answer
        self.events += kept

    def event(self, start: datetime, days: int) -> Happening:
        chance = self.chance
        at = start + timedelta(days=chance.randrange(days), minutes=15 * chance.randrange(96))
        at += chance.choice(
            [timedelta(), timedelta(microseconds=-1), timedelta(seconds=chance.randrange(900))]
        )
        kind = chance.choice(KINDS)
        return Happening(chance.choice(PEOPLE), max(at, start), kind, self.metadata(kind))

    def metadata(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.chance.random() < 0.7:
            found["plan"] = self.chance.choice(PLANS)
        if kind == "purchase":
            found["price"] = self.chance.choice([1, 2, 5, 10, 19.5, -4, "free", None])
        return found

    def erase(self, who: int | str) -> None:
        kind = "visitors" if isinstance(who, str) else "users"
        answer = self.api.call("DELETE", f"/analytics/{kind}/{who}/events")
        assert answer.status_code == 200
        self.erased.add(who)
        self.events = [event for event in self.events if event.who != who]


def written(event: Happening) -> dict[str, Any]:
    """Returns the event as it is sent."""
    person = {"visitor_id": event.who} if isinstance(event.who, str) else {"user_id": event.who}
    return {
        "event_type": event.kind,
        "created_at": event.at.isoformat(),
        "event_id": str(uuid.uuid4()),
        "metadata": event.metadata,
        **person,
    }
