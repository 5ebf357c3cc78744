"""Both services' audit trails as one, newest first."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chassis.errors import FieldError, Invalid, Unavailable
from chassis.pagination import decode_cursor, encode_cursor
from dashboard_app.clients import Json, analytics, users
from dashboard_app.names import usernames

PAGE = 25
BOTH, EACH = "audit of both", "audit"


@dataclass
class Trail:
    """One service's entries before `before` (0: from the newest), of which some are shown.

    `entries` is None while the service doesn't answer; its place is kept until it does.
    """

    service: str
    before: int
    entries: list[Json] | None
    has_more: bool
    shown: int = 0

    @property
    def left(self) -> bool:
        """Whether there is more than what is shown, as far as is known."""
        return self.has_more or self.shown < len(self.entries or ())

    @property
    def place(self) -> int:
        """Returns the id before which the next page begins."""
        return self.entries[self.shown - 1]["id"] if self.entries and self.shown else self.before


@dataclass(frozen=True)
class TrailPage:
    """One page of entries, the place to go on from, and which services didn't answer.

    While not `names_are_known`, an account without a name may exist all the same.
    """

    items: list[Json]
    next_cursor: str | None
    missing: list[str]
    names_are_known: bool


def page(where: dict[str, str], cursor: str | None) -> TrailPage:
    """Returns a page of what matches; raises Invalid for a bad cursor, Unavailable if both fail."""
    places = places_in(cursor) if cursor else (0, 0)
    trails = [
        read("users", users().audit, where, places[0]),
        read("analytics", analytics().audit, where, places[1]),
    ]
    missing = [each.service for each in trails if each.entries is None]
    if len(missing) == len(trails):
        raise Unavailable("Neither service is answering right now.")
    items = merged(trails)
    known = name_accounts([each for each in items if each["service"] == "analytics"])
    return TrailPage(items, place_after(trails), missing, known)


def places_in(cursor: str) -> tuple[int, ...]:
    """Returns the ids before which each service's part of a page begins; raises Invalid."""
    try:
        return decode_cursor(cursor, BOTH, int, int)
    except ValueError as error:
        raise Invalid([FieldError("cursor", str(error))]) from None


def place_after(trails: list[Trail]) -> str | None:
    """Returns the cursor of the next page; None if nothing more is known of."""
    if not any(each.left for each in trails):
        return None
    return encode_cursor(BOTH, *(each.place for each in trails))


def read(
    service: str, ask: Callable[[dict[str, str]], Json], where: dict[str, str], before: int
) -> Trail:
    # Both services' lists go by the id of their entries, and have one name.
    place = {"cursor": encode_cursor(EACH, before)} if before else {}
    try:
        answer = ask({**where, **place, "limit": str(PAGE)})
    except Unavailable:
        return Trail(service, before, None, has_more=False)
    entries = [{**each, "service": service} for each in answer["items"]]
    return Trail(service, before, entries, answer["next_cursor"] is not None)


def merged(trails: list[Trail]) -> list[Json]:
    """Returns the newest entries of all, and counts for each trail how many are its own."""
    newest = heapq.merge(*(each.entries or [] for each in trails), key=moment_of, reverse=True)
    items = [entry for entry, _ in zip(newest, range(PAGE), strict=False)]
    for trail in trails:
        trail.shown = sum(each["service"] == trail.service for each in items)
    return items


def moment_of(entry: Json) -> datetime:
    return datetime.fromisoformat(entry["created_at"])


def name_accounts(entries: list[Json]) -> bool:
    """Adds the present names of accounts to entries of analytics; returns whether it could."""
    by_account = [each for each in entries if each["actor_kind"] == "user"]
    ids = [each["actor_id"] for each in by_account] + [each["account_id"] for each in entries]
    names = usernames(ids)
    for entry in by_account:
        entry["actor_username"] = (names or {}).get(entry["actor_id"])
    for entry in entries:
        entry["account_username"] = (names or {}).get(entry["account_id"])
    return names is not None
