"""Runs the whole platform on this machine: secrets -> migrations -> processes -> address.

    python ops/run.py [--home var] [--demo]

All it keeps is under its home: SQLite files, keys, sessions, mail, assets, metrics; nothing is
written elsewhere, but for what a setting names. Settings come from the environment, then from
`.env`, then from what it makes itself on the first run.
"""

from __future__ import annotations

import argparse
import errno
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import FileIO
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from honcho import manager as honcho
from honcho.environ import parse, parse_procfile

ROOT = Path(__file__).resolve().parent.parent
PORTS = {"dashboard": "8000", "users": "8001", "analytics": "8002"}
PATIENCE_SECONDS = 60
BROWSER_LIBRARIES = ("htmx.min.js", "plotly.min.js")
# What listens everywhere is reached on loopback.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104
BEGUN = time.monotonic()
INTERRUPTED = (130, 143)
STOP_SECONDS = 3  # gunicorn's own grace is shorter; all are gone within five


def main() -> int:
    options = arguments()
    home = options.home.resolve()
    try:
        prepare(home)
        environment = settings(home)
        refuse_taken_ports(environment)
        fetch_browser_libraries(environment)
        migrate(environment)
    except SetupError as error:
        print(f"footfall: {error}", file=sys.stderr)
        return 1
    return run(environment, home, demo=options.demo)


class SetupError(Exception):
    """The platform can't start; the text is one sentence for whoever started it."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--home", type=Path, default=ROOT / "var", help="where everything is kept (var)"
    )
    parser.add_argument("--demo", action="store_true", help="load 90 days of sample events")
    return parser.parse_args()


def prepare(home: Path) -> None:
    """Makes the home, its owner's alone; raises SetupError if nothing can be written there."""
    try:
        for folder in (home, home / "secrets", home / "browser"):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (home, home / "secrets"):
            folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=home):
            pass
        for name in BROWSER_LIBRARIES:  # fetched once for all homes
            if (fetched := ROOT / "var" / "browser" / name).is_file():
                copy_once(fetched, home / "browser" / name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SetupError(f"the home {home} can't be written: {reason}.") from None
    if "?" in str(home):
        raise SetupError(f"the home {home} can't be named in an SQLite address: leave out the ?.")


def copy_once(source: Path, target: Path) -> None:
    if not target.exists():
        shutil.copyfile(source, target)


def settings(home: Path) -> dict[str, str]:
    """Returns the environment of all processes; makes what is missing under `home`."""
    given = {**dotenv(), **os.environ}
    ports = {name: given.get(f"{name.upper()}_PORT", usual) for name, usual in PORTS.items()}
    host = (given.get("BIND_HOST") or "127.0.0.1").strip("[]")
    given["BIND_HOST"] = host
    given.pop("PROMETHEUS_MULTIPROC_DIR", None)  # it would be all apps' together
    urls = {name: f"http://{reachable(host)}:{port}" for name, port in ports.items()}
    usual = {
        **{f"{name.upper()}_PORT": port for name, port in ports.items()},
        "USERS_DATABASE_URL": f"sqlite:///{home}/users.db",
        "ANALYTICS_DATABASE_URL": f"sqlite:///{home}/analytics.db",
        "USERS_URL": urls["users"],
        "ANALYTICS_URL": urls["analytics"],
        "PUBLIC_URL": urls["dashboard"],
        "SESSION_DIR": f"{home}/sessions",
        "MAIL_DIR": f"{home}/mail",
        "BROWSER_DIR": f"{home}/browser",
        "ASSETS_DIR": f"{home}/assets",
        "REGISTRATION": "open",
        "WEB_WORKERS": "1",
        "WEB_GRACEFUL_SECONDS": "2",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
        **made_secrets(home / "secrets", given),
    }
    # The first account may become the admin only where no stranger can be first.
    if is_loopback(host):
        usual["FIRST_ACCOUNT_IS_ADMIN"] = "true"
    if not home.is_relative_to(ROOT):
        usual["PYTHONDONTWRITEBYTECODE"] = "1"
    path = f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', '')}"
    return {**usual, **given, "PATH": path}


def dotenv() -> dict[str, str]:
    path = ROOT / ".env"
    return dict(parse(path.read_text())) if path.exists() else {}


def reachable(host: str) -> str:
    """Returns the host, as an address holds it, at which this machine reaches `host`."""
    host = EVERYWHERE.get(host, host)
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def made_secrets(folder: Path, given: dict[str, str]) -> dict[str, str]:
    """Returns NAME_FILE for each secret that nobody set, made on the first run."""
    makers: dict[str, Callable[[], str]] = {
        "SECRET_KEY": lambda: secrets.token_hex(32),
        "CLIENT_ADDRESS_SECRET": lambda: secrets.token_hex(32),
        "JWT_PRIVATE_KEY": new_private_key,
    }
    files = {}
    for name, make in makers.items():
        if name in given or f"{name}_FILE" in given:
            continue
        path = folder / name.lower()
        if not path.exists():
            write_secret(path, make())
        files[f"{name}_FILE"] = str(path)
    return files


def write_secret(path: Path, text: str) -> None:
    """Writes the file whole or not at all, readable by its owner alone."""
    half = path.with_suffix(".new")
    half.touch(mode=0o600)
    half.write_text(text + "\n")
    half.rename(path)


def new_private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def refuse_taken_ports(environment: dict[str, str]) -> None:
    for name in PORTS:
        variable = f"{name.upper()}_PORT"
        port = environment[variable]
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise SetupError(f"{variable}={port} is not a port: use a number from 1 to 65535.")
        if taken(environment["BIND_HOST"], int(port)):
            raise SetupError(
                f"port {port} for {name} is in use: end what listens there, or choose another "
                f"with {variable}=…"
            )


def taken(host: str, port: int) -> bool:
    """Whether somebody listens there; raises SetupError if nobody here could."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return True
        reason = error.strerror or str(error)
        raise SetupError(f"BIND_HOST={host} can't be listened on: {reason}.") from None
    return False


def fetch_browser_libraries(environment: dict[str, str]) -> None:
    into = environment["BROWSER_DIR"]
    command = [sys.executable, "-m", "ops.browser_libraries", "--into", into]
    step("browser libraries", command, environment)


def migrate(environment: dict[str, str]) -> None:
    """Migrates the databases that are not at their newest revision, both at once."""

    def upgrade(section: str) -> None:
        command = [sys.executable, "-m", "alembic", "-n", section, "upgrade", "head"]
        step(f"the migration of the {section} database", command, environment)

    behind = [each for each in ("users", "analytics") if revision(each, environment) != head(each)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(upgrade, behind))  # raises what one of them did


def head(section: str) -> str:
    """Returns the newest revision: each migration's file begins with its own."""
    versions = ROOT / f"{section}_app" / "migrations" / "versions"
    return max(path.name.partition("_")[0] for path in versions.glob("[0-9]*.py"))


def revision(section: str, environment: dict[str, str]) -> str | None:
    """Returns which revision an SQLite file is at; None if that can't be told from a file."""
    setting = f"{section.upper()}_DATABASE_URL"
    url = environment[setting]
    path = ROOT / url.removeprefix("sqlite:///")  # Alembic runs there
    named_elsewhere = environment.get(f"{setting}_FILE") or not url.startswith("sqlite:///")
    if named_elsewhere or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:  # Alembic will say what is wrong
        return None
    return found and str(found[0])


def step(what: str, command: list[str], environment: dict[str, str]) -> None:
    """Runs a command; raises SetupError with the last line it wrote if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
        raise SetupError(f"{what} failed: {said[-1]}")


def run(environment: dict[str, str], home: Path, *, demo: bool) -> int:
    """Runs all processes until one ends or Ctrl-C; returns 0 for the latter."""
    # Unbuffered: a signal's handler writes too, and a buffer can't be entered twice.
    with (home / "footfall.log").open("ab", buffering=0) as log:
        platform = Platform(Printer(log))
        for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
            own = {**environment, **metrics_of(name, home)}
            platform.add_process(name, command, env=own, cwd=str(ROOT))
        threading.Thread(
            target=announce, args=(platform, environment, home, demo), daemon=True
        ).start()
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        platform.loop()
    if platform.returncode in INTERRUPTED:
        print(f"\nFootfall has stopped; the data stays under {home}.")
        return 0
    print(f"footfall: {platform.failure}; see {home}/footfall.log", file=sys.stderr)
    return 1


def metrics_of(name: str, home: Path) -> dict[str, str]:
    """Returns where the workers of an app share their metrics; each app needs its own."""
    return {"PROMETHEUS_MULTIPROC_DIR": f"{home}/metrics/{name}"} if name in PORTS else {}


class Platform(honcho.Manager):
    """The processes of the Procfile: when one ends, all do."""

    trouble = ""

    @property
    def failure(self) -> str:
        """Why all have ended although nobody asked for it."""
        ended = [name for name, each in self._processes.items() if each.get("returncode")]
        return self.trouble or f"{ended[0] if ended else 'a process'} ended by itself"

    def terminate(self) -> None:
        """Asks all to end; what is still there after STOP_SECONDS is killed."""
        if not self._terminating:
            killer = threading.Timer(STOP_SECONDS, self.kill)
            killer.daemon = True
            killer.start()
        super().terminate()

    def give_up(self, trouble: str) -> None:
        self.trouble = trouble
        self.terminate()


class Printer:
    """Keeps what the processes write in a log file, so that the address stays in sight."""

    width = 0

    def __init__(self, log: FileIO) -> None:
        self.log = log

    def write(self, message: object) -> None:
        data = message.data  # type: ignore[attr-defined]
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        self.log.write(f"{message.name}: {text.rstrip()}\n".encode())  # type: ignore[attr-defined]


def announce(platform: Platform, environment: dict[str, str], home: Path, demo: bool) -> None:
    """Prints the address once all three apps are ready; ends them all if they don't get so."""
    urls = [environment[name] for name in ("USERS_URL", "ANALYTICS_URL", "PUBLIC_URL")]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(healthy(url) for url in urls):
        if time.monotonic() > deadline:
            platform.give_up("the apps did not get ready within a minute")
            return
        time.sleep(0.1)
    if demo:
        loader = [sys.executable, "ops/demo.py", "--home", str(home)]
        if subprocess.run(loader, cwd=ROOT, env=environment, check=False).returncode:
            platform.give_up("the sample events could not be loaded")
            return
    print(f"\n  Footfall is running: {environment['PUBLIC_URL']}", flush=True)
    took = time.monotonic() - BEGUN
    print(
        f"  Logs: {home}/footfall.log. Started in {took:.1f} s; Ctrl-C stops everything.\n",
        flush=True,
    )


def healthy(url: str) -> bool:
    # What runs here is behind no proxy, whatever the machine's settings say.
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with straight.open(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
