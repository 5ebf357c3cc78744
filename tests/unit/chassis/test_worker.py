"""What the worker hears before a thread does costs what it is long, however it comes."""

from __future__ import annotations

import selectors
from typing import Any

import pytest

from chassis import worker
from chassis.worker import Connection, LaneWorker


class Socket:
    """Gives a request in pieces of some length."""

    def __init__(self, request: bytes, length: int) -> None:
        self.pieces = [request[at : at + length] for at in range(0, len(request), length)]

    def recv(self, _most: int) -> bytes:
        return self.pieces.pop(0)


class Waiting:
    """A lane that waits for more for ever, and counts what it has to read for that."""

    read = 0

    def takes(self, request: bytes) -> bool | None:
        self.read += len(request)
        return None


def bytes_read(length: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Returns how many bytes the lane reads of a request until a thread has it, if ever."""
    hearing: Any = LaneWorker.__new__(LaneWorker)
    hearing.lane, hearing.alive, hearing.poller = Waiting(), True, selectors.DefaultSelector()
    hearing.cfg = type("Config", (), {"is_ssl": False})
    passed: list[bytes] = []
    monkeypatch.setattr(hearing.poller, "unregister", lambda _: None)
    monkeypatch.setattr(hearing, "pass_on", lambda _, heard: passed.append(heard))
    connection, client = Connection.__new__(Connection), Socket(b"x" * length, piece)
    while client.pieces and not passed:
        hearing.on_client_socket_readable(connection, client)
    read: int = hearing.lane.read
    return read


@pytest.mark.parametrize("piece", [1, 7, 100, 1000])
def test_a_request_in_crumbs_is_not_read_again_for_each(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for length in (1000, 2000, 4000, 8000):
        assert bytes_read(length, piece, monkeypatch) <= worker.MAX_PIECES * length


def test_a_request_in_a_few_pieces_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bytes_read(500, 100, monkeypatch) == 100 + 200 + 300 + 400 + 500
