"""Normal requests through nginx while slow clients hold on: `make proxy-test`.

    python -m tests.operations.slow_clients [--seconds 30]

Ten idle sockets, a hundred half-sent requests and twenty bodies sent byte by byte for 30 s must
leave the median of normal requests under twice its usual.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from ops import tools
from ops.fetch import Unavailable
from tests.operations.gateway import Gateway
from tests.stack import Stack

IDLE, HALF_SENT, SLOW = 10, 100, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    try:
        tools.fetch("nginx")
    except Unavailable as error:
        print(f"Skipped: nginx can't be had: {error}")
        return 0
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory())
        settings = {"TRUSTED_PROXIES": "1"}
        stack = running.enter_context(Stack(parts=("users",), threads=8, settings=settings))
        gateway = running.enter_context(Gateway(stack.ports["users"], Path(folder)))
        usual = medians(gateway.port, seconds / 3)
        with Slow(gateway.port):
            under_load = medians(gateway.port, seconds)
    ratio = under_load / usual
    print(f"median {usual * 1000:.1f} ms; with {IDLE} idle sockets, {HALF_SENT} half-sent requests "
          f"and {SLOW} slow bodies {under_load * 1000:.1f} ms: {ratio:.2f} times")  # fmt: skip
    return 0 if ratio < 2 else 1


def medians(port: int, seconds: float) -> float:
    """Returns the median of one request after another, each of which must succeed."""
    taken = []
    session = requests.Session()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        answer = session.get(f"http://127.0.0.1:{port}/.well-known/jwks.json", timeout=10)
        taken.append(time.perf_counter() - began)
        assert answer.status_code == 200
        time.sleep(0.02)
    return statistics.median(taken)


class Slow:
    """Clients that connect and then take their time, renewed when nginx cuts them off."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop)

    def loop(self) -> None:
        begun = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
        kinds = [b""] * IDLE + [b"GET /health HTTP/1.1\r\nHo"] * HALF_SENT + [begun] * SLOW
        held = [self.connect(kind) for kind in kinds]
        while not self.stop.wait(0.5):
            for n, kind in enumerate(kinds):
                if kind is begun and not self.send_one(held[n]):
                    held[n].close()
                    held[n] = self.connect(kind)
        for each in held:
            each.close()

    def connect(self, start: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(start)
        return connection

    def send_one(self, connection: socket.socket) -> bool:
        try:
            connection.sendall(b" ")
        except OSError:
            return False
        return True

    def __enter__(self) -> Slow:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


if __name__ == "__main__":
    sys.exit(main())
