"""gunicorn's threaded worker, with a lane for requests that are answered many at once.

gthread hands every request from its main loop to a thread and back: three wake-ups for each,
a WSGI environment, and all of Flask. An app may bring a lane (`extensions["lane"]`) for the
one kind of request that comes thousands of times a second. What the lane takes, one thread
answers in groups: those that arrive while a group is on its way make up the next. All else
is gthread's, as is a request that the lane gives back.
"""

from __future__ import annotations

import errno
import selectors
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from gunicorn.workers.gthread import TConn, ThreadWorker

LANE = "lane"
LARGEST_REQUEST = 8192
LARGEST_GROUP = 64
# Each piece has all that came before it read again; who sends crumbs is a thread's to hear.
MAX_PIECES = 16
BUSY = (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK)


class Lane(Protocol):
    """What an app answers without its WSGI layers."""

    def takes(self, request: bytes) -> bool | None:
        """Whether these bytes are one whole request of the lane's kind; None: not yet.

        Must not wait for anything.
        """

    def answers(self, requests: list[bytes], since: float) -> list[bytes | None]:
        """Returns each one's whole HTTP answer, or None where the app is to answer.

        The first of them has waited since then, by the monotonic clock.
        """


class Connection(TConn):
    """One client's connection.

    `heard` is what has come of a request so far, in so many `pieces`, and `renewed` whether
    the lane took one since the connection was queued.
    """

    heard = b""
    pieces = 0
    renewed = False


class LaneWorker(ThreadWorker):
    """gthread, but that it hears a request before a thread is spent on it."""

    lane: Lane | None = None

    def run(self) -> None:
        """Starts the lane's thread, if the app brings a lane, and then the main loop."""
        self.lane = getattr(self.wsgi, "extensions", {}).get(LANE)
        self.taken: SimpleQueue[tuple[Connection, bytes, float]] = SimpleQueue()
        if self.lane:
            threading.Thread(target=self.carry, args=(self.lane,), daemon=True).start()
        super().run()

    def accept(self, listener: Any) -> None:
        """Listens to a new connection as to a kept one: no thread waits for its first word."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in BUSY:
                raise
            return
        connection = Connection(self.cfg, client, address, listener.getsockname())
        connection.data_ready = True
        connection.set_timeout()
        self.nr_conns += 1
        self.keepalived_conns.append(connection)
        self.listen(connection)

    def listen(self, connection: Connection) -> None:
        heard = partial(self.on_client_socket_readable, connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, heard)

    def on_client_socket_readable(self, conn: Connection, client: Any) -> None:
        """Reads what has come, for the lane or for a thread."""
        if self.lane is None or not self.alive or self.cfg.is_ssl:
            super().on_client_socket_readable(conn, client)
            return
        try:
            came = client.recv(LARGEST_REQUEST)
        except OSError:
            came = b""
        heard = conn.heard + came
        conn.pieces += 1
        takes = self.lane.takes(heard) if came else False
        if takes is None and len(heard) < LARGEST_REQUEST and conn.pieces < MAX_PIECES:
            conn.heard = heard
            return
        conn.heard, conn.pieces = b"", 0
        self.poller.unregister(client)
        if takes:
            conn.renewed = True
            self.taken.put((conn, heard, time.monotonic()))
            self.count()
        else:
            self.pass_on(conn, heard)

    def count(self) -> None:
        """Counts a request, as gthread does for its own."""
        self.nr += 1
        if self.nr >= self.max_requests:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False

    def pass_on(self, conn: Connection, heard: bytes) -> None:
        """Gives a connection to a thread, with what was heard of it already."""
        conn.init()
        conn.parser.unreader.unread(heard)
        self.keepalived_conns.remove(conn)
        self.enqueue_req(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Closes what has rested for too long; whoever the lane has heard begins anew."""
        resting = self.keepalived_conns
        while self.alive and resting and resting[0].renewed:
            conn = resting.popleft()
            conn.renewed = False
            conn.set_timeout()
            resting.append(conn)
        super().murder_keepalived(force)

    def carry(self, lane: Lane) -> None:
        """Answers what the lane has taken, group by group."""
        while True:
            group = [self.taken.get()]
            while len(group) < LARGEST_GROUP and not self.taken.empty():
                group.append(self.taken.get())
            answers = self.answers(lane, [request for _, request, _ in group], group[0][2])
            for (conn, request, _), answer in zip(group, answers, strict=True):
                if answer is None:
                    self.method_queue.defer(self.pass_on, conn, request)
                else:
                    self.send(conn, answer)

    def answers(self, lane: Lane, requests: list[bytes], since: float) -> list[bytes | None]:
        try:
            return lane.answers(requests, since)
        except Exception:  # the app then meets the fault request by request, and says so
            self.log.exception("the lane failed")
            return [None] * len(requests)

    def send(self, conn: Connection, answer: bytes) -> None:
        """Sends a short answer, and listens again only then: answers keep their order."""
        try:
            whole = conn.sock.send(answer) == len(answer)
            if whole:
                self.listen(conn)
        except (OSError, ValueError):  # hung up, or the worker is at its end
            whole = False
        if not whole:
            self.method_queue.defer(self.drop, conn)

    def drop(self, conn: Connection) -> None:
        if conn in self.keepalived_conns:
            self.keepalived_conns.remove(conn)
            self.nr_conns -= 1
            conn.close()
