"""Calls between our own: no proxy, no password file; the machine's authorities where they help."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from chassis.client import ApiClient
from chassis.errors import Unavailable


class Answering(BaseHTTPRequestHandler):
    """Answers with the credential that came."""

    def do_GET(self) -> None:
        body = self.headers.get("Authorization", "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def address(certificate: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_authority_of_ones_own_is_named_in_the_usual_variable(
    address: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password x\n")
    for name, value in (("NETRC", str(netrc)), ("HTTPS_PROXY", "http://127.0.0.1:9"),
                        ("REQUESTS_CA_BUNDLE", str(certificate))):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert ApiClient(address, "other").call("GET", "/", token="ours").text == "Bearer ours"


@pytest.mark.parametrize("named", ["", "/nowhere/ca.pem"])
def test_without_one_a_strangers_certificate_is_not_believed(
    address: str, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", named)
    with pytest.raises(Unavailable):
        ApiClient(address, "other").call("GET", "/")
