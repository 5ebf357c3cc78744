"""What an image is made of, and the small programs that run in it."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from chassis.heartbeat import Heartbeat
from tests.stack import BIN, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, str(ROOT / "ops" / program), *words],
        cwd=ROOT, env=given, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_image_runs_as_nobody_special_and_checks_itself() -> None:
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in last
    assert "\nHEALTHCHECK " in last
    assert "apt-get" not in last


def test_nothing_but_what_images_need_reaches_a_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert not {each for each in let_in if not (ROOT / each).exists()}
    assert not let_in & {"var", ".env", ".git", "tests", "docs", "kustomize"}


@pytest.mark.parametrize(
    ("app", "has", "has_not"),
    [
        ("users", "bcrypt", "numpy"),
        ("analytics", "numpy", "bcrypt"),
        ("dashboard", "whitenoise", "sqlalchemy"),
    ],
)
def test_an_image_installs_what_its_app_needs_and_no_more(app: str, has: str, has_not: str) -> None:
    done = run("image_requirements.py", app)
    assert done.returncode == 0, done.stderr
    names = "\n".join(done.stdout.split())
    assert has in names
    assert has_not not in names
    assert "pytest" not in names


def test_an_app_that_does_not_exist_is_no_image() -> None:
    assert run("image_requirements.py", "nothing").returncode != 0


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_is_the_apps_readiness(
    port: int, status: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answering, "status", status)
    assert run("healthcheck.py", PORT=str(port)).returncode == code


def test_the_health_check_fails_where_nobody_listens() -> None:
    assert run("healthcheck.py", PORT="1").returncode == 1


def test_a_worker_is_well_while_its_heart_beats(tmp_path: Path) -> None:
    assert run("healthcheck.py", "relay").returncode == 1
    checked = {"LIVENESS_DIR": str(tmp_path)}
    assert run("healthcheck.py", "relay", **checked).returncode == 1
    Heartbeat("relay", tmp_path).beat()
    assert run("healthcheck.py", "relay", **checked).returncode == 0
    os.utime(tmp_path / "relay", (0, 0))
    assert run("healthcheck.py", "relay", **checked).returncode == 1


def test_a_sign_of_life_of_somebody_else_is_none(tmp_path: Path) -> None:
    Heartbeat("other", tmp_path).beat()
    (tmp_path / "relay").symlink_to(tmp_path / "other")
    checked = {"LIVENESS_DIR": str(tmp_path)}
    assert run("healthcheck.py", "relay", **checked).returncode == 1
    if os.geteuid() == 0:
        os.chown(tmp_path / "other", 65534, 65534)
        assert run("healthcheck.py", "other", **checked).returncode == 1


def test_the_image_has_a_folder_for_signs_of_life_that_is_not_the_common_one() -> None:
    folder = re.search(r"LIVENESS_DIR=(\S+)", DOCKERFILE)
    assert folder
    assert Path(folder[1]).parent == Path("/tmp")


@pytest.mark.parametrize("section", ["users", "analytics"])
def test_pods_wait_for_the_schema_and_accept_a_newer_one(section: str, tmp_path: Path) -> None:
    setting = {f"{section.upper()}_DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}
    waiting = run("schema_ready.py", section, "--patience", "0", **setting)
    assert waiting.returncode == 1
    assert "was not migrated in time" in waiting.stderr
    migrate = [str(BIN / "alembic"), "-n", section, "upgrade", "head"]
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **setting}
    subprocess.run(migrate, cwd=ROOT, env=given, check=True, capture_output=True)
    assert run("schema_ready.py", section, "--patience", "0", **setting).returncode == 0
    newer = "UPDATE alembic_version SET version_num = 'of-a-later-release'"
    with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute(newer)
    assert run("schema_ready.py", section, "--patience", "0", **setting).returncode == 0
