"""What the runs borrow from the machine: nginx, a clock to step, a small disk; or why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import tools
from ops.fetch import Unavailable
from tests.servers import accepts_connections, free_port, wait_until
from tests.stack import ROOT


class Missing(Exception):
    """Something a run needs can't be had on this machine; the text says what and why."""


def program(name: str) -> Path:
    """Returns the program, fetched if need be; raises Missing."""
    try:
        tools.fetch(name)
    except Unavailable as error:
        raise Missing(f"{name} can't be had: {error}") from None
    found = tools.found(name)
    if found is None:
        raise Missing(f"{name} can't be had")
    return found


def start_gateway(home: Path, routes: dict[int, int]) -> subprocess.Popen[bytes]:
    """Starts the shipped nginx: from each port to the app's behind it; raises Missing."""
    nginx = program("nginx")
    environment = {
        "PATH": f"{nginx.parent}:{os.environ['PATH']}",
        "ROUTES": " ".join(f"{port}=127.0.0.1:{app}" for port, app in routes.items()),
        "RUN_DIR": str(home / "gateway"),
        "ALIVE_PORT": str(free_port()),
        "LISTEN_ADDRESS": "127.0.0.1",
        "TLS_DIR": str(home / "no-tls"),
    }
    with (home / "gateway.log").open("ab") as log:
        started = subprocess.Popen(
            ["sh", ROOT / "ops" / "nginx" / "start.sh"], env=environment, stdout=log, stderr=log
        )
    wait_until("the gateway's start", lambda: all(map(accepts_connections, routes)))
    return started


def clock_library(folder: Path) -> Path:
    """Returns a library that shifts a process's wall clock, made here; raises Missing."""
    made = folder / "clock.so"
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("stepping a clock needs a C compiler")
    source = Path(__file__).with_name("clock.c")
    words = [compiler, "-shared", "-fPIC", "-O2", "-o", made, source, "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"stepping a clock needs a C compiler that works: {done.stderr[:200]}")
    return made


class Disk:
    """A file system of a fixed size, in memory; without the right to mount, a plain folder."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder, self.mounted = folder, mounted

    @property
    def filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        """Leaves no byte free; raises Missing on a plain folder."""
        if not self.mounted:
            raise Missing("a small file system can't be mounted by this user")
        with self.filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                self.write_until_full(file.fileno(), size)

    def write_until_full(self, file: int, size: int) -> None:
        block = b"\0" * size
        for _ in range(shutil.disk_usage(self.folder).total // size + 1):
            try:
                os.write(file, block)
            except OSError:
                return

    def free(self) -> None:
        self.filler.unlink(missing_ok=True)


@contextmanager
def small_disk(megabytes: int) -> Iterator[Disk]:
    """Yields a disk of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="footfall-disk-"))
    options = ["-o", f"size={megabytes}m,mode=755"]
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True)
    folder.chmod(0o755)
    try:
        yield Disk(folder, mounted=done.returncode == 0)
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
