"""Spans of time, and how they are cut along quarter-hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from analytics_app.zones import on_quarter, quarter_of, quarter_start


class Span(NamedTuple):
    """A half-open span of time in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Cut:
    """A span as whole quarters `[first, last)` and the raw spans at its ends."""

    first: int
    last: int
    ends: tuple[Span, ...]


def cut(span: Span) -> Cut:
    """Returns the span's whole quarters and what is left at its ends."""
    first, last = quarter_of(span.start), quarter_of(span.end)
    if not on_quarter(span.start):
        first += 1
    if first > last:
        return Cut(first, first, (span,))
    ends = (Span(span.start, quarter_start(first)), Span(quarter_start(last), span.end))
    return Cut(first, last, tuple(each for each in ends if each.start < each.end))
