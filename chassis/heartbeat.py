"""Shows that a process which nobody calls is still at work."""

from __future__ import annotations

import tempfile
from pathlib import Path


def beat(name: str) -> None:
    """Touches the file whose age ops/healthcheck.py looks at; call it once a round."""
    (Path(tempfile.gettempdir()) / f"footfall-{name}-alive").touch()
