"""What ended workers counted is kept whole, in one file a kind, whoever reads meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from chassis import worker_metrics
from chassis.worker_metrics import WorkersCollector, fold_ended, reading


def ended_process() -> int:
    """Returns the id of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def count(folder: Path, process: int, status: str, value: float) -> None:
    """Has a process count requests, and time them in two buckets."""
    labels = ["status"], [status]
    counter = MmapedDict(str(folder / f"counter_{process}.db"))
    counter.write_value(mmap_key("calls", "calls_total", *labels, "Calls."), value, 0.0)
    times = MmapedDict(str(folder / f"histogram_{process}.db"))
    for le in ("0.1", "+Inf"):
        key = mmap_key("seconds", "seconds_bucket", ["status", "le"], [status, le], "Time.")
        times.write_value(key, value, 0.0)
    times.write_value(mmap_key("seconds", "seconds_sum", *labels, "Time."), value / 4, 0.0)
    gauge = MmapedDict(str(folder / f"gauge_livesum_{process}.db"))
    gauge.write_value(mmap_key("open", "open", [], [], "Open."), 1.0, 0.0)
    for each in (counter, times, gauge):
        each.close()


def figures(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    WorkersCollector(registry, path=str(folder))
    lines = generate_latest(registry).decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.glob("*.db")}


def test_however_many_workers_end_the_sums_stay_and_the_files_are_few(tmp_path: Path) -> None:
    count(tmp_path, os.getpid(), "200", 5)
    for round_ in range(4):
        for status in ("200", "404", f"50{round_}"):
            count(tmp_path, ended_process(), status, 3)
        before = {**figures(tmp_path), "open": 1.0}
        fold_ended(tmp_path)
        assert figures(tmp_path) == before
        fold_ended(tmp_path)
        assert figures(tmp_path) == before, "and once more changes nothing"
    assert before['calls_total{status="200"}'] == 5 + 4 * 3
    assert before['seconds_bucket{le="+Inf",status="404"}'] == 2 * 4 * 3
    assert names(tmp_path) == {
        "counter_ended.db", "histogram_ended.db",
        *(f"{kind}_{os.getpid()}.db" for kind in ("counter", "histogram", "gauge_livesum")),
    }  # fmt: skip


def test_a_file_that_was_only_opened_stops_neither_reading_nor_folding(tmp_path: Path) -> None:
    count(tmp_path, ended_process(), "200", 3)
    for process in (os.getpid(), ended_process()):
        (tmp_path / f"counter_{process}.db").touch()
    assert figures(tmp_path)['calls_total{status="200"}'] == 3
    fold_ended(tmp_path)
    assert figures(tmp_path)['calls_total{status="200"}'] == 3
    assert f"counter_{os.getpid()}.db" in names(tmp_path)


def test_who_reads_for_long_holds_nobody_up_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_metrics, "MAX_WAIT_SECONDS", 0.1)
    count(tmp_path, ended_process(), "200", 3)
    before = names(tmp_path)
    with reading(tmp_path):
        fold_ended(tmp_path)
        assert names(tmp_path) == before
    fold_ended(tmp_path)
    assert names(tmp_path) == {"counter_ended.db", "histogram_ended.db"}


def test_at_no_moment_is_a_figure_too_low_or_too_high(tmp_path: Path) -> None:
    wrong: list[float] = []
    total, over = 400.0, threading.Event()
    count(tmp_path, os.getpid(), "200", total)

    def read() -> None:
        while not over.is_set():
            found = figures(tmp_path)['calls_total{status="200"}']
            wrong.extend([found] if found != total else [])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for each in readers:
        each.start()
    for _ in range(20):
        count(tmp_path, ended_process(), "201", 1)
        fold_ended(tmp_path)
    over.set()
    for each in readers:
        each.join()
    assert wrong == []
    fold_ended(tmp_path)
    assert figures(tmp_path)['calls_total{status="201"}'] == 20
