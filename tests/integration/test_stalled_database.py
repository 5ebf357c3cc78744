"""A PostgreSQL that stalls: whoever asks it is told so, and is well again after it."""

from __future__ import annotations

import signal
import time

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from chassis import database
from tests.servers import BUSY_SECONDS, PostgresServer

PATIENCE_SECONDS = 0.5


def test_a_server_that_says_nothing_is_given_up() -> None:
    with PostgresServer() as server:
        url = server.url()
        options = database.engine_options(
            url, application_name="test", statement_timeout_ms=300, grace_ms=200
        )
        engine = create_engine(url, **options)
        database.check(engine)
        server.signal_all(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            for _ in range(2):  # on a connection that was there, and on a new one
                with pytest.raises(OperationalError):
                    database.check(engine)
            # The one that was there is asked, and replaced in vain, as the other is.
            assert time.monotonic() - begun < 3 * PATIENCE_SECONDS + BUSY_SECONDS
        finally:
            server.signal_all(signal.SIGCONT)
        database.check(engine)
        engine.dispose()
