"""A real SMTP server for tests: keeps what it is handed; slow, refusing or silent as it is told."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread


@dataclass
class Delivery:
    """One mail as the server got it: the commands of its envelope, and its bytes."""

    sender: str
    recipients: list[str] = field(default_factory=list)
    octets: bytes = b""

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.octets, policy=policy.SMTPUTF8)


class SmtpServer(ThreadingTCPServer):
    """Listens on a port of its own; `taken` holds the deliveries.

    What it does may be changed at any time: `seconds_after_data` is how long it lets a mail
    wait for its answer, which it has taken by then (while `hold` is cleared, for ever), and
    `refusals` are lines that it answers instead, by verb: CONNECT, EHLO, STARTTLS, AUTH, MAIL,
    RCPT, DATA, END (of the data), QUIT. An empty line breaks the connection off. `context`
    offers STARTTLS.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, smtputf8: bool = True, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Dialogue)
        self.port: int = self.server_address[1]
        self.smtputf8 = smtputf8
        self.context = context
        self.taken: list[Delivery] = []
        self.logins: list[str] = []
        self.seconds_after_data = 0.0
        self.hold = Event()
        self.hold.set()
        self.refusals: dict[str, str] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of a client that went away: some tests want that."""


class Dialogue(StreamRequestHandler):
    """One connection."""

    server: SmtpServer

    def handle(self) -> None:
        self.answer("CONNECT", "220 test")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            verb = line.partition(" ")[0].upper()
            if verb == "QUIT":
                return self.answer("QUIT", "221 bye")
            getattr(self, verb.lower(), self.unknown)(line)
        return None

    def answer(self, verb: str, text: str) -> bool:
        """Says the text, or what is to be said instead; whether it was the text."""
        refusal = self.server.refusals.get(verb)
        if refusal == "":
            raise ConnectionAbortedError
        self.wfile.write((text if refusal is None else refusal).encode() + b"\r\n")
        return refusal is None

    def ehlo(self, _line: str) -> None:
        extensions = ["8BITMIME", "AUTH PLAIN"]
        extensions += ["SMTPUTF8"] * self.server.smtputf8
        extensions += ["STARTTLS"] * bool(self.server.context)
        self.answer(
            "EHLO", "".join(f"250-{each}\r\n" for each in ["test", *extensions]) + "250 SIZE"
        )

    def starttls(self, _line: str) -> None:
        if self.answer("STARTTLS", "220 go on") and self.server.context:
            self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
            self.setup_files()

    def setup_files(self) -> None:
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)

    def auth(self, line: str) -> None:
        if self.answer("AUTH", "235 welcome"):
            self.server.logins.append(line)

    def mail(self, line: str) -> None:
        self.delivery = Delivery(line)
        self.answer("MAIL", "250 ok")

    def rcpt(self, line: str) -> None:
        if self.answer("RCPT", "250 ok"):
            self.delivery.recipients.append(line.partition("<")[2].partition(">")[0])

    def data(self, _line: str) -> None:
        if not self.answer("DATA", "354 go on"):
            return
        while (octets := self.rfile.readline()) != b".\r\n":
            if not octets:
                raise ConnectionAbortedError
            self.delivery.octets += octets
        # Taken, whatever becomes of the answer: this is what a client can't know.
        if not self.server.refusals.get("END"):
            self.server.taken.append(self.delivery)
        time.sleep(self.server.seconds_after_data)
        self.server.hold.wait()
        self.answer("END", "250 taken")

    def rset(self, _line: str) -> None:
        self.answer("RSET", "250 ok")

    def unknown(self, _line: str) -> None:
        self.answer("UNKNOWN", "500 what?")


@contextmanager
def smtp_server(*, smtputf8: bool = True) -> Iterator[SmtpServer]:
    """Runs a server for the length of a test."""
    with running(SmtpServer(smtputf8=smtputf8)) as server:
        yield server


@contextmanager
def running(server: SmtpServer) -> Iterator[SmtpServer]:
    """Runs the server that was made."""
    with server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
