"""Quarter-hours, local days and buckets: the arithmetic that rollups and reports share.

A quarter is the number of whole quarter-hours since 1970 in UTC, a UTC day is 96 of them,
and a local day is numbered by its date since 1970-01-01.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

QUARTER_SECONDS = 900
QUARTER_US = QUARTER_SECONDS * 1_000_000
QUARTERS_A_DAY = 96
EPOCH = date(1970, 1, 1).toordinal()
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ONE_DAY = timedelta(days=1)


def microseconds(moment: datetime) -> int:
    """Returns the microseconds since 1970."""
    return (moment - BEGINNING) // MICROSECOND


def moment_at(time: int) -> datetime:
    """Returns the moment so many microseconds after 1970 began."""
    return BEGINNING + timedelta(microseconds=int(time))


def quarter_of(moment: datetime) -> int:
    """Returns the quarter that holds the moment."""
    return int(moment.timestamp() // QUARTER_SECONDS)


def quarter_start(quarter: int) -> datetime:
    """Returns the first moment of the quarter, in UTC."""
    return datetime.fromtimestamp(quarter * QUARTER_SECONDS, UTC)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Returns the first moment of a local day, in UTC (where clocks skip midnight: after it)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def local_date(moment: datetime, zone: ZoneInfo) -> date:
    """Returns the local day whose `[midnight, next midnight)` holds the moment.

    The calendar on the wall may differ for an hour where clocks go back over midnight.
    """
    day = moment.astimezone(zone).date()
    return day + ONE_DAY if midnight(day + ONE_DAY, zone) <= moment else day


@lru_cache(maxsize=65_536)
def day_number(quarter: int, zone: ZoneInfo) -> int:
    """Returns the local day, as days since 1970-01-01, that the quarter belongs to."""
    return local_date(quarter_start(quarter), zone).toordinal() - EPOCH


def first_quarter(number: int, zone: ZoneInfo) -> int:
    """Returns the quarter with which a local day begins."""
    return quarter_of(midnight(date_of(number), zone))


def date_of(number: int) -> date:
    """Returns the date of a day number."""
    return date.fromordinal(number + EPOCH)


def on_quarter(moment: datetime) -> bool:
    """Whether the moment begins a quarter."""
    return moment.microsecond == 0 and int(moment.timestamp()) % QUARTER_SECONDS == 0


def is_midnight(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether a local day begins at the moment."""
    return midnight(local_date(moment, zone), zone) == moment
