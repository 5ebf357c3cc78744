"""A container's health check: 0 when the app here is ready, or the process's heart beats.

python healthcheck.py                    asks /health on $BIND_HOST and $PORT
python healthcheck.py relay              wants the relay's last sign in $LIVENESS_DIR to be recent
"""

from __future__ import annotations

import os
import stat
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

LONGEST_SILENCE_SECONDS = 400.0  # above the relay's longest wait while analytics is down
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104


def ready(host: str, port: str) -> bool:
    """Whether the app answers that it has all it cannot work without."""
    host = EVERYWHERE.get(host, host)
    address = f"[{host}]" if ":" in host else host
    # What runs here is behind no proxy, whatever the machine's settings say.
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with straight.open(f"http://{address}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def beating(folder: str, name: str) -> bool:
    """Whether the process of that name did something lately: it touches a file of its own."""
    try:
        found = (Path(folder) / name).lstat()
    except OSError:
        return False
    own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return own and time.time() - found.st_mtime < LONGEST_SILENCE_SECONDS


def main() -> int:
    if names := sys.argv[1:]:
        folder = os.environ.get("LIVENESS_DIR", "")
        return 0 if folder and beating(folder, names[0]) else 1
    host = os.environ.get("BIND_HOST", "").strip("[]")
    return 0 if ready(host, os.environ.get("PORT", "8000")) else 1


if __name__ == "__main__":
    sys.exit(main())
