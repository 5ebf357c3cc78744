"""`make run` as a newcomer meets it: it starts, keeps the data, and fails in one sentence."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ops import run
from tests.servers import accepts_connections, end, free_port
from tests.stack import BIN, ROOT

NAMES = ("DASHBOARD_PORT", "USERS_PORT", "ANALYTICS_PORT")


class Runner:
    """One `ops/run.py`, which is what `make run` calls, on free ports and a home of its own."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.ports = {name: free_port() for name in NAMES}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **{name: str(port) for name, port in self.ports.items()},
            **settings,
        }
        self.command = [sys.executable, "ops/run.py", "--home", str(home / "var")]
        self.process: subprocess.Popen[bytes] | None = None
        self.printed = ""

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Reads what it prints until `text` is there."""
        assert self.process
        assert self.process.stdout
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.printed}"
            ready, _, _ = select.select([self.process.stdout], [], [], 0.2)
            chunk = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            self.printed += chunk.decode()
            assert chunk or not ready, f"it ended:\n{self.printed}"

    def run_to_its_end(self, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command, cwd=ROOT, env=self.environment, check=False,
            capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip

    def listens(self) -> bool:
        return any(accepts_connections(port) for port in self.ports.values())

    @property
    def users_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['USERS_PORT']}"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path)
    yield made
    if made.process:
        end(made.process, signal.SIGINT)


def test_it_starts_stops_and_starts_again_with_the_data_kept(
    runner: Runner, tmp_path: Path
) -> None:
    runner.start()
    runner.wait_for("Footfall is running: http://127.0.0.1:")
    runner.wait_for("Started in ")
    account = {"email": "a@example.com", "username": "ada", "password": "a quiet walk at dawn"}
    assert requests.post(f"{runner.users_url}/users", json=account, timeout=9).status_code == 201
    interrupt(runner)
    forbid_migrations(runner, tmp_path / "shadow")  # nothing is new
    runner.printed = ""
    runner.start()
    runner.wait_for("Footfall is running")
    again = requests.post(f"{runner.users_url}/users", json=account, timeout=9)
    assert again.status_code == 409


def forbid_migrations(runner: Runner, folder: Path) -> None:
    """Puts another `alembic` before the real one: it fails."""
    folder.mkdir()
    (folder / "alembic.py").write_text("raise SystemExit('a migration was run')")
    runner.environment["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"


def interrupt(runner: Runner) -> None:
    """Presses Ctrl-C and expects a clean end within five seconds."""
    assert runner.process
    runner.process.send_signal(signal.SIGINT)
    assert runner.process.wait(5) == 0
    assert not runner.listens()


def test_a_port_in_use_is_one_sentence_and_nothing_is_left_running(runner: Runner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", runner.ports["ANALYTICS_PORT"]))
        taken.listen()
        done = runner.run_to_its_end()
    assert done.returncode == 1
    port = runner.ports["ANALYTICS_PORT"]
    assert re.fullmatch(rf"footfall: port {port} for analytics is in use: .*\n", done.stderr)
    assert not runner.listens()


def test_a_failed_migration_is_one_sentence_and_nothing_is_left_running(tmp_path: Path) -> None:
    runner = Runner(tmp_path, ANALYTICS_DATABASE_URL="sqlite:////proc/nowhere/x.db")
    done = runner.run_to_its_end()
    assert done.returncode == 1
    assert re.fullmatch(r"footfall: the migration of the analytics database .*\n", done.stderr)
    assert not runner.listens()


@pytest.mark.parametrize("section", ["users", "analytics"])
def test_a_migrated_file_is_known_by_its_revision(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, path = f"{section.upper()}_DATABASE_URL", tmp_path / "x.db"
    environment = {**os.environ, setting: f"sqlite:///{path}"}
    assert run.revision(section, environment) is None
    path.write_text("not a database")
    assert run.revision(section, environment) is None
    path.unlink()
    for revision in ("0001", "head"):
        upgrade = [sys.executable, "-m", "alembic", "-n", section, "upgrade", revision]
        subprocess.run(upgrade, cwd=ROOT, env=environment, check=True, capture_output=True)
        at = run.revision(section, environment)
        assert (at == run.head(section)) == (revision == "head")
    monkeypatch.chdir(tmp_path)
    relative = {setting: f"sqlite:///{os.path.relpath(path, ROOT)}"}
    assert run.revision(section, relative) == run.head(section)
    assert run.revision(section, {setting: "postgresql://localhost/x"}) is None
    # The file names another database than the address, which is the usual one.
    assert run.revision(section, {**environment, f"{setting}_FILE": "url"}) is None


def test_a_setting_that_is_wrong_stops_everything_and_is_named(tmp_path: Path) -> None:
    runner = Runner(tmp_path, REPORTING_TIMEZONE="Mars/Olympus")
    done = runner.run_to_its_end()
    assert done.returncode == 1
    assert "footfall: " in done.stderr
    assert not runner.listens()
    assert "REPORTING_TIMEZONE must be an IANA" in (tmp_path / "var" / "footfall.log").read_text()


def test_an_old_python_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    pretend = (
        "import sys; sys.version_info = (3, 9, 2); sys.version = '3.9.2 (old)'; exec(sys.argv[1])"
    )
    old.write_text(f'#!/bin/sh\nexec {BIN}/python -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["make", "run", f"PYTHON={old}"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "footfall: Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_secrets_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    runner = Runner(tmp_path, ANALYTICS_DATABASE_URL="sqlite:////proc/nowhere/x.db")
    runner.run_to_its_end()
    made = {path.name: path.read_text() for path in (tmp_path / "var/secrets").iterdir()}
    runner.run_to_its_end()
    again = {path.name: path.read_text() for path in (tmp_path / "var/secrets").iterdir()}
    assert made == again
    assert set(made) == {"secret_key", "client_address_secret", "jwt_private_key"}
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "var/secrets").iterdir()}
    assert modes == {0o600}
