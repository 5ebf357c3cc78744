"""Export through HTTP: events a second, and how far the workers' memory grows."""

from __future__ import annotations

import time
from pathlib import Path

import requests

from benchmarks.serving import footfall, new_key


def export(url: str) -> tuple[float, float]:
    """Returns lines a second of a whole export, and the growth of all workers' memory in MB."""
    key = new_key(url)
    with footfall(url, WEB_WORKERS="1") as port:
        warm_up(port, key)
        before = memory(port)
        begun, lines, peak = time.perf_counter(), 0, before
        for chunk in chunks(port, key):
            lines += chunk.count(b"\n")
            if lines % 50 == 0:
                peak = max(peak, memory(port))
        seconds = time.perf_counter() - begun
        peak = max(peak, memory(port))
    return lines / seconds, peak - before


def chunks(port: int, key: str):  # type: ignore[no-untyped-def]
    answer = requests.get(
        f"http://127.0.0.1:{port}/analytics/export",
        headers={"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"},
        stream=True,
        timeout=600,
    )
    answer.raise_for_status()
    yield from answer.iter_content(1 << 18)


def warm_up(port: int, key: str) -> None:
    for number, _ in enumerate(chunks(port, key)):
        if number == 20:
            return


def memory(port: int) -> float:
    """Returns the resident memory in MB of all processes that listen on the port."""
    pids = [each for each in Path("/proc").iterdir() if each.name.isdigit()]
    named = [each for each in pids if f"127.0.0.1:{port}".encode() in words(each)]
    return sum(resident(each) for each in named)


def words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def resident(process: Path) -> float:
    try:
        return int((process / "statm").read_text().split()[1]) * 4096 / 1e6
    except OSError:
        return 0.0
