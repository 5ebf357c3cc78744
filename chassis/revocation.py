"""Sessions that ended, and roles that changed, at the users service: its list, followed.

Access tokens are verified without a call, so what one says may be over. The list names the
sessions of which that is so; each process asks for it every second, and looks tokens up in
what it has.
"""

from __future__ import annotations

import hashlib
import math
import time
from datetime import datetime
from functools import lru_cache
from threading import Event, Lock, Thread

import requests

from chassis.client import pooled_session
from chassis.errors import Unavailable
from chassis.telemetry import get_logger

PATH = "/.well-known/revoked"
INTERVAL_SECONDS = 1.0
TIMEOUT_SECONDS = (0.5, 1.0)  # to connect, to hear something
FIRST_WAIT_SECONDS = 2.0
MAX_AGE_SECONDS = 10.0
OTHERS, NEVER = "", "1970-01-01T00:00:00Z"  # what holds for sessions that aren't listed
log = get_logger(__name__)


@lru_cache(maxsize=4096)
def digest(session_id: str) -> str:
    """Returns what the list names a session by: the SHA-256 of its `sid`, in hex."""
    return hashlib.sha256(session_id.encode()).hexdigest()


class RevocationList:
    """The list, kept by one thread of each process, begun by the first question.

    While it can't be had the last one holds; a process that never had one raises Unavailable.
    Safe to make before a fork: the thread, and what it has, is each process's own.
    """

    def __init__(self, users_url: str, *, interval: float = INTERVAL_SECONDS) -> None:
        self.url = users_url + PATH
        self.interval = interval
        self.lock = Lock()
        self.thread: Thread | None = None
        self.begin()

    def begin(self) -> None:
        self.session = pooled_session()
        self.etag = ""
        self.revoked: dict[str, float] | None = None
        self.fetched = -math.inf
        self.tried = Event()

    def revokes(self, session_id: str, issued_at: int) -> bool:
        """Whether a token of the session, issued at that Unix second, no longer holds."""
        revoked = self.current()
        return issued_at < max(revoked[OTHERS], revoked.get(digest(session_id), 0))

    def current(self) -> dict[str, float]:
        """Returns the second before which the tokens of each session are revoked."""
        self.follow()
        if self.revoked is None:
            self.tried.wait(FIRST_WAIT_SECONDS)
        if self.revoked is None:
            raise Unavailable("Whether this session has ended can't be known right now.")
        return self.revoked

    def check(self) -> None:
        """Raises Unavailable if the list is older than 10 s, or was never had."""
        self.current()
        if time.monotonic() - self.fetched > MAX_AGE_SECONDS:
            raise Unavailable("The list of ended sessions is old.")

    def follow(self) -> None:
        """Has this process's own thread keep the list; a fork leaves the parent's behind."""
        if self.thread and self.thread.is_alive():
            return
        with self.lock:
            if self.thread and self.thread.is_alive():
                return
            self.begin()
            self.thread = Thread(target=self.keep, name="revocations", daemon=True)
            self.thread.start()

    def keep(self) -> None:
        worked = True
        while True:
            had, worked = worked, self.refresh()
            if had and not worked:
                log.warning("the list of ended sessions can't be had", url=self.url)
            self.tried.set()
            time.sleep(self.interval)

    def refresh(self) -> bool:
        """Asks for the list once, and whether it was had; where not, the one at hand stays.

        Only who holds a list names its ETag: a 304 to anybody else is no list.
        """
        try:
            answer = self.session.get(
                self.url,
                headers={"If-None-Match": self.etag} if self.etag else {},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            if answer.status_code != 304 or not self.etag:
                self.revoked = seconds_by_digest(answer)
                self.etag = answer.headers.get("ETag", "")
        except Exception:  # whatever it is: nothing may end the thread
            return False
        self.fetched = time.monotonic()
        return True


def seconds_by_digest(answer: requests.Response) -> dict[str, float]:
    """Returns the second before which each session's tokens are revoked; raises ValueError."""
    if answer.status_code != 200:
        raise ValueError(f"HTTP {answer.status_code}")
    found = answer.json()
    seconds = {each["sid_sha256"]: second(each["issued_before"]) for each in found["sessions"]}
    return {**seconds, OTHERS: second(found["issued_before"] or NEVER)}


def second(issued_before: str | None) -> float:
    return datetime.fromisoformat(issued_before).timestamp() if issued_before else math.inf
