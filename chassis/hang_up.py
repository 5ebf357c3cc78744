"""Whether a client still waits for the answer that is being made."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any


def hung_up(environ: Mapping[str, Any]) -> Callable[[], bool]:
    """Returns what tells whether the client of a gunicorn request has closed its end."""
    peer: socket.socket | None = environ.get("gunicorn.socket")

    def has_gone() -> bool:
        try:
            return peer is not None and not peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, ValueError):  # encrypted it can't be told: no peeking there
            return False
        except OSError:
            return True

    return has_gone
