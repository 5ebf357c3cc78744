"""The metrics of all workers of one app, in files of a folder: one a worker and kind.

Of workers that have ended, one file a kind keeps the sums, so that the folder stays small
however many were replaced, and no counter falls. Who reads all files, and who moves figures
from one to another, keep out of each other's way by a lock on the folder.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

SUMMED = ("counter", "histogram")
ENDED = "ended"
MAX_WAIT_SECONDS = 0.5


class WorkersCollector(MultiProcessCollector):
    """What all workers have counted, those that have ended too."""

    def collect(self) -> Iterable[Metric]:
        """Returns the sums over all files as they are at one moment."""
        with reading(Path(self._path)):
            # One that a worker has just opened is empty.
            files = [str(each) for each in Path(self._path).glob("*.db") if each.stat().st_size]
            found: Iterable[Metric] = self.merge(files)  # type: ignore[no-untyped-call]
            return found


def fold_ended(folder: Path) -> None:
    """Moves what workers without a process have counted into the files of those that ended.

    Their gauges go: they tell of nobody. While somebody reads, it waits a moment at most, and
    then leaves it to the next call.
    """
    with moving(folder) as is_alone:
        if is_alone:
            files = [each for each in folder.glob("*.db") if has_ended(each)]
            for kind in SUMMED:
                fold(folder, kind, [each for each in files if each.name.startswith(f"{kind}_")])
            for gauge in folder.glob("gauge_*.db"):
                if gauge in files:
                    gauge.unlink()


def fold(folder: Path, kind: str, files: list[Path]) -> None:
    if not files:
        return
    kept = folder / f"{kind}_{ENDED}.db"
    part = folder / f"{kind}_{ENDED}.part"
    write(part, sums([*files, kept] if kept.exists() else files))
    part.replace(kept)
    for each in files:
        each.unlink()


def sums(files: Iterable[Path]) -> dict[str, float]:
    """Returns the sum of each series, by the key that the files name it with."""
    found: defaultdict[str, float] = defaultdict(float)
    for each in files:
        if each.stat().st_size:
            for key, value, *_ in MmapedDict.read_all_values_from_file(each):  # type: ignore[no-untyped-call]
                found[key] += value
    return found


def write(path: Path, values: dict[str, float]) -> None:
    path.unlink(missing_ok=True)
    file = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    for key, value in values.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


def has_ended(file: Path) -> bool:
    """Whether the process that the file is named after is gone."""
    process = file.stem.rpartition("_")[2]
    if not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's by now
        return True
    return False


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def moving(folder: Path) -> Iterator[bool]:
    """Yields whether nobody reads meanwhile; waits for that, but not long."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    with (folder / "lock").open("a") as lock:
        while not taken(lock.fileno()):
            if time.monotonic() > deadline:
                yield False
                return
            time.sleep(0.01)
        yield True


def taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
