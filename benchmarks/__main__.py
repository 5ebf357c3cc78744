"""Footfall against its peers, all in one run: python -m benchmarks [--small] [NAME …].

Medians, PostgreSQL 18 with fsync on, load from another process. `--small` takes seconds: it
shows that everything still runs, and its figures mean nothing. `--write FILE` puts each
workload's figures between its marks in a document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import behaviour as behaviour_reports
from benchmarks import exporting, ingest, reports
from benchmarks.dataset import fill
from benchmarks.load import A_DAY, LIVE_SECONDS
from benchmarks.papers import put
from benchmarks.serving import footfall, load, new_database, new_key, postgres
from tests.servers import PostgresServer


@dataclass(frozen=True)
class Size:
    """How long and how large the workloads are."""

    seconds: float
    rounds: int
    connections: int
    batches: int
    small: int
    large: int
    repeats: int


FULL = Size(10, 3, 32, 300, 100_000, 10_000_000, 15)
SMALL = Size(1, 1, 4, 4, 90_000, 180_000, 2)


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured, and how it stands against what was aimed at."""

    what: str
    ours: float
    other: float
    unit: str
    aim: str

    def __str__(self) -> str:
        ratio = self.ours / self.other if self.other else 0
        shown = [f"{self.ours:,.6g}", f"{self.other:,.6g}", self.unit, f"{ratio:.2f}", self.aim]
        return "| " + " | ".join([self.what, *shown]) + " |"


HEADER = "| what | Footfall | held against | unit | ratio | aim |\n|---|---|---|---|---|---|"


def singles(server: PostgresServer, size: Size) -> list[Line]:
    """Single events a second against each peer."""
    found = ingest.singles(server, size.seconds, size.rounds, size.connections)
    aims = ("at least 4", "at least 1", "at least 0.8")
    peers = list(ingest.SUBJECTS)[1:]
    return [
        Line(f"single events: {name}", found["Footfall"], found[name], "events/s", aim)
        for name, aim in zip(peers, aims, strict=True)
    ]


def batches(server: PostgresServer, size: Size) -> list[Line]:
    """Events a second in batches of 1,000, against one COPY stream.

    Of the last minute, as a sender gathers them; and all over a day, the dearest there is:
    nearly every event then has a count and a presence of its own to keep.
    """
    kinds = {"of the last minute": LIVE_SECONDS, "all over a day": A_DAY}
    lines = []
    for name, seconds in kinds.items():
        found = ingest.batch_rates(server, size.batches, size.rounds, seconds)
        ours, copy = found["Footfall"], found["COPY"]
        lines.append(Line(f"batches {name}: COPY", ours, copy, "events/s", "at least 0.5"))
    return lines


def growth(server: PostgresServer, size: Size) -> list[Line]:
    """Reports, ingest, export and disk at ten million events."""
    small, large = new_database(server, "small"), new_database(server, "large")
    empty_rate = single_rate(new_database(server, "none"), size)
    fill(small, size.small)
    events = fill(large, size.large)
    bytes_used = disk(server)
    on_small = reports.summary_seconds(small, size.repeats)
    on_large = reports.summary_seconds(large, size.repeats)
    by_sql = reports.raw_seconds(large, max(1, size.repeats // 5))
    exported, grown = exporting.export(large)
    full_rate = single_rate(large, size)
    return [
        Line("summary, few events", on_large * 1e3, on_small * 1e3, "ms", "at most 1.5"),
        Line("summary, by raw SQL", by_sql * 1e3, on_large * 1e3, "ms", "at least 50 (turned)"),
        Line("ingest, no events", full_rate, empty_rate, "events/s", "at least 0.75"),
        Line("export", exported, 100_000, "events/s", "at least 1"),
        Line("export, memory grown", grown, 10, "MB", "flat"),
        Line("disk for an event", bytes_used / events, 320, "bytes", "at most 1"),
    ]


def disk(server: PostgresServer) -> int:
    """Returns the bytes of the large database's tables and indexes, all in."""
    rows = server.execute("SELECT pg_database_size('large')")
    empty = server.execute("SELECT pg_database_size('none')")
    return int(str(rows[0][0])) - int(str(empty[0][0]))


def single_rate(url: str, size: Size) -> float:
    from benchmarks.dataset import prepare_partitions

    prepare_partitions(url)
    key = new_key(url)
    with footfall(url, WEB_THREADS=ingest.THREADS) as port:
        load(port, ingest.SINGLE, min(2.0, size.seconds), size.connections, "single", key)
        return load(port, ingest.SINGLE, size.seconds, size.connections, "single", key)["rate"]


def behaviour(server: PostgresServer, size: Size) -> list[Line]:
    """Behaviour reports at ten million events, against the plain SQL of each."""
    rows = behaviour_reports.run(server, size.large, min(7, size.repeats))
    lines = [
        Line(report.name, plain, ours, "ms", f"at least {report.at_least} (turned)")
        for report, ours, plain in rows
    ]
    beside, alone = behaviour_reports.ingest_rates(
        server, size.seconds, size.connections, size.rounds
    )
    return [*lines, Line("ingest beside four reports", beside, alone, "events/s", "at least 0.8")]


WORKLOADS: dict[str, Callable[[PostgresServer, Size], list[Line]]] = {
    "singles": singles,
    "batches": batches,
    "growth": growth,
    "behaviour": behaviour,
}


def main() -> None:
    """Runs the workloads that are named, or all, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--write", type=Path, help="a document to put the figures into")
    given = parser.parse_args()
    size = SMALL if given.small else FULL
    lines = []
    print(HEADER, flush=True)
    for name in given.names or WORKLOADS:
        with postgres() as server:
            found = WORKLOADS[name](server, size)
        print("\n".join(map(str, found)), flush=True)
        lines += map(vars, found)
        if given.write:
            put(given.write, name, "\n".join([HEADER, *map(str, found)]))
    if given.json:
        given.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
