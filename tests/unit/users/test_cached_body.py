"""A body that many ask for at once: made once for each version, by one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from chassis.errors import Unavailable
from users_app import cached_body
from users_app.cached_body import CachedBody


def test_of_many_threads_one_makes_the_body_and_the_others_have_it() -> None:
    cached, begun, go = CachedBody(), Event(), Event()
    made: list[bytes] = []

    def make() -> bytes:
        begun.set()
        go.wait(10)
        made.append(b"one")
        return made[-1]

    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(cached.current, lambda: 1, make) for _ in range(8)]
        assert begun.wait(10)
        go.set()
        bodies = {each.result(10) for each in asking}
    assert (made, len(bodies)) == ([b"one"], 1)


def test_who_waits_in_vain_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_body, "MAX_WAIT_SECONDS", 0.01)
    cached = CachedBody()
    with cached.lock, pytest.raises(Unavailable):
        cached.current(lambda: 1, lambda: b"one")
    assert cached.current(lambda: 1, lambda: b"one").data == b"one"


def test_who_waited_looks_at_the_version_again() -> None:
    cached, versions = CachedBody(), iter([1, 1, 2, 3, 3])
    cached.current(lambda: next(versions), lambda: b"first")
    assert cached.current(lambda: next(versions), lambda: b"third").version == 3
    assert cached.current(lambda: next(versions), lambda: b"never").data == b"third"


def test_a_body_that_can_not_be_made_leaves_the_one_before() -> None:
    cached = CachedBody()
    cached.current(lambda: 1, lambda: b"one")
    with pytest.raises(ValueError, match="negative"):
        cached.current(lambda: 2, lambda: bytes(-1))
    assert cached.current(lambda: 1, lambda: b"never").data == b"one"
    assert cached.current(lambda: 2, lambda: b"two").data == b"two"
