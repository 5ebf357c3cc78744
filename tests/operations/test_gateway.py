"""nginx, real, in front of the real users service."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.operations.gateway import Gateway, self_signed
from tests.servers import free_port, wait_until
from tests.stack import Stack


@pytest.fixture(scope="module")
def users() -> Iterator[Stack]:
    """Returns the users service on one worker of two threads: easily taken up."""
    settings = {"TRUSTED_PROXIES": "1", "API_CALLS_PER_MINUTE": "30"}
    with Stack(parts=("users",), threads=2, settings=settings) as stack:
        yield stack


@pytest.fixture
def gateway(users: Stack, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(users.ports["users"], tmp_path) as running:
        yield running


def get(gateway: Gateway, path: str, **headers: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{gateway.port}{path}", headers=headers, timeout=10)


def test_requests_pass_and_keep_their_id(gateway: Gateway) -> None:
    answer = get(gateway, "/.well-known/jwks.json", **{"X-Request-ID": "from-outside-1"})
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] == "from-outside-1"
    made = get(gateway, "/health", **{"X-Request-ID": "no good id"}).headers["X-Request-ID"]
    assert len(made) == 32


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/x/../metrics"])
def test_nobody_outside_reads_metrics(gateway: Gateway, users: Stack, path: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 404")
    assert "flask_http" not in answer
    assert "flask_http" in requests.get(f"{users.users_url}/metrics", timeout=10).text


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PWN3D"])
def test_trace_is_refused_and_repeats_nothing(gateway: Gateway, method: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        head = f"{method} /users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-secret\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith(("HTTP/1.1 405", "HTTP/1.1 400"))
    assert "application/problem+json" in answer
    assert "secret" not in answer


def test_half_sent_requests_hold_no_thread_of_the_app(gateway: Gateway) -> None:
    held = []
    try:
        for n in range(100):
            connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
            body = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
            connection.sendall((body if n % 2 else "GET /health HTTP/1.1\r\nHo").encode())
            held.append(connection)
        # Both threads of the only worker would be waiting for the rest of a request.
        assert get(gateway, "/health").status_code == 200
    finally:
        for connection in held:
            connection.close()


def test_the_callers_address_counts_and_a_made_up_one_does_not(gateway: Gateway) -> None:
    seen = {
        get(gateway, "/users/me", **{"X-Forwarded-For": f"203.0.113.{n}"}).status_code
        for n in range(40)
    }
    assert 429 in seen, "each made-up address had a limit of its own"


def test_the_gateways_own_errors_are_problems_too(users: Stack, tmp_path: Path) -> None:
    with Gateway(free_port(), tmp_path) as gateway:
        down = get(gateway, "/users")
        large = requests.post(
            f"http://127.0.0.1:{gateway.port}/users", data=b"x" * 7_000_000, timeout=10
        )
    for answer, status in ((down, 503), (large, 413)):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert body["request_id"]
    assert down.headers["Retry-After"]


def test_the_access_log_is_json_and_holds_no_query(users: Stack, tmp_path: Path) -> None:
    with Gateway(users.ports["users"], tmp_path) as gateway:
        get(gateway, '/docs?code=a-secret-code&x="\\', **{"User-Agent": 'odd"\\agent'})
        get(gateway, "/health")
        lines = gateway.stop().splitlines()
    [line] = [json.loads(each) for each in lines]
    assert line["path"] == "/docs"
    assert {"timestamp", "level", "service", "request_id", "user_id", "message"} <= line.keys()
    assert "a-secret-code" not in "".join(lines)


def test_nothing_of_the_query_is_logged_when_the_app_is_down(tmp_path: Path) -> None:
    with Gateway(free_port(), tmp_path) as gateway:
        get(gateway, "/password-reset?code=a-secret-code")
        log = gateway.stop() + (tmp_path / "nginx.log").read_text()
    assert "a-secret-code" not in log


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


def test_it_speaks_tls_when_certificates_are_given(
    users: Stack, certificate: Path, tmp_path: Path
) -> None:
    with Gateway(users.ports["users"], tmp_path, tls=certificate) as gateway:
        address = f"https://127.0.0.1:{gateway.port}/health"
        answer = requests.get(address, verify=str(certificate / "tls.crt"), timeout=10)
        plain = requests.get(f"http://127.0.0.1:{gateway.plain_port}/health", timeout=10)
        alive = requests.get(f"http://127.0.0.1:{gateway.alive_port}/alive", timeout=10)
    assert answer.status_code == plain.status_code == 200
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert alive.status_code == 204


def test_a_renewed_certificate_is_served_without_a_restart(users: Stack, tmp_path: Path) -> None:
    first, second, third = (self_signed(tmp_path / name) for name in ("1", "2", "3"))
    certificates = tmp_path / "certificates"
    shutil.copytree(first, certificates / "..1")
    show_as_secret(certificates, "..1")
    with Gateway(users.ports["users"], tmp_path, tls=certificates) as gateway:
        assert served(gateway) == text_of(first)
        key = (second / "tls.key").read_text()
        # A new certificate with the old key, then with half of its own, then with no key.
        shutil.copy(second / "tls.crt", certificates)
        warned(gateway, 1, "key values mismatch")
        (certificates / "tls.key").write_text(key[: len(key) // 2])
        warned(gateway, 2, str(certificates / "tls.key"))
        (certificates / "tls.key").unlink()
        warned(gateway, 3, "No such file")
        assert served(gateway) == text_of(first)
        address = f"https://127.0.0.1:{gateway.port}/health"
        with requests.Session() as client:
            client.get(address, verify=str(first / "tls.crt"), timeout=10).raise_for_status()
            (certificates / "tls.key").write_text(key)
            wait_until("the second certificate", lambda: served(gateway) == text_of(second))
        answer = requests.get(address, verify=str(second / "tls.crt"), timeout=10)
        shutil.copytree(third, certificates / "..3")
        show_as_secret(certificates, "..3")
        wait_until("the third certificate", lambda: served(gateway) == text_of(third))
        assert gateway.process is not None
        assert gateway.process.poll() is None
        told = gateway.said()
    assert answer.status_code == 200
    assert [each["level"] for each in told] == ["warning"] * 3 + ["info"] * 2
    fields = {"timestamp", "level", "service", "request_id", "user_id", "message"}
    assert all(fields <= each.keys() for each in told)


def show_as_secret(folder: Path, version: str) -> None:
    """Lets the folder show a version of its files as Kubernetes does it: by one link."""
    (folder / "..new").symlink_to(version)
    (folder / "..new").replace(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        (folder / f"{name}.new").symlink_to(f"..data/{name}")
        (folder / f"{name}.new").replace(folder / name)


def warned(gateway: Gateway, times: int, error: str) -> None:
    wait_until(f"warning {times}", lambda: len(gateway.said()) >= times)
    assert error in gateway.said()[-1]["error"]
    assert len(gateway.said()) == times


def served(gateway: Gateway) -> str:
    return ssl.get_server_certificate(("127.0.0.1", gateway.port), timeout=10)


def text_of(keys: Path) -> str:
    return (keys / "tls.crt").read_text()


def suite(port: int, ciphers: str, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> str | None:
    """Returns the cipher suite agreed on with a client that offers these; None for none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            with context.wrap_socket(connection) as agreed:
                return str((agreed.cipher() or ("",))[0])
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_1_2_is_agreed_on_with_forward_secrecy_and_authenticated_encryption_alone(
    users: Stack, certificate: Path, tmp_path: Path
) -> None:
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known.set_ciphers("ALL:@SECLEVEL=0")
    older = [each for each in known.get_ciphers() if each["protocol"] != "TLSv1.3"]
    good = {each["name"] for each in older if each["aead"] and each["name"].startswith("ECDHE")}
    assert len(good) < len(older)
    with Gateway(users.ports["users"], tmp_path, tls=certificate) as gateway:
        agreed = {
            each["name"]: suite(gateway.port, each["name"] + ":@SECLEVEL=0") for each in older
        }
        old = suite(gateway.port, "ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1)
        new = suite(gateway.port, "ALL", ssl.TLSVersion.TLSv1_3)
    taken = {name for name, found in agreed.items() if found}
    assert taken <= good
    assert "ECDHE-RSA-AES128-GCM-SHA256" in taken
    assert (old, (new or "")[:4]) == (None, "TLS_")
