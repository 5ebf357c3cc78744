"""Keyset cursors and sparse fieldsets, the same for every list."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, field_validator

from chassis.api import bad_text
from chassis.errors import FieldError, Invalid
from chassis.schema import LARGEST_ID, Query

Row = TypeVar("Row")


# A sort key of each type, as cursors hold it.
KEYS: Mapping[type, str | int] = {
    datetime: "2026-01-31T12:00:00+00:00",
    date: "2026-01-31",
    int: 42,
    str: "a",
}


class Paging(BaseModel):
    """How much of a list, from where, and which fields of each item.

    What is asked of a list says what its cursors are marked with (`listed`: one list's are no
    other's), what an item is, and by which of its fields, of which type, the list is sorted.
    """

    listed: ClassVar[str]
    item: ClassVar[type[BaseModel]]
    place: ClassVar[Mapping[str, type]] = {"id": int}

    limit: int = Field(50, ge=1, le=500, description="how many at most", examples=[50])
    cursor: str | None = Field(
        None, max_length=1024, description="`next_cursor` of the page before"
    )
    fields: str | None = Field(
        None, max_length=1024, description="names of an item's fields, separated by commas"
    )

    @field_validator("cursor")
    @classmethod
    def is_of_this_list(cls, text: str | None) -> str | None:
        """Returns the cursor; raises ValueError if this list did not give it."""
        if text is not None:
            decode_cursor(text, cls.listed, *cls.place.values())
        return text

    @field_validator("fields")
    @classmethod
    def are_of_an_item(cls, text: str | None) -> str | None:
        """Returns the names; raises ValueError for one that no item has."""
        field_names(text, list(cls.item.model_fields))
        return text

    @classmethod
    def examples(cls) -> dict[str, Any]:
        """Returns a cursor and a choice of fields that this list takes."""
        place = [KEYS[kind] for kind in cls.place.values()]
        names = ",".join(list(cls.item.model_fields)[:2])
        return {"cursor": encode_cursor(cls.listed, *place), "fields": names}

    def after(self) -> tuple[Any, ...] | None:
        """Returns the sort keys after which the page begins; None: at the list's beginning."""
        if self.cursor is None:
            return None
        return decode_cursor(self.cursor, self.listed, *self.place.values())

    def page(
        self, rows: Sequence[Row], shown: Callable[[Row], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Returns `items` and `next_cursor` for the rows, of which one more than fit was read.

        `shown` makes a row what is answered of it, every field of the item.
        """
        items = [shown(row) for row in rows[: self.limit]]
        names = field_names(self.fields, list(self.item.model_fields))
        more = len(rows) > self.limit
        last = [items[-1][name] for name in self.place] if more else []
        return {
            "items": [{name: item[name] for name in names if name in item} for item in items],
            "next_cursor": encode_cursor(self.listed, *last) if more else None,
        }


class PageQuery(Paging, Query):
    """The query string of a list."""


def encode_cursor(listed: str, *values: str | int) -> str:
    """Returns the place after these sort keys of that list as opaque text."""
    text = json.dumps([listed, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str, listed: str, *types: type) -> tuple[Any, ...]:
    """Returns the sort keys that `encode_cursor` was given; raises ValueError on any other text."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        name, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if name != listed:
            raise ValueError
        return tuple(key(value, kind) for value, kind in zip(values, types, strict=True))
    except (
        ValueError,
        TypeError,
        UnicodeError,
        binascii.Error,
        RecursionError,
        OverflowError,
    ):
        raise ValueError("is not one that this list gave") from None


def key(value: Any, kind: type) -> Any:
    if kind is datetime and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    if kind is date and isinstance(value, str):
        return date.fromisoformat(value)
    if kind is str and isinstance(value, str) and not bad_text(value):
        return value
    if kind is int and type(value) is int and abs(value) <= LARGEST_ID:
        return value
    raise ValueError


def field_names(text: str | None, known: Sequence[str]) -> Sequence[str]:
    """Returns the names in `a,b`, all that are known for None.

    Raises ValueError that says which are unknown, and which there are.
    """
    if text is None:
        return known
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"holds unknown names ({', '.join(unknown)}): there are {choice(known)}")
    if not wanted:
        raise ValueError(f"must name some of {choice(known)}")
    return wanted


def choice(names: Iterable[str]) -> str:
    return ", ".join(names)


def need_fields(text: str | None, known: Sequence[str]) -> Sequence[str]:
    """Returns the names of figures in `a,b`, all for None; raises Invalid for one unknown."""
    try:
        return field_names(text, known)
    except ValueError as error:
        raise Invalid([FieldError("fields", str(error))]) from None
