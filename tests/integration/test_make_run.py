"""`make run` as a newcomer meets it: it starts, keeps the data, and fails in one sentence."""

from __future__ import annotations

import errno
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import requests
from honcho.printer import Message

from ops import run
from tests.servers import accepts_connections, end, free_port
from tests.stack import BIN, ROOT

NAMES = ("DASHBOARD_PORT", "USERS_PORT", "ANALYTICS_PORT")


class Runner:
    """One `python -m ops.run`, as `make run` calls it, on free ports and a home of its own."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.ports = {name: free_port() for name in NAMES}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **{name: str(port) for name, port in self.ports.items()},
            **settings,
        }
        self.command = [sys.executable, "-m", "ops.run", "--home", str(home / "var")]
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

    def log(self) -> str:
        return (Path(self.command[-1]) / "footfall.log").read_text()

    def listens(self) -> bool:
        return any(accepts_connections(port) for port in self.ports.values())

    @property
    def users_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['USERS_PORT']}"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a home as it is after a first start."""
    home = tmp_path_factory.mktemp("migrated")
    run.prepare(home)
    run.migrate(run.settings(home))
    return home


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    """Returns a folder of one's own with such a home in it."""
    shutil.copytree(migrated, tmp_path / "var")
    return tmp_path


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
    runner.wait_for(f"Footfall is running: http://localhost:{runner.ports['DASHBOARD_PORT']}\n")
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


WRONG = [
    ({"REPORTING_TIMEZONE": "Mars/Olympus"}, "REPORTING_TIMEZONE must be an IANA"),
    ({"MAIL_FROM": "someone"}, "MAIL_FROM "),
    (
        {"WEB_WORKERS": "two", "WEB_THREADS": "0"},
        "WEB_WORKERS=two must be a whole number of 1 or more; WEB_THREADS=0 must be a whole",
    ),
    ({"WEB_WORKERS_FILE": "/nowhere"}, "WEB_WORKERS_FILE can't be read: .*No such file"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_a_setting_that_is_wrong_is_one_sentence(
    folder: Path, settings: dict[str, str], words: str
) -> None:
    runner = Runner(folder, **settings)
    done = runner.run_to_its_end()
    assert done.returncode == 1
    assert re.fullmatch(rf"footfall: \w+ ended by itself: {words}.*\n", done.stderr), done.stderr
    assert not runner.listens()


def test_the_process_that_ended_first_is_named(folder: Path) -> None:
    runner = Runner(folder)
    runner.start()
    runner.wait_for("Footfall is running")
    maintenance = re.search(r"maintenance started \(pid=(\d+)\)", runner.log())
    assert maintenance
    os.killpg(int(maintenance[1]), signal.SIGKILL)
    runner.wait_for("footfall: maintenance ended by itself")
    assert runner.process
    assert runner.process.wait(10) == 1


def test_an_address_for_the_world_is_not_asked_for_health(folder: Path) -> None:
    (folder / "url").write_text("https://footfall.invalid\n")
    runner = Runner(folder, PUBLIC_URL_FILE=str(folder / "url"))
    runner.start()
    runner.wait_for("Footfall is running: https://footfall.invalid\n")
    interrupt(runner)


def test_a_second_run_of_one_home_is_refused(folder: Path) -> None:
    first, second = Runner(folder), Runner(folder)
    first.start()
    first.wait_for("Footfall is running")
    done = second.run_to_its_end()
    interrupt(first)
    home = folder / "var"
    assert done.stderr == f"footfall: the home {home} is in use by another run: end that one.\n"
    assert done.returncode == 1


def test_a_port_given_twice_is_one_sentence(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    port = runner.environment["USERS_PORT"] = runner.environment["ANALYTICS_PORT"]
    done = runner.run_to_its_end()
    assert done.returncode == 1
    told = f"footfall: ANALYTICS_PORT={port} is the port of users too: give each its own.\n"
    assert done.stderr == told


def test_a_database_that_is_down_is_one_sentence(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    done = Runner(tmp_path, USERS_DATABASE_URL=url).run_to_its_end()
    assert done.returncode == 1
    told = "footfall: the migration of the users database failed: .*USERS_DATABASE_URL.*refused.*\n"
    assert re.fullmatch(told, done.stderr)


def test_the_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOG_BYTES", 1000)
    path = tmp_path / "footfall.log"
    path.write_text("x" * 990 + "\n")
    log = run.Log(path)
    for number in range(200):
        log.write(Message("line", f"line {number}\n".encode(), None, "users", None))
        assert path.stat().st_size <= 1000
    kept = (tmp_path / "footfall.log.1").read_text() + path.read_text()
    assert kept.endswith("users: line 198\nusers: line 199\n")
    assert {each.name for each in tmp_path.iterdir()} == {"footfall.log", "footfall.log.1"}


def test_semaphores_that_cannot_be_had_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refused)
    told = r"processes can't be run: /dev/shm can't be used: Permission denied\."
    with pytest.raises(run.SetupError, match=told):
        run.made_platform(run.Log(tmp_path / "footfall.log"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a folder with the Makefile and a lock of nothing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    return tmp_path


def make(checkout: Path, target: str, python: str | Path = sys.executable) -> CompletedProcess[str]:
    return subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=checkout, check=False, capture_output=True, text=True,
    )  # fmt: skip


def test_an_old_python_is_told_so_in_one_sentence(checkout: Path) -> None:
    old = checkout / "python3"
    pretend = (
        "import sys; sys.version_info = (3, 9, 2); sys.version = '3.9.2 (old)'; exec(sys.argv[1])"
    )
    old.write_text(f'#!/bin/sh\nexec {BIN}/python -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    done = make(checkout, "run", old)
    assert done.returncode != 0
    assert "footfall: Python 3.11 or newer is needed" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_is_mended_and_follows_the_lock(checkout: Path) -> None:
    def installs() -> bool:
        done = make(checkout, ".venv/run")
        assert done.returncode == 0, done.stderr
        subprocess.run([python, "-c", "import pip"], check=True)
        return "Installing what Footfall needs" in done.stdout

    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)  # a making that was interrupted
    assert installs()
    assert not installs()
    (checkout / "requirements.txt").write_text("# a newer lock\n")
    assert installs()
    python.unlink()
    python.symlink_to("/nowhere/python3")  # the machine's Python went away
    assert installs()


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
