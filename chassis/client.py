"""HTTP to another service of ours: bounded, retried where that is safe, and quick to give up."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import requests
from flask import g, has_request_context
from requests.adapters import HTTPAdapter

from chassis.errors import Unavailable

NUMBER = re.compile(r"[0-9]+")
FAILURES_TO_OPEN = 5
OPEN_SECONDS = 5.0


class Refused(Exception):
    """The other service answered 4xx; `problem` is its problem document."""

    def __init__(self, status: int, problem: dict[str, Any], headers: Any = None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.status = status
        self.problem = problem
        self.headers = headers or {}

    @property
    def field_errors(self) -> dict[str, str]:
        """The complaints by field."""
        return {each["field"]: each["message"] for each in self.problem.get("errors", [])}


class Breaker:
    """Stops calling what has just failed several times in a row, for a few seconds.

    There is one for the service, which counts what could not connect, and one for each question:
    whoever asks for a thing that takes too long must not close the others to everybody.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused right now."""
        return self.failures >= FAILURES_TO_OPEN and time.monotonic() < self.retry_at

    def record(self, *, worked: bool) -> None:
        self.failures = 0 if worked else self.failures + 1
        if not worked:
            self.retry_at = time.monotonic() + OPEN_SECONDS


class ApiClient:
    """Calls one service. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        service: str,
        *,
        timeout: tuple[float, float] = (1.0, 5.0),
        session: requests.Session | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.service = service
        self.timeout = timeout
        self.breaker = Breaker()
        self.questions: defaultdict[str, Breaker] = defaultdict(Breaker)
        self.session = session or pooled_session()

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
        **given: Any,
    ) -> requests.Response:
        """Returns the 2xx or 304 answer; raises Refused for 4xx, Unavailable for the rest.

        A GET is tried twice; nothing else is, since the first try may have worked.
        """
        question = self.questions[f"{method} {NUMBER.sub('#', path)}"]
        if self.breaker.is_open or question.is_open:
            raise self.unavailable()
        sent = {**onward_headers(token), **(headers or {})}
        tries = 2 if method == "GET" else 1
        for attempt in range(1, tries + 1):
            try:
                answer = self.session.request(
                    method,
                    self.base_url + path,
                    headers=sent,
                    timeout=timeout or self.timeout,
                    allow_redirects=False,
                    **given,
                )
            except requests.RequestException as error:
                failed = self.breaker if is_out_of_reach(error) else question
                failed.record(worked=False)
                # A second wait for one that is too slow would only double the wait.
                if attempt == tries or isinstance(error, requests.Timeout):
                    raise self.unavailable() from None
                continue
            self.breaker.record(worked=True)
            question.record(worked=answer.status_code < 500)
            return self.judged(answer)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def judged(self, answer: requests.Response) -> requests.Response:
        if answer.status_code >= 500:
            raise Unavailable(
                problem_of(answer).get("detail") or str(self.unavailable()),
                retry_after=seconds(answer.headers.get("Retry-After")),
            )
        if answer.status_code >= 400:
            raise Refused(answer.status_code, problem_of(answer), answer.headers)
        return answer

    def unavailable(self) -> Unavailable:
        return Unavailable(f"The {self.service} service is not answering right now.")


def is_out_of_reach(error: requests.RequestException) -> bool:
    """Whether the service could not be connected to, rather than not answer this question."""
    return isinstance(error, requests.ConnectionError)


def pooled_session() -> requests.Session:
    session = requests.Session()
    # Our own services are never behind the machine's proxy, nor in somebody's .netrc, which
    # would take the place of a token. Whose certificates hold may well be the machine's to say.
    session.trust_env = False
    authorities = os.environ.get("REQUESTS_CA_BUNDLE")
    if authorities and Path(authorities).exists():
        session.verify = authorities
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=32)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def onward_headers(token: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if has_request_context() and (request_id := g.get("request_id")):
        headers["X-Request-ID"] = request_id
    return headers


def problem_of(answer: requests.Response) -> dict[str, Any]:
    """Returns the problem document of an answer, or what little it says."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"title": answer.reason or "Error"}


def seconds(retry_after: str | None) -> int:
    return (
        int(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 2
    )
