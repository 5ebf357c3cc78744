"""A container's health check: 0 when the app here is ready, or the process's heart beats.

python healthcheck.py                    asks /health on $PORT
python healthcheck.py relay              wants the relay's last heartbeat to be recent
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

LONGEST_SILENCE_SECONDS = 400.0  # above the relay's longest wait while analytics is down


def ready(port: str) -> bool:
    """Whether the app answers that it has all it cannot work without."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:  # nosec B310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def beating(name: str) -> bool:
    """Whether the process of that name did something lately; it touches a file when it does."""
    path = Path(tempfile.gettempdir()) / f"footfall-{name}-alive"
    try:
        return time.time() - path.stat().st_mtime < LONGEST_SILENCE_SECONDS
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    names = sys.argv[1:]
    well = beating(names[0]) if names else ready(os.environ.get("PORT", "8000"))
    sys.exit(0 if well else 1)
