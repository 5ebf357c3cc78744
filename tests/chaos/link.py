"""TCP relays on loopback that a test can cut, heal and point elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Awaitable, Coroutine
from types import TracebackType
from typing import Any

from tests.servers import wait_until

CHUNK = 65536
ENDS_SECONDS = 5


class Wire:
    """The event loop that all links run on, in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the loop and returns what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def __enter__(self) -> Wire:
        self.thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.run(end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


class Link:
    """One listening port and the ports behind it, taken in turn.

    Who is behind it sees the client's own address. Cut, it is silent: nothing is refused, nothing
    arrives, as behind a firewall that drops.
    """

    def __init__(self, wire: Wire, *targets: int) -> None:
        self.wire = wire
        self.targets = list(targets)
        self.turns = itertools.count()
        self.busy: Counter[int] = Counter()
        self.serving: set[asyncio.Task[None]] = set()
        self.port: int = wire.run(self.listen())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listen(self) -> int:
        self.flowing = asyncio.Event()
        self.flowing.set()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Lets nothing through from now on."""
        self.wire.loop.call_soon_threadsafe(self.flowing.clear)

    def heal(self) -> None:
        """Lets all through again, what waited first."""
        self.wire.loop.call_soon_threadsafe(self.flowing.set)

    def drain(self, target: int, seconds: float = 3) -> None:
        """Sends no new connection there, and leaves those that are open a while to end."""
        self.targets.remove(target)
        self.settle(target, seconds)

    def settle(self, target: int, seconds: float = 3) -> None:
        """Returns when no connection to there is open; idle ones are left after a while."""
        with contextlib.suppress(TimeoutError):
            wait_until("the end of connections", lambda: self.busy[target] == 0, seconds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        # The loop itself knows its tasks by weak references only.
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        with contextlib.suppress(asyncio.CancelledError):  # at the loop's end
            await self.relay(reader, writer)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.flowing.wait()
        target = self.targets[next(self.turns) % len(self.targets)]
        self.busy[target] += 1
        try:
            await self.join(target, reader, writer)
        except OSError:
            pass  # the client learns it by the end of its connection
        finally:
            self.busy[target] -= 1
            await quietly(closed(writer))

    async def join(
        self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        address = writer.get_extra_info("peername")[0]
        there, back = await asyncio.open_connection("127.0.0.1", target, local_addr=(address, 0))
        pumps = {
            asyncio.create_task(self.pump(reader, back)),
            asyncio.create_task(self.pump(there, writer)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await quietly(closed(back))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self.flowing.wait()
            writer.write(data)
            await writer.drain()


async def end_tasks() -> None:
    """Ends all that runs on the loop: left to the garbage collector, it would fail in others."""
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=ENDS_SECONDS)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def quietly(ending: Awaitable[None]) -> None:
    with contextlib.suppress(OSError):
        await ending
