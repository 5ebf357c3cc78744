"""A WSGI layer that answers the plain single event without Flask's machinery.

Flask's own work on a request, and that of its extensions, costs several times what it takes
to read, store and count one event. So the layer takes the one case that comes thousands of
times a second: a POST of one event, by a caller whom Flask's way has let in moments ago,
that is stored as new. Whatever else it meets goes on through Flask as if it were not here:
every refusal, repeat and first sight of a caller is Flask's to answer.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from typing import Any

from flask import Flask
from pydantic_core import to_json

from analytics_app.ingest import Ingest
from analytics_app.intake import Sender, parsed_event
from chassis import limits, telemetry
from chassis.auth import Caller, access_of
from chassis.bearer import BearerAuthenticator
from chassis.errors import Problem, Unavailable

PATH = "/analytics/events"
ENDPOINT = "events.store_event"
# Beyond this an answer may be long enough to be compressed, which is Flask's to do.
LONGEST = 700
# What the event's view raises instead of storing: waiting for the database twice is once too much.
UNAVAILABLE = "footfall.unavailable"
CREATED = "201 CREATED"


class FastLane:
    """Answers new single events; hands everything else to `wsgi_app`."""

    def __init__(
        self,
        app: Flask,
        authenticate: BearerAuthenticator,
        ingest: Ingest,
        headers: dict[str, str],
    ) -> None:
        self.wsgi_app = app.wsgi_app
        self.access = access_of(app, ENDPOINT)
        self.caller_known_as = authenticate.known
        self.ingest = ingest
        self.count = limits.counter(app)
        self.record = telemetry.recorder(app, "POST", PATH)
        self.headers = list({"Content-Type": "application/json", **headers}.items())

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH and self.is_plain(environ):
            caller = self.caller_known_as(environ.get("HTTP_AUTHORIZATION"))
            if caller and self.access.allows(caller) and self.count(caller):
                answer = self.answer(environ, caller, start_response)
                if answer is not None:
                    return answer
        through: Iterable[bytes] = self.wsgi_app(environ, start_response)
        return through

    def is_plain(self, environ: dict[str, Any]) -> bool:
        """Whether nothing in the head needs Flask: a short JSON body from no browser."""
        length = environ.get("CONTENT_LENGTH") or ""
        return (
            environ["REQUEST_METHOD"] == "POST"
            and environ.get("CONTENT_TYPE") == "application/json"
            and length.isdecimal()
            and len(length) < 4
            and int(length) <= LONGEST
            and "HTTP_ORIGIN" not in environ
            and not environ.get("QUERY_STRING")
        )

    def answer(
        self, environ: dict[str, Any], caller: Caller, start_response: Any
    ) -> Iterable[bytes] | None:
        """Stores the event and answers it; None where Flask must: the body is put back."""
        begun = time.perf_counter()
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = io.BytesIO(body)
        try:
            sender = Sender(caller.may("events:write"), caller.user_id)
            stored = self.ingest.new(parsed_event(body), sender)
        except Unavailable as problem:
            environ[UNAVAILABLE] = problem
            return None
        except Problem:
            return None
        if stored is None:
            return None
        request_id = telemetry.request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        data = to_json(stored)
        own = [("Content-Length", str(len(data))), ("X-Request-ID", request_id)]
        start_response(CREATED, self.headers + own)
        self.record(201, time.perf_counter() - begun, request_id, caller.user_id)
        return [data]
