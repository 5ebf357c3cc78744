"""CSV that a spreadsheet opens without running anything in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from flask import Response

RISKY = ("=", "+", "-", "@", "\t", "\r")


def csv_answer(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Returns the rows as a download of that name."""
    return Response(
        csv_text([header, *rows]),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Returns the rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([harmless(each) for each in row] for row in rows)
    return text.getvalue()


def harmless(cell: Any) -> Any:
    """Returns text so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(RISKY) else cell
