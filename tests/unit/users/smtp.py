"""A real SMTP server for tests: keeps what it is handed, with or without SMTPUTF8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread


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
    """Listens on a port of its own; `taken` holds the deliveries."""

    daemon_threads = True

    def __init__(self, *, smtputf8: bool) -> None:
        super().__init__(("127.0.0.1", 0), Dialogue)
        self.port: int = self.server_address[1]
        self.smtputf8 = smtputf8
        self.taken: list[Delivery] = []


class Dialogue(StreamRequestHandler):
    """One connection."""

    server: SmtpServer

    def handle(self) -> None:
        self.say("220 test")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            verb = line[:4].upper()
            if verb == "QUIT":
                return self.say("221 bye")
            getattr(self, verb.lower(), self.unknown)(line)
        return None

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def ehlo(self, _line: str) -> None:
        self.say("250-test\r\n250-8BITMIME" + "\r\n250-SMTPUTF8" * self.server.smtputf8)
        self.say("250 SIZE")

    def mail(self, line: str) -> None:
        self.delivery = Delivery(line)
        self.say("250 ok")

    def rcpt(self, line: str) -> None:
        self.delivery.recipients.append(line.partition("<")[2].partition(">")[0])
        self.say("250 ok")

    def data(self, _line: str) -> None:
        self.say("354 go on")
        while (octets := self.rfile.readline()) != b".\r\n":
            self.delivery.octets += octets
        self.server.taken.append(self.delivery)
        self.say("250 taken")

    def unknown(self, _line: str) -> None:
        self.say("500 what?")


@contextmanager
def smtp_server(*, smtputf8: bool) -> Iterator[SmtpServer]:
    """Runs a server for the length of a test."""
    with SmtpServer(smtputf8=smtputf8) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
