"""The rows of one page of a table: by keyset, so that each costs the same."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import scoped_session

from chassis.pagination import Paging

Row = TypeVar("Row")


def rows_of(
    session: scoped_session[Any],
    chosen: Select[tuple[Row]],
    query: Paging,
    *columns: Any,
    oldest_first: bool = False,
) -> list[Row]:
    """Returns the page's rows, newest first, and one more if there is another page.

    The columns are those of the query's `place`: no two rows agree in all of them.
    """
    if place := query.after():
        here = tuple_(*columns)
        pairs = zip(place, columns, strict=True)
        there = tuple_(*(literal(key, column.type) for key, column in pairs))
        chosen = chosen.where(here > there if oldest_first else here < there)
    order = columns if oldest_first else [column.desc() for column in columns]
    return list(session.scalars(chosen.order_by(*order).limit(query.limit + 1)))


def equal(table: Any, **values: str | int | None) -> list[ColumnElement[bool]]:
    """Returns the conditions that the table's columns have these values; None leaves one out."""
    return [getattr(table, name) == value for name, value in values.items() if value is not None]
