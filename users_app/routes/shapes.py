"""How lists are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chassis.pagination import PageQuery, encode_cursor, sparse
from chassis.schema import Model
from users_app import schemas


def page(found: list[Any], query: PageQuery, show: Callable[[Any], Model]) -> schemas.Page:
    """Returns one page of rows with an `id`, of which one more than the limit was read."""
    rows = found[: query.limit]
    more = len(found) > query.limit
    shown = [show(row) for row in rows]
    items = [each.model_dump(mode="json") for each in shown]
    names = list(items[0]) if items else []
    return schemas.Page(
        items=sparse(items, query.fields, names) if items else [],
        next_cursor=encode_cursor(rows[-1].id) if more else None,
    )
