"""A planted fault shows that the fuzzing would see a door left open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from flask import Flask, request
from werkzeug.serving import make_server

from chassis import api_docs, assemble
from chassis.api import api
from chassis.auth import Caller, requires
from chassis.config import Settings
from chassis.errors import Unauthenticated
from chassis.schema import Id, Model
from tests.proof.fuzz import Effort, fuzzed

SOMEBODY = Caller("user", "7", frozenset({"read"}), user_id=7)
SHORT = Effort(examples=5, seed=1, phases="coverage,fuzzing")


class PlantedSettings(Settings):
    service: ClassVar[str] = "planted"


class Thing(Model):
    number: Id


def by_header() -> Caller | None:
    header = request.headers.get("Authorization")
    if header not in (None, "Bearer good"):
        raise Unauthenticated("The token is not valid here.")
    return SOMEBODY if header else None


def believing_anybody() -> Caller | None:
    return SOMEBODY


@contextmanager
def serving(authenticate: Callable[[], Caller | None]) -> Iterator[str]:
    app = Flask(__name__)
    settings = PlantedSettings(api_calls_per_minute=0, log_level="ERROR")
    assemble(app, settings, authenticate=authenticate, checks={})

    @app.get("/things/<id:number>")
    @requires("read")
    @api(answers={200: Thing})
    def read_thing(number: int) -> Thing:
        """Read a thing."""
        return Thing(number=number)

    api_docs.install(app, title="Planted", version="1", description="For a test.")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


def test_a_door_that_checks_its_keys_passes() -> None:
    with serving(by_header) as url:
        done = fuzzed(url, {"Authorization": "Bearer good"}, SHORT)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_skipped_authorisation_is_found() -> None:
    with serving(believing_anybody) as url:
        done = fuzzed(url, {"Authorization": "Bearer good"}, SHORT)
    assert done.returncode == 1
    assert "without authentication" in done.stdout
