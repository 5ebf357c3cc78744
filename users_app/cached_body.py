"""The body of an answer that many ask for and that seldom changes, kept by each process."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock

from werkzeug.http import generate_etag

from chassis.errors import Unavailable

MAX_WAIT_SECONDS = 2.0  # for another thread's making, which may be stuck at the database


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of an answer, their ETag, and the version of what they were made from."""

    version: Hashable
    data: bytes
    etag: str


class CachedBody:
    """Makes the body anew only where it has another version, one thread at a time.

    The others wait, and look at the version again: most then find theirs made.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.body: Body | None = None

    def current(self, version: Callable[[], Hashable], make: Callable[[], bytes]) -> Body:
        """Returns the body at its present version; `make` may read a newer one, never an older.

        Raises Unavailable after a wait in vain.
        """
        present, body = version(), self.body
        if body and body.version == present:
            return body
        if not self.lock.acquire(timeout=MAX_WAIT_SECONDS):
            raise Unavailable("This is being made anew: try again in a moment.", retry_after=1)
        try:
            return self.remade(version(), make)
        finally:
            self.lock.release()

    def remade(self, version: Hashable, make: Callable[[], bytes]) -> Body:
        if self.body is None or self.body.version != version:
            data = make()
            self.body = Body(version, data, generate_etag(data))
        return self.body
