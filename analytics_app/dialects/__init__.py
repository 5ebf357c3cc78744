"""What must differ by database: bulk insert, partitions, waiting out, a few expressions.

Each module offers the same names; `of(engine)` returns the one that fits.
"""

from __future__ import annotations

from types import ModuleType

from sqlalchemy import Engine

from analytics_app.dialects import postgresql, sqlite


def of(engine: Engine) -> ModuleType:
    """Returns the module that speaks the engine's dialect."""
    return postgresql if engine.dialect.name == "postgresql" else sqlite
