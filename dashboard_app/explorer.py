"""What the explorer looks for, in its address and as the analytics service takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from dashboard_app.filters import Filters

PREFIX = "metadata."
COLUMNS = ("event_id", "event_type", "user_id", "created_at", "metadata")
LONGEST = 200
MAX_USER_ID = 2**62 - 1
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A range with an event type, a user and pairs of metadata that must all hold."""

    filters: Filters
    user_id: int | None = None
    metadata: Pairs = ()

    def params(self) -> list[tuple[str, str]]:
        """Returns what the service is asked."""
        asked = list(self.filters.bounds().items())
        if self.filters.event_type:
            asked.append(("event_type", self.filters.event_type))
        if self.user_id is not None:
            asked.append(("user_id", str(self.user_id)))
        return asked + [(PREFIX + key, value) for key, value in self.metadata]

    def link(self, **more: str) -> str:
        """Returns the query string, with a cursor perhaps."""
        return "?" + urlencode({**self.filters.query(), **more})

    def with_type(self, event_type: str | None) -> str:
        """Returns the query string for another event type, or for all."""
        return self.filters.link(event_type=event_type)

    def with_user(self, user_id: int | None) -> str:
        """Returns the query string for another user, or for all."""
        return search(self.filters, user_id, self.metadata).link()

    def with_pair(self, key: str, value: str) -> str:
        """Returns the query string for a further pair."""
        return search(self.filters, self.user_id, with_pair(self.metadata, key, value)).link()

    def without_pair(self, key: str) -> str:
        """Returns the query string without the pair of that key."""
        kept = tuple(pair for pair in self.metadata if pair[0] != key)
        return search(self.filters, self.user_id, kept).link()


def search(filters: Filters, user_id: int | None, metadata: Pairs) -> Search:
    """Returns the search; its filters carry the rest of it through every link of the page."""
    own = () if user_id is None else (("user_id", str(user_id)),)
    extra = own + tuple((PREFIX + key, value) for key, value in metadata)
    return Search(replace(filters, extra=extra), user_id, metadata)


def with_pair(pairs: Pairs, key: str, value: str) -> Pairs:
    return tuple({**dict(pairs), key: value}.items())


def read(args: MultiDict[str, str], filters: Filters) -> Search:
    """Returns the search an address holds; the form sends a new pair as `key` and `value`."""
    pairs = tuple(
        (name.removeprefix(PREFIX)[:LONGEST], value[:LONGEST])
        for name, value in args.items()
        if name.startswith(PREFIX) and name != PREFIX
    )
    key, value = args.get("key", "").strip()[:LONGEST], args.get("value", "").strip()[:LONGEST]
    if key and value:
        pairs = with_pair(pairs, key, value)
    return search(filters, user_id(args), pairs)


def user_id(args: Mapping[str, str]) -> int | None:
    """Returns the account id, or None for anything that can't be one."""
    text = args.get("user_id", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    return int(text) if 1 <= int(text) <= MAX_USER_ID else None
