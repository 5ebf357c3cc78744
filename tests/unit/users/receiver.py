"""A stand-in for analytics at the network's edge, which keeps what it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Reply = tuple[int, dict[str, str], Any]


class StandIn:
    """Takes batches and erasures as analytics does; `replies` go first, one a call.

    A reply is (status, headers, document); `decide` may give one for each call instead.
    """

    def __init__(self, decide: Callable[[str, str, Any], Reply | None] | None = None) -> None:
        self.replies: list[Reply] = []
        self.decide = decide
        self.batches: list[list[dict[str, Any]]] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.erased: list[int] = []
        self.order: list[str] = []
        self.tokens: list[str] = []
        self.pages: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.lock = Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self.server.shutdown()
        self.server.server_close()

    def reply(self, method: str, path: str, document: Any) -> Reply:
        """Returns what to answer; a failure is told after or before the work, as it comes."""
        with self.lock:
            told = self.replies.pop(0) if self.replies else None
            told = told or (self.decide(method, path, document) if self.decide else None)
            if told and told[0] != 0:
                return told
            done = self.work(method, path, document)
        return (500, {}, {"title": "lost after the work"}) if told else done

    def work(self, method: str, path: str, document: Any) -> Reply:
        if method == "GET":
            return self.page(path)
        if method == "DELETE":
            self.erased.append(int(path.split("/")[3]))
            self.order.append("erase")
            return 200, {}, {"erased": 1}
        events = document["events"]
        self.batches.append(events)
        return 200, {}, {"accepted": len(events), "results": self.store(events)}

    def page(self, path: str) -> Reply:
        self.asked.append(path)
        if path == "/health":
            return 200, {}, {"status": "ok"}
        return 200, {}, self.pages.pop(0)

    def store(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        results = []
        for index, event in enumerate(events):
            if event["metadata"].get("poison") == "row":
                errors = [{"field": "metadata", "message": "is poison"}]
                results.append({"index": index, "status": "rejected", "errors": errors})
            elif event["event_id"] in self.stored:
                self.repeats += 1
                results.append({"index": index, "status": "duplicate", "errors": []})
            else:
                self.stored[event["event_id"]] = event
                self.order.append(event["event_type"])
        return results


def handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            document = json.loads(self.rfile.read(length) or b"null")
            stand_in.tokens.append(self.headers.get("Authorization", ""))
            status, headers, content = stand_in.reply(self.command, self.path, document)
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            return

    return Handler
