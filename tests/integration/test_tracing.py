"""One request is one trace: dashboard -> service -> statement, sent to a real collector."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.servers import wait_until
from tests.stack import Stack

pytest.importorskip("opentelemetry.instrumentation.flask", reason="the extra `tracing`")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span:
    """A span as it arrived."""

    def __init__(self, service: str, trace: bytes, name: str, text: str) -> None:
        self.service, self.trace, self.name, self.text = service, trace, name, text


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
                    service = attributes["service.name"]
                    self.spans.append(Span(service, span.trace_id, span.name, str(span)))

    def of_one_trace(self, *services: str) -> list[Span]:
        """Returns the spans of a trace that all of these services took part in."""
        for trace in {span.trace for span in self.spans}:
            found = [span for span in self.spans if span.trace == trace]
            if {span.service for span in found} >= set(services):
                return found
        return []


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
            requests.post(f"{stack.users_url}/users?code=a-secret-code", json=account, timeout=10)
            token = requests.post(f"{stack.users_url}/login", json=person, timeout=10).json()
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            # Analytics asks users for its public keys: a call from one service to another.
            path = f"{stack.analytics_url}/analytics/summary?start=2026-01-01"
            assert requests.get(path, headers=headers, timeout=10).status_code == 200
            both = ("footfall-analytics", "footfall-users")
            wait_until("the trace", lambda: bool(collector.of_one_trace(*both)))
            wait_until(
                "a statement", lambda: any("SELECT" in each.name for each in collector.spans)
            )
    everything = "".join(span.text for span in collector.spans)
    for secret in ("a-secret-code", person["password"], token["access_token"], "ada@example.com"):
        assert secret not in everything
    assert any(span.name == "POST /login" for span in collector.spans)


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    with Stack(parts=("users",)) as stack:
        pid = stack.processes["users"].pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            worker = children.read().split()[0]
        assert requests.get(f"{stack.users_url}/health", timeout=10).ok
        with open(f"/proc/{worker}/maps") as maps:
            assert "google/_upb" not in maps.read()
