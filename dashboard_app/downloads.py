"""CSV that a spreadsheet opens without running anything in it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from flask import Response

# Full-width ones count in East Asian spreadsheets.
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


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
    """Returns text so that no spreadsheet takes it for a formula; numbers stay numbers."""
    if isinstance(cell, str) and cell.startswith(RISKY) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
