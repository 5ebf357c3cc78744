"""How long a report may take, whatever computes it: statements, loops and long steps.

Every statement of a snapshot looks at its deadline before it begins and while it runs
(engines.py, dialects/); what computes in the process looks between steps that are short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable

from chassis.errors import Unavailable

OPTION = "deadline"
ITEMS_A_LOOK = 64  # of which none takes more than some milliseconds
ROWS_A_LOOK = 5_000
SORTED_AT_ONCE = 65_536
PEEK_SECONDS = 0.1
ROW_SECONDS = 200e-9  # to sort a row, or to find its place among as many others

Item = TypeVar("Item")


class Deadline:
    """Some seconds from now; a caller who has gone is waited for no longer."""

    def __init__(self, seconds: float, has_gone: Callable[[], bool] = lambda: False) -> None:
        self.seconds = seconds
        self.has_gone = has_gone
        self.gone = False
        self.renew()

    def renew(self) -> None:
        """Begins anew: for what is answered bit by bit, each of them in time."""
        self.at = time.monotonic() + self.seconds
        self.peek_at = time.monotonic() + PEEK_SECONDS

    @property
    def left(self) -> float:
        """The seconds that are left, at least none."""
        return max(0.0, self.at - time.monotonic())

    def is_over(self) -> bool:
        """Whether the time is up, or nobody waits for the answer any more."""
        now = time.monotonic()
        if now >= self.peek_at and not self.gone:
            self.gone = self.has_gone()
            self.peek_at = now + PEEK_SECONDS
        return self.gone or now > self.at

    def check(self, rows: int = 0) -> None:
        """Raises Unavailable once it is over, or too late for a long step over so many rows."""
        if self.is_over() or rows * ROW_SECONDS > self.left:
            raise self.refusal()

    def refusal(self) -> Unavailable:
        """Returns the problem that says what to do."""
        limit = f"{self.seconds:g} s (REPORT_TIMEOUT_MS)"
        said = f"This took longer than {limit}: narrow the range or add a filter."
        return Unavailable(said, retry_after=5)

    def watching(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields the items, and looks at the time now and then."""
        pending = iter(items)
        while some := list(islice(pending, ITEMS_A_LOOK)):
            self.check()
            yield from some

    def ordered(self, items: Iterable[Item], key: Callable[[Item], Any]) -> list[Item]:
        """Returns the items sorted, in pieces that are merged."""
        pending, pieces = iter(items), []
        while piece := list(islice(pending, SORTED_AT_ONCE)):
            self.check()
            pieces.append(sorted(piece, key=key))
        if len(pieces) < 2:
            return pieces[0] if pieces else []
        return list(self.watching(merge(*pieces, key=key)))


def watched_rows(connection: Connection, chosen: Executable) -> Iterator[Any]:
    """Yields a statement's rows, and looks at the deadline of the connection if it has one."""
    deadline: Deadline | None = connection.get_execution_options().get(OPTION)
    for some in connection.execute(chosen).partitions(ROWS_A_LOOK):
        if deadline:
            deadline.check()
        yield from some


def look(connection: Connection, *_: Any) -> None:
    """Looks at the connection's deadline: each statement begins with it."""
    deadline: Deadline | None = connection.get_execution_options().get(OPTION)
    if deadline:
        deadline.check()
