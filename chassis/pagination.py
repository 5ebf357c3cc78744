"""Keyset cursors and sparse fieldsets."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from chassis.api import bad_text
from chassis.errors import FieldError, Invalid
from chassis.schema import LARGEST_ID, Query


class PageQuery(Query):
    """How much of a list, from where, and which fields of each item."""

    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, max_length=1024)
    fields: str | None = Field(None, max_length=1024, description="names, separated by commas")


def encode_cursor(*values: str | int | datetime) -> str:
    """Returns the place after these sort keys as opaque text."""
    plain = [each.isoformat() if isinstance(each, datetime) else each for each in values]
    text = json.dumps(plain, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str, *types: type) -> tuple[Any, ...]:
    """Returns the sort keys that `encode_cursor` was given; raises Invalid on any other text."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(types):
            raise ValueError
        return tuple(key(value, kind) for value, kind in zip(values, types, strict=True))
    except (ValueError, UnicodeError, binascii.Error, RecursionError, OverflowError):
        raise Invalid([FieldError("cursor", "is not one that this list gave")]) from None


def key(value: Any, kind: type) -> Any:
    if kind is datetime and isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    if kind is str and isinstance(value, str) and not bad_text(value):
        return value
    if kind is int and type(value) is int and abs(value) <= LARGEST_ID:
        return value
    raise ValueError


def sparse(
    items: Iterable[dict[str, Any]], fields: str | None, allowed: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns the items with only the named fields; raises Invalid for a name unknown."""
    if fields is None:
        return list(items)
    wanted = [name.strip() for name in fields.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in allowed]
    if unknown or not wanted:
        known = ", ".join(allowed)
        raise Invalid([FieldError("fields", f"must name some of: {known}")])
    return [{name: item[name] for name in wanted} for item in items]
