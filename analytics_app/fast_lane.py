"""The plain single event, answered many at once and without Flask's machinery.

Flask's own work on a request, and that of its extensions, costs several times what it takes
to read, store and count one event, and a commit costs little more for ten events than for
one. So the lane takes the one case that comes thousands of times a second: a POST of one
event, by a caller whom Flask's way has let in moments ago, that is stored as new. What has
arrived meanwhile is stored in one transaction, and answered after its commit. Whatever else
the lane meets is the app's to answer: every refusal, repeat and first sight of a caller.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from flask import Flask
from pydantic_core import to_json

from analytics_app.dialects.rows import Row
from analytics_app.ingest import Ingest, answered
from analytics_app.intake import Sender, parsed_event
from chassis import limits, problems, telemetry
from chassis.auth import Caller, access_of
from chassis.bearer import BearerAuthenticator
from chassis.errors import Problem, Unavailable

PATH = "/analytics/events"
ENDPOINT = "events.store_event"
# Beyond this an answer may be long enough to be compressed, which is Flask's to do.
LONGEST = 700
START = f"POST {PATH} HTTP/1.1\r\n".encode()
# Far below gunicorn's own limit, which answers 431.
MAX_FIELDS = 32
# Nothing that could be read in two ways: one line a field, no space before the colon. No part
# of a field gives back what it took (`++`, `*+`), so that bytes that don't match are read once.
FIELDS = re.compile(rb"(?:\r\n[A-Za-z0-9-]++:[\x20-\x7e]*+)+")
HOST = re.compile(
    rb"(?:[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?(\d{1,3})(?:\r\n|\Z)")
# What any of these asks for is the server's or Flask's to do.
NOT_PLAIN = frozenset(
    (b"origin", b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te")
)


@dataclass(slots=True)
class Plain:
    """One event that waits to be stored, and what its answer needs."""

    caller: Caller
    row: Row
    metadata: dict[str, Any]
    request_id: str
    begun: float


class FastLane:
    """Answers new single events; see chassis.worker for who calls it."""

    def __init__(
        self,
        app: Flask,
        authenticate: BearerAuthenticator,
        ingest: Ingest,
        headers: dict[str, str],
    ) -> None:
        self.access = access_of(app, ENDPOINT)
        self.caller_known_as = authenticate.known
        self.ingest = ingest
        self.count = limits.counter(app)
        self.record = telemetry.recorder(app, "POST", PATH)
        self.headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def takes(self, request: bytes) -> bool | None:
        """Whether these bytes are one whole request to store an event; None: not yet."""
        if not START.startswith(request[: len(START)]):
            return False
        head, end, body = request.partition(b"\r\n\r\n")
        if not end:
            return None
        length = LENGTH.search(head)
        if length is None or int(length[1]) > LONGEST:
            return False
        if len(body) >= int(length[1]):
            return len(body) == int(length[1])
        return None if fields_of(head) else False

    def answers(self, requests: Sequence[bytes], since: float) -> list[bytes | None]:
        """Stores the events in one transaction; returns each one's HTTP answer.

        None is for the app to answer. The first has waited since `since`.
        """
        found = self.within_limits([self.plain(request) for request in requests])
        rows = [each.row for each in found if each]
        try:
            numbers = iter(self.ingest.store.together(rows, since) if rows else ())
        except Unavailable as problem:
            return [self.refusal(each, problem) if each else None for each in found]
        return [self.answer(each, next(numbers)) if each else None for each in found]

    def within_limits(self, found: list[Plain | None]) -> list[Plain | None]:
        """Leaves out the events of callers who have no calls left: Flask refuses them."""
        calls = Counter(each.caller for each in found if each)
        allowed = {caller for caller, n in calls.items() if self.count(caller, n)}
        return [each if each and each.caller in allowed else None for each in found]

    def plain(self, request: bytes) -> Plain | None:
        """Returns the event as it is to be stored; None if anything about it is not plain."""
        begun = time.perf_counter()
        head, _, body = request.partition(b"\r\n\r\n")
        fields = fields_of(head)
        if fields is None:
            return None
        caller = self.caller_known_as(fields.get(b"authorization", b"").decode())
        if caller is None or not self.access.allows(caller):
            return None
        try:
            event = parsed_event(body)
            sender = Sender(caller.may("events:write"), caller.user_id)
            row = self.ingest.single(event, sender)
        except Problem:
            return None
        # Numbers may be written out longer than they came: compressing is Flask's to do.
        if len(row.metadata) > LONGEST or not self.ingest.admission.is_free(row, sender):
            return None
        request_id = telemetry.request_id(fields.get(b"x-request-id", b"").decode())
        return Plain(caller, row, event.get("metadata") or {}, request_id, begun)

    def answer(self, plain: Plain, number: int | None) -> bytes | None:
        if number is None:
            return None
        self.ingest.results.add("accepted")
        data = to_json(answered(plain.row, number, plain.metadata))
        return self.http("201 CREATED", "application/json", data, plain)

    def refusal(self, plain: Plain, problem: Unavailable) -> bytes:
        """Returns the 503 as Flask would: waiting for the database twice is once too much."""
        body = json.dumps(problems.problem_body(problem, plain.request_id)).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
        status = f"{problem.status} {problem.title.upper()}"
        return self.http(status, problems.MEDIA_TYPE, body, plain, more)

    def http(
        self, status: str, media_type: str, body: bytes, plain: Plain, more: str = ""
    ) -> bytes:
        """Returns the whole answer; logs and counts it."""
        seconds = time.perf_counter() - plain.begun
        self.record(int(status[:3]), seconds, plain.request_id, plain.caller)
        head = (
            f"HTTP/1.1 {status}\r\nServer: gunicorn\r\nDate: {date(int(time.time()))}\r\n"
            f"Connection: keep-alive\r\nContent-Type: {media_type}\r\n{self.headers}{more}"
            f"Content-Length: {len(body)}\r\nX-Request-ID: {plain.request_id}\r\n\r\n"
        )
        return head.encode() + body


@lru_cache(maxsize=1)
def date(second: int) -> str:
    """Returns a Unix second as the header writes it."""
    return formatdate(second, usegmt=True)


def fields_of(head: bytes) -> dict[bytes, bytes] | None:
    """Returns the header fields by their names in small letters; None if any is not plain."""
    if FIELDS.fullmatch(head, len(START) - 2) is None:
        return None
    lines = head.split(b"\r\n")[1:]
    fields = dict(pairs(lines))
    plain = (
        len(fields) == len(lines) <= MAX_FIELDS
        and HOST.fullmatch(fields.get(b"host", b"")) is not None
        and fields.get(b"content-type") == b"application/json"
        and fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        and NOT_PLAIN.isdisjoint(fields)
    )
    return fields if plain else None


def pairs(lines: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in lines:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()
