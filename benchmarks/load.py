"""A load generator in a process of its own: keep-alive connections that wait for each answer.

`python -m benchmarks.load PORT PATH SECONDS CONNECTIONS KIND TOKEN` prints one JSON object:
how many requests were answered, by status, in how many seconds. KIND is `single`, or `N` or
`N:S`: so many batches of 1,000 events of the last minute, or of the last S seconds.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

TYPES = [f"kind_{number}" for number in range(20)]
LIVE_SECONDS = 60.0  # what a sender gathers before it sends
A_DAY = 86_400.0
PATHS = [f"/page/{number}" for number in range(50)]


def event(moment: datetime, chance: random.Random, users: int = 10_000) -> dict[str, object]:
    """Returns one event as a tracker would send it."""
    return {
        "event_type": chance.choice(TYPES),
        "user_id": chance.randrange(1, users + 1),
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "created_at": moment.isoformat(),
        "metadata": {
            "path": chance.choice(PATHS),
            "plan": "pro",
            "duration": chance.randrange(900),
        },
    }


def singles(chance: random.Random) -> Iterator[bytes]:
    """Yields single events of right now, without end."""
    while True:
        yield json.dumps(event(datetime.now(UTC), chance)).encode()


def batches(
    chance: random.Random, size: int = 1_000, seconds: float = LIVE_SECONDS
) -> Iterator[bytes]:
    """Yields batches of what happened within the last so many seconds, without end."""
    while True:
        now = datetime.now(UTC)
        ages = [timedelta(seconds=chance.random() * seconds) for _ in range(size)]
        yield json.dumps({"events": [event(now - age, chance) for age in ages]}).encode()


class Client:
    """One connection that always has one request under way."""

    def __init__(self, port: int, head: Callable[[int], bytes], bodies: Iterator[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = head
        self.bodies = bodies
        self.received = b""

    def send(self) -> bool:
        """Sends the next request; returns whether there was one."""
        body = next(self.bodies, None)
        if body is None:
            return False
        self.received = b""
        self.socket.sendall(self.head(len(body)) + body)
        return True

    def answered(self) -> int | None:
        """Reads what is there; returns the status once the answer is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        return int(head[9:12]) if len(body) >= int(length) else None


def run(
    port: int, path: str, seconds: float, connections: int, bodies: Iterator[bytes], token: str
) -> dict[str, object]:
    """Keeps the connections busy; returns the answers by status and the time they took."""

    def head(length: int) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    selector = selectors.DefaultSelector()
    busy = 0
    for _ in range(connections):
        client = Client(port, head, bodies)
        selector.register(client.socket, selectors.EVENT_READ, client)
        busy += client.send()
    statuses: Counter[int] = Counter()
    begun = time.perf_counter()
    while busy and time.perf_counter() - begun < seconds:
        for key, _ in selector.select(1):
            status = key.data.answered()
            if status is not None:
                statuses[status] += 1
                busy -= not key.data.send()
    elapsed = time.perf_counter() - begun
    return {"seconds": elapsed, "statuses": statuses, "answers": statuses.total()}


def main(words: list[str]) -> None:
    """Runs as the command line says."""
    port, path, seconds, connections, kind, token = words
    chance = random.Random(time.time_ns())
    if kind == "single":
        bodies = singles(chance)
    else:
        # Made before the clock starts, so that making them is no part of the measure.
        count, _, age = kind.partition(":")
        made = batches(chance, seconds=float(age or LIVE_SECONDS))
        ready = [next(made) for _ in range(int(count))]
        bodies = iter(ready)
    found = run(int(port), path, float(seconds), int(connections), bodies, token)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
