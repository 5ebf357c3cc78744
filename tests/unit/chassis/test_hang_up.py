"""Whether a client still waits is told by its connection, of which nothing is taken."""

from __future__ import annotations

import socket
import ssl

from chassis.hang_up import hung_up


def test_a_client_that_waits_or_sends_on_has_not_gone() -> None:
    server, client = socket.socketpair()
    has_gone = hung_up({"gunicorn.socket": server})
    assert not has_gone()
    client.send(b"GET / HTTP/1.1")
    assert not has_gone()
    assert server.recv(3) == b"GET", "what it sent is still there to be read"
    encrypted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(
        server, server_side=True, do_handshake_on_connect=False
    )
    assert not hung_up({"gunicorn.socket": encrypted})()
    encrypted.close()
    client.close()
    assert not hung_up({})(), "another server gives no socket"
