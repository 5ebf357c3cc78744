"""One request is one trace: dashboard -> service -> statement, sent to a real collector.

Through the outbox the chain goes on: users => relay -> analytics.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from tests.integration.test_main_job import PASSWORD, Browser
from tests.servers import wait_until
from tests.stack import Stack

pytest.importorskip("opentelemetry.instrumentation.flask", reason="the extra `tracing`")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

DELIVERY, TAKEN = "deliver outbox", "POST /analytics/events/batch"


class Span:
    """A span as it arrived."""

    def __init__(self, service: str, sent: Any) -> None:
        self.service, self.trace, self.name, self.text = (
            service,
            sent.trace_id,
            sent.name,
            str(sent),
        )
        self.id, self.parent = sent.span_id, sent.parent_span_id
        self.links = {(link.trace_id, link.span_id) for link in sent.links}
        self.failed = sent.status.code == Status.STATUS_CODE_ERROR


class Collector:
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {
                each.key: each.value.string_value for each in resource.resource.attributes
            }
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(Span(attributes["service.name"], span))

    def of_one_trace(self, *services: str) -> list[Span]:
        """Returns the spans of a trace that all of these services took part in."""
        for trace in {span.trace for span in self.spans}:
            found = [span for span in self.spans if span.trace == trace]
            if {span.service for span in found} >= set(services):
                return found
        return []

    def named(self, name: str, trace: bytes | None = None) -> list[Span]:
        """Returns the spans of that name, of one trace or of all."""
        return [
            span for span in list(self.spans) if span.name == name and trace in (None, span.trace)
        ]

    def above(self, span: Span) -> list[Span]:
        """Returns the spans over this one, its parent first."""
        by_id = {(each.trace, each.id): each for each in list(self.spans)}
        found: list[Span] = []
        while parent := by_id.get((span.trace, span.parent)):
            found.append(parent)
            span = parent
        return found


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            collector.take(gzip.decompress(body) if packed else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_sign_in_is_one_trace_down_to_its_statements_and_holds_no_secret() -> None:
    with collecting() as (collector, address):
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with Stack(parts=("users", "analytics"), settings=settings) as stack:
            person = {"username": "ada", "password": "tr0ub4dor-and-more"}
            account = person | {"email": "ada@example.com"}
            refused = f"{stack.users_url}/users?code=a-secret-code"
            assert requests.post(refused, json=account, timeout=10).status_code == 422
            headers = stack.first_account()
            # Analytics asks users for its public keys: a call from one service to another.
            path = f"{stack.analytics_url}/analytics/summary?start=2026-01-01"
            assert requests.get(path, headers=headers, timeout=10).status_code == 200
            both = ("footfall-analytics", "footfall-users")
            wait_until("the trace", lambda: bool(collector.of_one_trace(*both)))
            wait_until(
                "a statement", lambda: any("SELECT" in each.name for each in collector.spans)
            )
    everything = "".join(span.text for span in collector.spans)
    for secret in (
        "a-secret-code",
        person["password"],
        headers["Authorization"].split()[1],
        "ada@example.com",
    ):
        assert secret not in everything
    assert any(span.name == "POST /login" for span in collector.spans)


def services(spans: list[Span]) -> list[str]:
    """Returns each service once, in the order of the spans."""
    return list(dict.fromkeys(span.service.removeprefix("footfall-") for span in spans))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_registration_is_followed_from_the_dashboard_to_where_its_event_is_stored(
    engine: str, request: pytest.FixtureRequest
) -> None:
    urls = {}
    if engine == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
        urls = {f"{each}_database_url": make() for each in ("users", "analytics")}
    with collecting() as (collector, address):
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        parts = ("users", "analytics", "dashboard")
        with Stack(parts=parts, settings=settings, **urls) as stack:
            assert Browser(stack).register("ada").status_code == 200
            wait_until("the sign-up", lambda: len(collector.named("POST /users")) == 1)
            wait_until("the page's own", lambda: len(collector.named("POST /register")) == 1)
            the_dashboards_leg(collector)

            stack.start("relay")  # two events wait: one batch, which can't have two parents
            wait_until("the delivery", lambda: len(collector.named(DELIVERY)) == 1)
            several_are_linked(collector)

            person = {"username": "ada", "password": PASSWORD}
            assert requests.post(f"{stack.users_url}/login", json=person, timeout=10).ok
            wait_until("the next delivery", lambda: len(collector.named(DELIVERY)) == 2)
            one_is_a_child(collector)


def the_dashboards_leg(collector: Collector) -> None:
    (registration,) = collector.named("POST /users")
    assert services(collector.above(registration)) == ["dashboard"]
    assert collector.above(registration)[-1].name == "POST /register"


def several_are_linked(collector: Collector) -> None:
    (registration,) = collector.named("POST /users")
    (delivery,) = collector.named(DELIVERY)
    assert (registration.trace, registration.id) in delivery.links
    assert len(delivery.links) == 2  # the registration's, and the sign-in's that follows it
    wait_until("its arrival", lambda: bool(collector.named(TAKEN, delivery.trace)))
    (taken,) = collector.named(TAKEN, delivery.trace)
    assert taken.service == "footfall-analytics"
    assert delivery in collector.above(taken)
    assert not delivery.failed


def one_is_a_child(collector: Collector) -> None:
    delivery = collector.named(DELIVERY)[-1]
    assert delivery.links == set()
    wait_until("its arrival", lambda: bool(collector.named(TAKEN, delivery.trace)))
    wait_until("the sign-in", lambda: bool(collector.named("POST /login", delivery.trace)))
    (taken,) = collector.named(TAKEN, delivery.trace)
    names = [span.name for span in collector.above(taken)]
    assert names[1:] == [DELIVERY, "POST /login"]  # below them the relay's call, named POST
    assert services([taken, *collector.above(taken)]) == ["analytics", "users"]


def test_a_relay_that_finds_nothing_tells_nothing_of_its_looks() -> None:
    with collecting() as (collector, address):
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with Stack(parts=("relay",), settings=settings) as stack:
            wait_until("its start", lambda: "relay started" in stack.log("relay"))
            time.sleep(2)  # eight looks at the outbox, and as many at the mails
    assert [span.name for span in collector.spans if span.name.startswith("SELECT")] == []


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    with Stack(parts=("users",)) as stack:
        pid = stack.processes["users"].pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            worker = children.read().split()[0]
        assert requests.get(f"{stack.users_url}/health", timeout=10).ok
        with open(f"/proc/{worker}/maps") as maps:
            assert "google/_upb" not in maps.read()
