"""How the items of lists are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chassis.schema import Model

Row = TypeVar("Row")


def plain(show: Callable[[Row], Model]) -> Callable[[Row], dict[str, Any]]:
    """Returns what answers a row as the JSON of the model that `show` makes of it."""
    return lambda row: show(row).model_dump(mode="json")
