"""nginx as compose.yaml and the pods run it, in front of something on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.operations.programs import program
from tests.servers import accepts_connections, end, free_port, wait_until
from tests.stack import ROOT

# A Caddy by this configuration signs for whoever asks it by ACME.
AUTHORITY = """{{
    admin off
    persist_config off
    skip_install_trust
    storage file_system {data}
    http_port 5080
}}
https://ca.example:5443 {{
    tls internal
    acme_server
}}
"""


def self_signed(folder: Path, names: str = "IP:127.0.0.1") -> Path:
    """Returns a folder in it with a certificate for these, good for a day, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    keys = folder / "tls"
    keys.mkdir(parents=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         f"subjectAltName={names}", "-keyout", keys / "tls.key", "-out", keys / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return keys


class Gateway:
    """One nginx by ops/nginx/start.sh; `port` leads to the app's port."""

    def __init__(self, app_port: int, folder: Path, *, tls: Path | None = None) -> None:
        self.nginx = program("nginx")
        self.folder, self.tls = folder, tls
        self.app_port, self.port, self.plain_port = app_port, free_port(), free_port()
        self.alive_port, self.proxied_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gateway:
        environment = {
            "PATH": f"{self.nginx.parent}:{os.environ['PATH']}",
            "ROUTES": f"{self.port}=127.0.0.1:{self.app_port}",
            "PLAIN_ROUTES": f"{self.plain_port}=127.0.0.1:{self.app_port}",
            "PROXIED_ROUTES": f"{self.proxied_port}=127.0.0.1:{self.app_port}",
            "LISTEN_ADDRESS": "127.0.0.1",
            "ALIVE_PORT": str(self.alive_port),
            "RUN_DIR": str(self.folder / "nginx"),
            "TLS_DIR": str(self.tls or self.folder / "none"),
            "TLS_CHECK_SECONDS": "0.1",
        }
        with (
            (self.folder / "nginx.log").open("wb") as log,
            (self.folder / "access.log").open("ab") as access,
        ):
            self.process = subprocess.Popen(
                ["sh", str(ROOT / "ops" / "nginx" / "start.sh")],
                env=environment, stdout=access, stderr=log,
            )  # fmt: skip
        wait_until("nginx's start", self.is_open)
        return self

    def is_open(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "nginx.log").read_text())
        return accepts_connections(self.port)

    def said(self) -> list[dict[str, Any]]:
        """Returns the lines of its log so far that are of no request."""
        text = (self.folder / "access.log").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        return [each for each in lines if each["message"] != "request"]

    def stop(self) -> str:
        """Ends nginx and returns its access log."""
        assert self.process is not None
        end(self.process)
        return (self.folder / "access.log").read_text()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.process and self.process.poll() is None:
            self.stop()
