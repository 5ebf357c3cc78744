"""Mixed load: the maximum is measured, then 80 % of it is kept up; memory must stay flat.

    python -m tests.chaos.load [--seconds 600] [--write FILE]

Ends with 1 if a request failed or a process grew.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.__main__ import write
from tests.chaos.actors import Client, Person, Place, Sender, Visitor
from tests.chaos.history import History
from tests.chaos.platform import Platform
from tests.stack import APPS, WORKERS

THREADS = 8
SHARE = 0.8
CALIBRATION_SECONDS = 30
SAMPLE_SECONDS = 5
# A process may fill its caches and pools; what leaks at this load outgrows that in minutes.
GROWTH, SLACK_BYTES = 1.1, 8 << 20
MARKS = ("<!-- load: begin -->", "<!-- load: end -->")


@dataclass
class Kind:
    """One kind of request, how often it comes, and how long each took in seconds."""

    weight: int
    act: Callable[[], object]
    took: list[float] = field(default_factory=list)


class Worker:
    """One client of everything; each has connections and an account of its own."""

    def __init__(self, place: Place, number: int) -> None:
        self.place = place
        self.random = random.Random(number)
        self.program = Client(place, place.key)
        self.person = Person(place)
        self.person.register()
        self.person.sign_in()
        self.visitor = Visitor(place, self.person)
        self.visitor.act()
        single, batched = Sender(place, "single"), Sender(place, "batched", batch=20)
        own = f"/analytics/users/{place.ids[self.person.name]}/events"
        self.kinds = {
            "store an event": Kind(55, lambda: single.sent([single.event(0)])),
            "store 20 events": Kind(8, lambda: batched.sent([batched.event(n) for n in range(20)])),
            "read a summary": Kind(10, self.reading("/analytics/summary?compare=previous")),
            "count by type": Kind(5, self.reading("/analytics/events/by-type")),
            "list one's events": Kind(5, lambda: self.person.client.call("analytics", "GET", own)),
            "read one's account": Kind(10, self.person.look_at_myself),
            "sign in": Kind(3, self.person.sign_in),
            "open a page": Kind(4, lambda: self.visitor.client.call("dashboard", "GET", "/")),
        }

    def reading(self, path: str) -> Callable[[], object]:
        return lambda: self.program.call("analytics", "GET", path)

    def once(self) -> None:
        """Does something by chance, and notes how long it took."""
        weights = [kind.weight for kind in self.kinds.values()]
        [name] = self.random.choices(list(self.kinds), weights)
        began = time.monotonic()
        self.kinds[name].act()
        self.kinds[name].took.append(time.monotonic() - began)


def flat_out(workers: list[Worker], seconds: float) -> float:
    """Returns how many requests a second the platform answers when nobody waits."""
    began = time.monotonic()
    done = run(workers, lambda: time.monotonic() - began < seconds)
    return done / (time.monotonic() - began)


def paced(workers: list[Worker], rate: float, seconds: float) -> int:
    """Keeps up a rate: each request has its moment, whether or not the last one is back."""
    began = time.monotonic()
    numbers = itertools.count()

    def next_moment() -> bool:
        due = began + next(numbers) / rate
        time.sleep(max(0.0, due - time.monotonic()))
        return due < began + seconds

    return run(workers, next_moment)


def run(workers: list[Worker], go_on: Callable[[], bool]) -> int:
    counts = [0] * len(workers)

    def work(number: int) -> None:
        while go_on():
            workers[number].once()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


class Scales:
    """Weighs each part of the platform every few seconds."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.weights: dict[str, list[int]] = defaultdict(list)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.weigh, daemon=True)

    def weigh(self) -> None:
        while not self.done.wait(SAMPLE_SECONDS):
            for part in (*APPS, *WORKERS):
                self.weights[part].append(resident(self.platform.processes[part].pid))

    def growth(self) -> dict[str, tuple[int, int]]:
        """Returns for each part the median weight of the first third and of the last, in bytes."""
        found = {}
        for part, weights in self.weights.items():
            third = max(1, len(weights) // 3)
            first, last = weights[:third], weights[-third:]
            found[part] = (int(statistics.median(first)), int(statistics.median(last)))
        return found

    def __enter__(self) -> Scales:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join(SAMPLE_SECONDS + 5)


def resident(pid: int) -> int:
    """Returns the resident memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *children)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def grown(growth: dict[str, tuple[int, int]]) -> list[str]:
    """Returns a complaint for each part that is heavier at the end than it may be."""
    return [
        f"{part} grew from {first >> 20} to {last >> 20} MiB"
        for part, (first, last) in growth.items()
        if last > first * GROWTH + SLACK_BYTES
    ]


def table(workers: list[Worker]) -> str:
    """Returns the latencies by kind as a table, in milliseconds."""
    lines = ["| request | number | p50 | p95 | p99 | longest |", "|---|---|---|---|---|---|"]
    for name in workers[0].kinds:
        took = sorted(each for worker in workers for each in worker.kinds[name].took)
        if took:
            quantiles = [took[int(len(took) * q)] for q in (0.5, 0.95, 0.99)]
            cells = " | ".join(f"{1000 * each:.0f} ms" for each in (*quantiles, took[-1]))
            lines.append(f"| {name} | {len(took):,} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--write", type=Path, help="a document to put the figures into")
    options = parser.parse_args()
    with Platform() as platform:
        history = History()
        place = Place(
            platform.users_url, platform.analytics_url, platform.dashboard_url,
            platform.new_key(), "load", history,
        )  # fmt: skip
        # Each with a key of its own: one alone would be over the limit on calls.
        keys = (platform.new_key() for _ in range(THREADS))
        workers = [Worker(replace(place, key=key), n) for n, key in enumerate(keys)]
        most = flat_out(workers, CALIBRATION_SECONDS)
        for worker in workers:
            for kind in worker.kinds.values():
                kind.took.clear()
        history.answers.clear()
        with Scales(platform) as scales:
            done = paced(workers, SHARE * most, options.seconds)
        return report(workers, scales, history, options, most, done)


def report(
    workers: list[Worker],
    scales: Scales,
    history: History,
    options: argparse.Namespace,
    most: float,
    done: int,
) -> int:
    failed = [each for each in history.answers if not 200 <= each.status < 400]
    weights = ", ".join(
        f"{part} {first >> 20} → {last >> 20} MiB"
        for part, (first, last) in scales.growth().items()
    )
    text = (
        f"{most:.0f} requests a second at most; {SHARE * most:.0f} a second asked for over "
        f"{options.seconds} s: {done:,} requests, {len(failed)} failed.\n\n{table(workers)}\n\n"
        f"Memory, median of the first third → of the last: {weights}."
    )
    print(text)
    if options.write:
        write(options.write, text, MARKS)
    complaints = grown(scales.growth())
    complaints += [f"{each.service} answered {each.status}" for each in failed[:20]]
    print("\n".join(complaints), file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
