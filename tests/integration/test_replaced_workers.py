"""Workers are replaced all day: what they counted stays, and their files don't pile up."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.servers import BUSY_SECONDS, wait_until
from tests.stack import Stack

JWKS = "/.well-known/jwks.json"
COUNTED = re.compile(
    r"^flask_http_request_duration_seconds_(count|sum|bucket)\{.*jwks.*\} ([\d.e+-]+)$", re.M
)


def scraped(stack: Stack) -> list[float]:
    """Returns each figure of the JWKS route, in the order that they are told."""
    text = requests.get(f"{stack.users_url}/metrics", timeout=10).text
    assert text.startswith("# HELP"), text[:300]
    return [float(value) for kind, value in COUNTED.findall(text)]


def count(stack: Stack) -> float:
    text = requests.get(f"{stack.users_url}/metrics", timeout=10).text
    return sum(float(value) for kind, value in COUNTED.findall(text) if kind == "count")


class Scraper(threading.Thread):
    """Scrapes all the time; keeps every fall of a figure."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.stack, self.scrapes = stack, 0
        self.falls: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        before: list[float] = []
        while not self.over.is_set():
            try:
                now = scraped(self.stack)
            except requests.ConnectionError:  # the worker was replaced: no answer, no figure
                continue
            except AssertionError as error:
                self.failures.append(str(error))
                continue
            self.falls += [
                (old, new) for old, new in zip(before, now, strict=False) if new < old - 1e-6
            ]
            before, self.scrapes = now, self.scrapes + 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.over.set()
            self.join()


def master(stack: Stack) -> int:
    return stack.processes["users"].pid


def workers(stack: Stack) -> set[int]:
    children = Path(f"/proc/{master(stack)}/task/{master(stack)}/children")
    return set(map(int, children.read_text().split()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Stack]:
    given = {"PROMETHEUS_MULTIPROC_DIR": str(folder), **settings}
    with Stack(parts=("users",), workers=2, threads=4, settings=given) as stack:
        yield stack


def test_counters_never_fall_and_files_stay_few_while_workers_are_replaced(folder: Path) -> None:
    with running(folder, WEB_MAX_REQUESTS="40") as stack:
        scraper, seen, answered = Scraper(stack), workers(stack), 0
        with scraper.at_work():
            deadline = time.monotonic() + 120
            while len(seen) < 14:
                assert time.monotonic() < deadline, seen
                try:
                    answered += requests.get(stack.users_url + JWKS, timeout=10).ok
                except requests.ConnectionError:
                    continue
                seen |= workers(stack)
        wait_until("the last count", lambda: count(stack) >= answered, 5 + BUSY_SECONDS)
        assert scraper.scrapes > 20
        assert scraper.falls == []
        assert scraper.failures == []
        files = sorted(each.name for each in folder.iterdir())
    living = 2 + 1  # one may just have been started
    assert len(files) <= 4 * living + 3, files
    assert {"counter_ended.db", "histogram_ended.db"} <= set(files)


def test_a_reload_and_a_killed_worker_lose_no_count(folder: Path) -> None:
    with running(folder) as stack:
        for _ in range(30):
            assert requests.get(stack.users_url + JWKS, timeout=10).ok
        for how in ("reload", "kill", "reload"):
            old = workers(stack)
            if how == "reload":
                os.kill(master(stack), signal.SIGHUP)
            else:
                for each in old:
                    os.kill(each, signal.SIGKILL)
            wait_until(
                "new workers",
                lambda old=old: not workers(stack) & old and stack.is_healthy("users"),
            )
            wait_until("their files", lambda old=old: not left_by(folder, old), 5 + BUSY_SECONDS)
            assert count(stack) == 30
        assert len(list(folder.glob("*_ended.db"))) == 2


def left_by(folder: Path, processes: set[int]) -> list[str]:
    return [
        each.name for each in folder.glob("*.db") if each.stem.rpartition("_")[2].isdigit()
        and int(each.stem.rpartition("_")[2]) in processes
    ]  # fmt: skip
