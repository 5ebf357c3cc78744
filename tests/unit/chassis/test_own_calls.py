"""Calls between our own: no proxy, no password file; the machine's authorities where they help."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from chassis.client import ApiClient
from chassis.errors import Unavailable


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Returns a file with a certificate for 127.0.0.1 that no known authority signed, its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ours")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "ours.pem"
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + plain)
    return path


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
