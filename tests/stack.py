"""The whole platform as real processes on free ports, for the tests that need it so."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.servers import end, free_port, wait_until

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
APPS = ("users", "analytics", "dashboard")
MOST_TRIES = 10
WORKERS = {"relay": "users_app relay", "maintenance": "analytics_app maintain"}


def must(method: str, url: str, **given: Any) -> requests.Response:
    """Returns the answer to a call of a test's set-up, which has to succeed.

    A busy machine may have it come again in a moment (503, Retry-After): it does, as clients do.
    """
    given.setdefault("timeout", 30)
    for _ in range(MOST_TRIES):
        answer = requests.request(method, url, **given)
        if answer.status_code != 503:
            break
        time.sleep(int(answer.headers["Retry-After"]))
    assert answer.ok, f"{method} {url}: {answer.status_code} {answer.text}"
    return answer


def private_key() -> str:
    """Returns a new ES256 key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Stack:
    """Users, relay, analytics, maintenance and dashboard; use it as a context manager.

    Without URLs it runs on SQLite files. `settings` override what each process gets.
    """

    def __init__(
        self,
        *,
        users_database_url: str | None = None,
        analytics_database_url: str | None = None,
        parts: tuple[str, ...] = (*APPS, *WORKERS),
        settings: dict[str, str] | None = None,
        workers: int = 1,
        threads: int = 8,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="footfall-stack-")
        self.home = Path(self.folder.name)
        self.ports = {app: free_port() for app in APPS}
        self.users_url, self.analytics_url, self.dashboard_url = (
            f"http://127.0.0.1:{self.ports[app]}" for app in APPS
        )
        self.parts = parts
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "USERS_DATABASE_URL": users_database_url or f"sqlite:///{self.home}/users.db",
            "ANALYTICS_DATABASE_URL": analytics_database_url
            or f"sqlite:///{self.home}/analytics.db",
            "USERS_URL": self.users_url,
            "ANALYTICS_URL": self.analytics_url,
            "PUBLIC_URL": self.dashboard_url,
            "SECRET_KEY": secrets.token_hex(32),
            "CLIENT_ADDRESS_SECRET": secrets.token_hex(32),
            "JWT_PRIVATE_KEY": private_key(),
            "SESSION_DIR": f"{self.home}/sessions",
            "MAIL_DIR": f"{self.home}/mail",
            "BCRYPT_ROUNDS": "4",
            "REGISTRATION": "open",
            "FIRST_ACCOUNT_IS_ADMIN": "true",
            "REGISTRATIONS_PER_MINUTE": "1000",
            "API_CALLS_PER_MINUTE": "100000",
            "WEB_WORKERS": str(workers),
            "WEB_THREADS": str(threads),
            "WEB_GRACEFUL_SECONDS": "3",
            **(settings or {}),
        }

    def migrate(self) -> None:
        """Brings both databases to the newest revision."""
        for section in ("users", "analytics"):
            self.run(BIN / "alembic", "-n", section, "upgrade", "head")

    def run(self, *command: str | Path) -> str:
        """Runs a command with the platform's settings and returns what it prints."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def flask(self, app: str, *words: str) -> str:
        """Runs one of an app's own commands, as in `stack.flask("users_app", "outbox", "list")`."""
        return self.run(BIN / "flask", "--app", app, *words)

    def start(self, *names: str) -> None:
        """Starts parts (all of them without names) and waits until the apps are healthy."""
        for name in names or self.parts:
            with (self.home / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    self.command(name), cwd=ROOT, env=self.environment, stdout=log, stderr=log
                )
        for name in names or self.parts:
            if name in APPS:
                wait_until(f"{name}'s start", lambda name=name: self.is_healthy(name), 60)

    def command(self, name: str) -> list[str | Path]:
        """Returns the command line of a part."""
        if name in APPS:
            return [BIN / "gunicorn", "--bind", f"127.0.0.1:{self.ports[name]}",
                    f"{name}_app:create_app()"]  # fmt: skip
        return [BIN / "flask", "--app", *WORKERS[name].split()]

    def first_account(self) -> dict[str, str]:
        """Registers the first account and returns its headers, signed in."""
        person = {"username": "ada", "password": "tr0ub4dor-and-more"}
        account = person | {"email": "ada@example.com"}
        must("POST", f"{self.users_url}/users", json=account)
        answer = must("POST", f"{self.users_url}/login", json=person)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def is_healthy(self, name: str) -> bool:
        """Whether the app answers that it is ready; raises with its log if it ended instead."""
        if self.processes[name].poll() is not None:
            raise RuntimeError(f"{name} ended at its start:\n{self.log(name)[-3000:]}")
        try:
            return requests.get(f"http://127.0.0.1:{self.ports[name]}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def log(self, name: str) -> str:
        """Returns all that a part has written so far."""
        return (self.home / f"{name}.log").read_text(errors="replace")

    def errors(self) -> list[str]:
        """Returns the lines that all parts have logged as errors, tracebacks included."""
        lines = [line for name in self.processes for line in self.log(name).splitlines()]
        return [line for line in lines if '"level": "error"' in line]

    def stop(self, *names: str) -> None:
        """Stops parts (all of them without names) as an operator would."""
        chosen = names or tuple(self.processes)
        for name in chosen:
            if self.processes[name].poll() is None:
                self.processes[name].send_signal(signal.SIGTERM)
        for name in chosen:
            end(self.processes[name])

    def kill(self, name: str) -> None:
        """Kills a part and its workers without warning."""
        process = self.processes[name]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for pid in (process.pid, *map(int, children.read_text().split())):
            os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def __enter__(self) -> Stack:
        try:
            self.migrate()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()
        self.folder.cleanup()
