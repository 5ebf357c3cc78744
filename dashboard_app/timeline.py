"""One user's events by local day, gathered into sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from dashboard_app.clients import Json
from dashboard_app.formats import parsed

PAUSE = timedelta(minutes=30)


@dataclass(slots=True)
class Visit:
    """Events with no half hour of silence between them, newest first."""

    events: list[Json]
    end: datetime
    start: datetime

    @property
    def minutes(self) -> int:
        """How long it lasted, from the first event to the last."""
        return round((self.end - self.start).total_seconds() / 60)


@dataclass(slots=True)
class Day:
    """The visits that ended on a local day, newest first."""

    date: date
    visits: list[Visit] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many events the day's visits have."""
        return sum(len(visit.events) for visit in self.visits)


def visits_of(events: Sequence[Json], tz: str) -> list[Visit]:
    """Returns the visits of events that come newest first."""
    zone, visits = ZoneInfo(tz), list[Visit]()
    for event in events:
        moment = parsed(event["created_at"]).astimezone(zone)
        if visits and visits[-1].start - moment <= PAUSE:
            visits[-1].events.append(event)
            visits[-1].start = moment
        else:
            visits.append(Visit([event], moment, moment))
    return visits


def days_of(events: Sequence[Json], tz: str) -> list[Day]:
    """Returns the days of events that come newest first."""
    days: list[Day] = []
    for visit in visits_of(events, tz):
        if not days or days[-1].date != visit.end.date():
            days.append(Day(visit.end.date()))
        days[-1].visits.append(visit)
    return days
