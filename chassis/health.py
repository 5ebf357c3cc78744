"""`/health`, `/health/live` and `/metrics`: open to all, counted for none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from threading import Thread
from typing import Any

from flask import Blueprint, Flask, Response, jsonify

from chassis.auth import public
from chassis.telemetry import exposition, get_logger
from chassis.version import VERSION

MAX_WAIT_SECONDS = 2.5  # for all checks together
Check = Callable[[], Any]
log = get_logger(__name__)


def install(
    app: Flask,
    service: str,
    checks: Mapping[str, Check],
    degraded_checks: Mapping[str, Check],
) -> None:
    """Answers readiness from `checks` (503 when one fails) and `degraded_checks` (200 still)."""
    routes = Blueprint("chassis", __name__)

    @routes.get("/health")
    @public
    def health() -> tuple[Response, int]:
        found = outcomes({**checks, **degraded_checks})
        ready = all(found[name] == "ok" for name in checks)
        whole = all(found[name] == "ok" for name in degraded_checks)
        status = ("ok" if whole else "degraded") if ready else "down"
        body = {
            "status": status,
            "service": service,
            "version": VERSION,
            "checks": found,
        }
        return jsonify(body), 200 if ready else 503

    @routes.get("/health/live")
    @public
    def live() -> Response:
        return jsonify(status="ok", service=service, version=VERSION)

    @routes.get("/metrics")
    @public
    def metrics() -> Response:
        return Response(exposition(app), content_type="text/plain; version=0.0.4; charset=utf-8")

    app.register_blueprint(routes)


def outcomes(checks: Mapping[str, Check]) -> dict[str, str]:
    """Returns what became of the checks; one that hangs delays no other, and is down in time."""
    found: dict[str, str] = dict.fromkeys(checks, "down")

    def note(name: str) -> None:
        found[name] = outcome(name, checks[name])

    threads = [Thread(target=copy_context().run, args=(note, name), daemon=True) for name in checks]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(found)


def outcome(name: str, check: Check) -> str:
    try:
        check()
    except Exception as error:  # whatever it is, the dependency is not well
        log.warning("health check failed", check=name, error=type(error).__name__)
        return "down"
    return "ok"
