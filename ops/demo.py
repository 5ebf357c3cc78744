"""Loads the demo: an admin to sign in with, and 90 days of believable events.

    python -m ops.demo --home var/demo

Every event follows from the demo's first day and the event's own day alone. A second run sends
what has happened since the first, and what that one did not get to.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import secrets
import sys
import time as pause
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import click
import requests

DAYS = 90
USERS = 2000
FIRST_USER_ID = 100_001  # above the accounts that someone may register in the demo
EVENTS_A_DAY = 2250
BATCH = 2000
TRIES = 15
ADMIN = {"email": "ada@demo.example", "username": "ada", "full_name": "Ada Lovelace"}
NAMESPACE = uuid.UUID("6f1d7c0a-5b0e-4f57-9a55-1f6f0c2f9d11")

WEEKDAY = (1.05, 1.12, 1.15, 1.1, 0.98, 0.62, 0.58)
HOUR = (2, 1, 1, 1, 2, 4, 8, 14, 22, 28, 30, 28, 24, 26, 30, 29, 26, 22, 19, 17, 15, 12, 8, 4)
PAGES = ("/", "/pricing", "/docs", "/docs/quickstart", "/blog/retention-101", "/changelog",
         "/projects", "/settings/team", "/checkout")  # fmt: skip
COUNTRIES = ("DE", "US", "FR", "SK", "IN", "BR", "JP", "NP")
PLANS = ("free", "free", "free", "starter", "team")
SEARCHES = ("funnel", "export", "webhook", "invite", "time zone", "api key")
FEATURES = ("dashboard", "report", "alert", "import", "share")


@dataclass(frozen=True, slots=True)
class Person:
    """Someone of the demo: the day they signed up, how keen they are, and what stays the same."""

    user_id: int
    joined: int
    keenness: float
    country: str
    plan: str
    device: str


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", required=True, type=Path)
    home = parser.parse_args().home
    try:
        token = admin_token(home)
        load(token, home)
    except (requests.RequestException, DemoError) as error:
        print(f"footfall: the demo could not be loaded: {error}", file=sys.stderr)
        return 1
    print(f"\n  Demo sign-in: {ADMIN['username']} / {password(home)}")
    return 0


class DemoError(Exception):
    """A service refused what the demo needs."""


def first_day(home: Path) -> date:
    """Returns the first of the 90 days, chosen once so that a second run repeats the first."""
    path = home / "demo-first-day"
    if not path.exists():
        path.write_text((datetime.now(UTC).date() - timedelta(days=DAYS - 1)).isoformat())
    return date.fromisoformat(path.read_text().strip())


def password(home: Path) -> str:
    """Returns the demo admin's password, made once."""
    path = home / "secrets" / "demo_password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text("-".join(secrets.token_hex(2) for _ in range(4)))
    return path.read_text().strip()


def admin_token(home: Path) -> str:
    """Registers the admin if need be, signs in and returns the access token."""
    users = os.environ["USERS_URL"]
    account = {**ADMIN, "password": password(home)}
    session = straight_session()
    registered = session.post(f"{users}/users", json=account, timeout=30)
    if registered.status_code not in (201, 409):
        raise DemoError(registered.text)
    credentials = {"username": ADMIN["username"], "password": account["password"]}
    signed_in = session.post(f"{users}/login", json=credentials, timeout=30)
    if signed_in.status_code != 200:
        raise DemoError(signed_in.text)
    token: str = signed_in.json()["access_token"]
    return token


def straight_session() -> requests.Session:
    """Returns a session that no proxy and no password file of the machine is asked for."""
    session = requests.Session()
    session.trust_env = False
    return session


def load(token: str, home: Path) -> None:
    """Sends the events up to now that are missing, oldest first, with a progress bar."""
    session = straight_session()
    session.headers["Authorization"] = f"Bearer {token}"
    start, now = first_day(home), datetime.now(UTC)
    people = everybody(start)
    sent, half = home / "demo-sent-until", home / "demo-sent-until.new"
    since = datetime.fromisoformat(sent.read_text()) if sent.exists() else start_of(start)
    if not has_events(session, start):
        since = start_of(start)
    # A visit that began the day before may have gone on past midnight.
    first = max(start, since.date() - timedelta(days=1))
    days = [first + timedelta(days=each) for each in range((now.date() - first).days + 1)]
    with click.progressbar(days, label="  Loading 90 days of sample events") as bar:
        for day in bar:
            happened = (
                each
                for each in events_of(day, start, people)
                if since <= datetime.fromisoformat(each["created_at"]) <= now
            )
            while batch := list(itertools.islice(happened, BATCH)):
                send(session, batch)
            half.write_text(min(now, start_of(day + timedelta(days=1))).isoformat())
            half.rename(sent)


def start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def has_events(session: requests.Session, day: date) -> bool:
    """Whether analytics has events of the day: its database may be another one by now."""
    url = os.environ["ANALYTICS_URL"] + "/analytics/summary"
    whole = {"start": day.isoformat(), "end": (day + timedelta(days=1)).isoformat()}
    answer = session.get(url, params=whole, timeout=30)
    if answer.status_code != 200:
        raise DemoError(answer.text)
    return bool(answer.json()["events_by_type"])


def send(session: requests.Session, events: list[dict[str, Any]]) -> None:
    answer = accepted(session, events)
    if answer.status_code != 200:
        raise DemoError(answer.text)
    if answer.json()["rejected"]:
        raise DemoError(f"events were rejected: {answer.json()['results'][:3]}")


def accepted(session: requests.Session, events: list[dict[str, Any]]) -> requests.Response:
    """Returns the answer to a batch; comes again when a busy machine asks for that."""
    url = os.environ["ANALYTICS_URL"] + "/analytics/events/batch"
    for _ in range(TRIES):
        answer = session.post(url, json={"events": events}, timeout=60)
        if answer.status_code != 503:
            break
        pause.sleep(int(answer.headers.get("Retry-After", "1")))
    return answer


def everybody(start: date) -> list[Person]:
    """Returns the demo's people; more of them join as the weeks go by, fewer at weekends."""
    chance = random.Random(20260101)
    days = range(-8, DAYS)
    rush = [WEEKDAY[(start + timedelta(days=day)).weekday()] * (0.6 + day / DAYS) for day in days]
    return [
        Person(
            user_id=FIRST_USER_ID + number,
            joined=joined,
            keenness=chance.paretovariate(1.6),
            country=chance.choices(COUNTRIES, (30, 22, 14, 9, 8, 7, 6, 4))[0],
            plan=chance.choice(PLANS),
            device=chance.choices(("desktop", "mobile", "tablet"), (60, 34, 6))[0],
        )
        for number, joined in enumerate(sorted(chance.choices(days, rush, k=USERS)))
    ]


def events_of(day: date, start: date, people: list[Person]) -> Iterator[dict[str, Any]]:
    """Yields one day's events; the same day always has the same ones."""
    chance = random.Random(f"footfall-demo-{day.isoformat()}")
    age = (day - start).days
    joined = [each for each in people if each.joined <= age]
    newcomers = [each for each in joined if each.joined == age]
    quota = EVENTS_A_DAY * WEEKDAY[day.weekday()] * (0.62 + 0.76 * age / DAYS)
    count = itertools.count()
    for person in newcomers:
        yield from visit(chance, day, person, next(count), newcomer=True)
    weights = [each.keenness * still_here(each, age) for each in joined]
    sessions = int(quota / 4.4)
    for person in chance.choices(joined, weights, k=sessions):
        yield from visit(chance, day, person, next(count), newcomer=False)
    for _ in range(sessions // 6):
        yield from anonymous_visit(chance, day, next(count))


def still_here(person: Person, age: int) -> float:
    """Returns how likely someone still comes, falling off after they joined."""
    return 0.25 + 0.75 * math.exp(-(age - person.joined) / 18)


def visit(
    chance: random.Random, day: date, person: Person, number: int, *, newcomer: bool
) -> Iterator[dict[str, Any]]:
    """Yields the events of one visit, a few seconds to minutes apart."""
    moment = start_of_visit(chance, day)
    kinds = ["user_registered", "page_view"] if newcomer else ["page_view"]
    if chance.random() < 0.02:
        kinds.append("user_login_failed")
    kinds += chance.choices(
        ("page_view", "search", "feature_used", "file_uploaded", "user_logged_in",
         "project_created", "invite_sent", "checkout_started", "error_shown"),
        (46, 14, 15, 7, 8, 4, 2.5, 3, 2),
        k=chance.randint(1, 6),
    )  # fmt: skip
    if "checkout_started" in kinds and chance.random() < 0.55:
        kinds.append("purchase")
    for step, kind in enumerate(kinds):
        moment += timedelta(seconds=chance.expovariate(1 / 70) + 1)
        yield event(day, number, step, kind, moment, metadata(chance, kind, person)) | {
            "user_id": person.user_id
        }


def anonymous_visit(chance: random.Random, day: date, number: int) -> Iterator[dict[str, Any]]:
    moment = start_of_visit(chance, day)
    visitor = f"visitor-{day.isoformat()}-{number}"
    for step in range(chance.randint(1, 3)):
        moment += timedelta(seconds=chance.expovariate(1 / 40) + 1)
        page = {"page": chance.choices(PAGES[:6], (30, 16, 10, 8, 12, 3))[0], "device": "mobile"}
        yield event(day, number, step, "page_view", moment, page) | {"visitor_id": visitor}


def start_of_visit(chance: random.Random, day: date) -> datetime:
    hour = chance.choices(range(24), HOUR)[0]
    seconds = chance.uniform(0, 3000)
    return datetime.combine(day, time(hour), UTC) + timedelta(seconds=seconds)


def event(
    day: date, number: int, step: int, kind: str, moment: datetime, about: dict[str, Any]
) -> dict[str, Any]:
    identity = uuid.uuid5(NAMESPACE, f"{day}/{number}/{step}")
    created = moment.replace(microsecond=moment.microsecond // 1000 * 1000).isoformat()
    return {
        "event_id": str(identity),
        "event_type": kind,
        "created_at": created,
        "metadata": about,
    }


def metadata(chance: random.Random, kind: str, person: Person) -> dict[str, Any]:
    usual = {"country": person.country, "device": person.device, "plan": person.plan}
    extra: dict[str, Any] = {
        "page_view": lambda: {"page": chance.choice(PAGES)},
        "search": lambda: {"term": chance.choice(SEARCHES), "results": chance.randint(0, 40)},
        "feature_used": lambda: {"feature": chance.choice(FEATURES)},
        "file_uploaded": lambda: {"megabytes": round(chance.lognormvariate(0.5, 1), 2)},
        "purchase": lambda: {"amount": chance.choice((9, 19, 49, 99)), "currency": "EUR"},
        "error_shown": lambda: {"code": chance.choice((404, 409, 500))},
    }.get(kind, dict)()
    return usual | extra


if __name__ == "__main__":
    sys.exit(main())
