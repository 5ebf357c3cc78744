"""Shows that a process which nobody calls is still at work."""

from __future__ import annotations

import os
from pathlib import Path

from chassis.telemetry import get_logger

log = get_logger(__name__)


class Heartbeat:
    """Touches a file in the folder, whose age ops/healthcheck.py looks at; without one, none.

    The folder must be this process's own: its name and the file's are known to everybody.
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self.path = folder / name if folder else None
        self.failed = False

    def beat(self) -> None:
        """Touches the file; call it once a round. What goes wrong is logged once, never raised."""
        try:
            if self.path:
                touch(self.path)
        except OSError as error:
            if not self.failed:
                log.warning("the sign of life can't be left", path=self.path, error=str(error))
            self.failed = True


def touch(path: Path) -> None:
    """Sets the file's time to now, and makes it, readable by its owner alone.

    Never through a link, nor a pipe: somebody else may have put it there.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags, 0o600)
    try:
        os.utime(file)
    finally:
        os.close(file)
