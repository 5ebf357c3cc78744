"""Caddy, real, by ops/caddy/start.sh in front of nginx, as the profile `tls` has it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse, IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ops.fetch import Unavailable, run
from tests.operations.gateway import AUTHORITY, Gateway, self_signed
from tests.operations.programs import program
from tests.servers import accepts_connections, end, free_port, wait_until
from tests.stack import ROOT, Stack

START = ROOT / "ops" / "caddy" / "start.sh"
NAMES = {"DASHBOARD_HOST": "a.example", "USERS_HOST": "b.example", "ANALYTICS_HOST": "c.example"}
ALL_NAMES = ",".join(f"DNS:{name}" for name in NAMES.values())


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Front:
    """One Caddy that leads each name to the gateway's port of that app."""

    def __init__(
        self, folder: Path, certificates: Path, ports: tuple[int, int, int],
        *, hosts: dict[str, str] = NAMES,
    ) -> None:  # fmt: skip
        self.caddy = program("caddy")
        self.hosts = hosts
        self.folder, self.certificates, self.ports = folder, certificates, ports
        self.port, self.http_port, self.alive_port = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.caddy.parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            **self.hosts,
            # A container engine hands the machine's proxy on. Go passes over it for "localhost"
            # and 127.0.0.1, but not for this spelling.
            "GATEWAY": "LOCALHOST",
            "HTTP_PROXY": "http://127.0.0.1:1",
            "PORTS": " ".join(map(str, self.ports)),
            "HTTP_LISTEN": str(self.http_port),
            "HTTPS_LISTEN": str(self.port),
            "ALIVE_PORT": str(self.alive_port),
            "TLS_DIR": str(self.certificates),
            "TLS_CHECK_SECONDS": "0.1",
            "RUN_DIR": str(self.folder / "caddy"),
            "DATA_DIR": str(self.folder / "data"),
        }

    def __enter__(self) -> Front:
        with (self.folder / "caddy.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", str(START)], env=self.environment(), stdout=log, stderr=log
            )
        wait_until("Caddy's start", self.is_open)
        return self

    def is_open(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(self.log())
        return accepts_connections(self.port)

    def log(self) -> str:
        return (self.folder / "caddy.log").read_text()

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            end(self.process)

    def ask(
        self, name: str, path: str = "/", *, host: str | None = None,
        source: str = "127.0.0.1", headers: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Asks by a name in the handshake and, if `host` is given, for another in the request."""
        context = ssl.create_default_context(cafile=self.certificates / "tls.crt")
        with (
            socket.create_connection(("127.0.0.1", self.port), 10, (source, 0)) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            return talk(secure, path, {"Host": host or name, **(headers or {})})

    def ask_plainly(self, host: str, path: str = "/") -> Answer:
        with socket.create_connection(("127.0.0.1", self.http_port), 10) as plain:
            return talk(plain, path, {"Host": host})

    def served(self) -> str:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="a.example") as secure,
        ):
            return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")


def talk(connection: socket.socket, path: str, headers: dict[str, str]) -> Answer:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
    answer = HTTPResponse(connection)
    answer.begin()
    return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that reached it, each as often as it came."""

    def do_GET(self) -> None:
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            return
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def users() -> Iterator[Stack]:
    settings = {"TRUSTED_PROXIES": "1", "API_CALLS_PER_MINUTE": "30"}
    with Stack(parts=("users",), threads=2, settings=settings) as stack:
        yield stack


@pytest.fixture(scope="module")
def front(echo: int, users: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Returns Caddy with an echo as the dashboard, the real users service, and no analytics."""
    folders = [tmp_path_factory.mktemp(each) for each in ("echo", "users", "caddy")]
    certificates = self_signed(folders[2], ALL_NAMES)
    with (
        Gateway(echo, folders[0]) as first,
        Gateway(users.ports["users"], folders[1]) as second,
        Front(
            folders[2], certificates, (first.proxied_port, second.proxied_port, free_port())
        ) as running,
    ):
        yield running


def forwarded(answer: Answer) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in json.loads(answer.body):
        found.setdefault(name, []).append(value)
    return found


def test_the_apps_are_told_the_clients_own_address_and_nothing_it_made_up(front: Front) -> None:
    made_up = {
        "X-Forwarded-For": "203.0.113.9, 203.0.113.10", "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example", "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
    }  # fmt: skip
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3"):
        found = forwarded(front.ask("a.example", source=source, headers=made_up))
        [addresses] = found["x-forwarded-for"]
        # One hop is believed: the last.
        assert set(addresses.replace(" ", "").split(",")) == {source}
        assert found["x-forwarded-proto"] == ["https"]
        assert found["x-forwarded-host"] == found["host"] == ["a.example"]


def test_the_limits_of_the_real_app_count_by_that_address(front: Front) -> None:
    seen = {
        front.ask("b.example", "/users/me", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status
        for n in range(40)
    }
    assert 429 in seen, "each made-up address had a limit of its own"
    assert front.ask("b.example", "/users/me", source="127.0.0.2").status == 401


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/x/../metrics"])
def test_nobody_outside_reads_metrics(front: Front, path: str) -> None:
    answer = front.ask("b.example", path)
    assert answer.status == 404
    assert b"flask_http" not in answer.body


def test_every_answer_has_hsts_and_one_that_failed_is_a_problem(front: Front) -> None:
    for name in NAMES.values():
        assert front.ask(name, "/health").headers["strict-transport-security"] == "max-age=31536000"
    down = front.ask("c.example", "/health?code=a-secret-code")
    assert (down.status, json.loads(down.body)["status"]) == (503, 503)
    assert down.headers["content-type"] == "application/problem+json"
    assert json.loads(down.body)["request_id"] == down.headers["x-request-id"]
    assert down.headers["retry-after"]
    with pytest.raises(IncompleteRead):
        front.ask("a.example", "/cut?code=a-secret-code")
    assert "a-secret-code" not in front.log()


def test_plain_http_leads_to_https_for_the_dashboard_alone(front: Front) -> None:
    answer = front.ask_plainly("a.example", "/login?next=x")
    assert answer.status == 308
    # Outside it is 443, whatever it is inside.
    assert answer.headers["location"] == "https://a.example/login?next=x"
    # A program that sends its key in clear has to notice.
    for host in ("b.example", "c.example", "evil.example", "a.example.evil.example", "127.0.0.1"):
        with pytest.raises((ConnectionError, OSError)):
            front.ask_plainly(host)


def test_a_name_that_is_not_ours_reaches_no_app(front: Front) -> None:
    for host in ("evil.example", "b.example", "a.example@evil.example", "127.0.0.1"):
        assert front.ask("a.example", host=host).status in (400, 421), host
    with pytest.raises(ssl.SSLError):
        front.ask("evil.example")


def test_half_sent_requests_hold_no_thread_of_the_app(front: Front) -> None:
    context = ssl.create_default_context(cafile=front.certificates / "tls.crt")
    half = b"POST /login HTTP/1.1\r\nHost: b.example\r\nContent-Length: 500\r\n\r\n{"
    with ExitStack() as held:
        for _ in range(20):
            plain = held.enter_context(socket.create_connection(("127.0.0.1", front.port), 10))
            secure = held.enter_context(context.wrap_socket(plain, server_hostname="b.example"))
            secure.sendall(half)
        # Both threads of the only worker would be waiting for the rest of a request.
        assert front.ask("b.example", "/health").status == 200


def test_a_client_has_ten_seconds_for_its_headers(front: Front) -> None:
    config = json.loads(
        subprocess.run(
            [front.caddy, "adapt", "--config", front.folder / "caddy" / "Caddyfile"],
            check=True, capture_output=True,
        ).stdout
    )  # fmt: skip
    for server in config["apps"]["http"]["servers"].values():
        assert server["read_header_timeout"] == 10 * 10**9


def test_a_renewed_certificate_is_served_without_a_restart(echo: int, tmp_path: Path) -> None:
    first, second = (self_signed(tmp_path / name, ALL_NAMES) for name in ("1", "2"))
    certificates = tmp_path / "certificates"
    shutil.copytree(first, certificates)
    with Front(tmp_path, certificates, (echo, echo, echo)) as front:
        old = front.served()
        assert old == (first / "tls.crt").read_text()
        for n, (name, text) in enumerate(
            (
                ("tls.crt", ""),
                ("tls.crt", (second / "tls.crt").read_text()),  # the former key beside it
                ("tls.key", (second / "tls.key").read_text()[:500]),
                ("tls.key", ""),
            ),
            1,
        ):
            (certificates / name).write_text(text)
            wait_until(f"refusal {n}", lambda n=n: refusals(front) >= n)  # type: ignore[misc]
            assert front.served() == old
        shutil.copy(second / "tls.key", certificates)
        wait_until(
            "the second certificate",
            lambda: front.served() == (second / "tls.crt").read_text(),
        )
        assert front.process is not None
        assert front.process.poll() is None


def refusals(front: Front) -> int:
    """Returns how often Caddy's log says that it could not load what it was told to."""
    lines = [json.loads(line) for line in front.log().splitlines() if line.startswith("{")]
    return sum(each["level"] == "error" and "loading" in each.get("error", "") for each in lines)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict.fromkeys(NAMES, ""), "DASHBOARD_HOST, USERS_HOST or ANALYTICS_HOST must be set"),
        ({"USERS_HOST": "A.example"}, "USERS_HOST is another app's name too: a.example"),
        ({"USERS_HOST": "b.example {"}, "USERS_HOST holds a character that isn't allowed there"),
        ({"ACME_EMAIL": "a@b.example\n}"}, "ACME_EMAIL holds a character that isn't allowed"),
        ({"ACME_CA": "https://ca.example/$X"}, "ACME_CA holds a character that isn't allowed"),
    ],
)
def test_settings_that_can_not_be_meant_are_refused_by_name(
    given: dict[str, str], message: str, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], **NAMES, **given, "RUN_DIR": str(tmp_path)}
    done = subprocess.run(
        ["sh", str(START)], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not (tmp_path / "Caddyfile").exists()


def test_a_port_that_is_taken_and_a_key_that_fits_not_end_it_with_the_reason(
    tmp_path: Path,
) -> None:
    certificates = self_signed(tmp_path, ALL_NAMES)
    front = Front(tmp_path, certificates, (1, 2, 3))
    with (
        socket.create_server(("127.0.0.1", front.http_port)),
        pytest.raises(RuntimeError, match="address already in use"),
    ):
        front.__enter__()
    shutil.copy(self_signed(tmp_path / "other") / "tls.key", certificates)
    with pytest.raises(RuntimeError, match="private key does not match public key"):
        Front(tmp_path, certificates, (1, 2, 3)).__enter__()


# What follows has a network of its own, with names of its own in it.
ALONE = """
ip link set lo up
mount --bind "$1/hosts" /etc/hosts
caddy run --config "$1/authority" --adapter caddyfile > "$1/authority.log" 2>&1 &
root="$1/authority-data/pki/authorities/local/root.crt"
until [ -s "$root" ]; do sleep 0.1; done
cp "$root" "$TLS_DIR/ca.crt"
sh "$2" > "$1/caddy.log" 2>&1 &
ask() { curl --silent --show-error --noproxy '*' --cacert "$root" "$@"; }
for name in a b c; do
    until ask --output /dev/null --dump-header "$1/headers" "https://$name.example/"; do
        tries=$((${tries:-0} + 1)); [ "$tries" -lt 300 ] || exit 1; sleep 0.2
    done 2> "$1/errors"
done
ask --output /dev/null --write-out '%{http_code} %{redirect_url}' http://a.example/x
"""


def test_an_authority_signs_by_acme(tmp_path: Path) -> None:
    words = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork",
             "--kill-child"]  # fmt: skip
    try:
        run(*words, "sh", "-c", "ip link set lo up && mount --bind /etc/hosts /etc/hosts")
        run("curl", "--version")
    except Unavailable as error:
        pytest.skip(f"there can't be a network of its own here: {error}")
    caddy = program("caddy")
    names = " ".join([*NAMES.values(), "ca.example"])
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost {names}\n")
    (tmp_path / "authority").write_text(AUTHORITY.format(data=tmp_path / "authority-data"))
    (tmp_path / "tls").mkdir()
    environment = {
        "PATH": f"{caddy.parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        **NAMES,
        "ACME_EMAIL": "ops@example.com",
        "ACME_CA": "https://ca.example:5443/acme/local/directory",
        "GATEWAY": "127.0.0.1",
        "TLS_DIR": str(tmp_path / "tls"),
        "RUN_DIR": str(tmp_path / "run"),
        "DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [*words, "sh", "-euc", ALONE, "sh", str(tmp_path), str(START)],
        env=environment, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    log = (tmp_path / "caddy.log").read_text()
    assert done.returncode == 0, done.stderr + log[-3000:]
    # Signed by the authority's root, or curl would not have taken it; there is no gateway here.
    assert " 503" in (tmp_path / "headers").read_text().splitlines()[0]
    assert done.stdout == "308 https://a.example/x"
    kept = {path.parent.name for path in (tmp_path / "data" / "certificates").rglob("*.crt")}
    assert kept == set(NAMES.values())
