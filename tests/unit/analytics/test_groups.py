"""Group commit in the process: who waits together goes together, and nobody waits for long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from analytics_app.groups import Groups
from chassis.errors import Unavailable


def test_every_caller_gets_its_own_answer() -> None:
    sizes: list[int] = []

    def flush(items: list[int]) -> list[int]:
        sizes.append(len(items))
        time.sleep(0.002)
        return [item * 2 for item in items]

    groups: Groups[int, int] = Groups(flush, largest=5)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(groups.submit, range(300))) == [2 * n for n in range(300)]
    assert sum(sizes) == 300
    assert 1 < max(sizes) <= 5


def test_an_error_reaches_all_of_its_group_and_none_of_the_next() -> None:
    def flush(items: list[int]) -> list[int]:
        if 0 in items:
            raise ValueError("bad")
        return items

    groups: Groups[int, int] = Groups(flush)
    with pytest.raises(ValueError, match="bad"):
        groups.submit(0)
    assert groups.submit(1) == 1


def test_who_waits_behind_an_outage_hears_of_it_at_once() -> None:
    entered, go_on = threading.Event(), threading.Event()
    flushed: list[list[int]] = []

    def flush(items: list[int]) -> list[int]:
        flushed.append(items)
        entered.set()
        go_on.wait(30)
        raise Unavailable("gone")

    groups: Groups[int, int] = Groups(flush, patience=30, stalled=30)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(groups.submit, 1)
        entered.wait(10)
        second = pool.submit(groups.submit, 2)
        while not groups.queue:
            time.sleep(0.001)
        go_on.set()
        for each in (first, second):
            with pytest.raises(Unavailable):
                each.result(10)
    assert flushed == [[1]]


def test_behind_a_stalled_group_nobody_waits() -> None:
    stuck, entered = threading.Event(), threading.Event()

    def flush(items: list[int]) -> list[int]:
        entered.set()
        stuck.wait(30)
        return items

    groups: Groups[int, int] = Groups(flush, patience=0.2, stalled=0.1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(groups.submit, 1)
        entered.wait(10)
        with pytest.raises(Unavailable) as late:  # queued, and out of patience
            groups.submit(2)
        assert late.value.headers["Retry-After"]
        with pytest.raises(Unavailable):  # the group is known to be stalled by now
            groups.submit(3)
        stuck.set()
        assert first.result(10) == 1
    assert groups.submit(4) == 4
