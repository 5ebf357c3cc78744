"""Runs the whole platform on this machine: secrets -> migrations -> processes -> address.

    python -m ops.run [--home var] [--demo]

All it keeps is under its home: SQLite files, keys, sessions, mail, assets, metrics; nothing is
written elsewhere, but for what a setting names. Settings come from the environment, then from
`.env`, then from what it makes itself on the first run.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import re
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from honcho import manager as honcho
from honcho.environ import parse, parse_procfile
from honcho.printer import Message

ROOT = Path(__file__).resolve().parent.parent
PORTS = {"dashboard": "8000", "users": "8001", "analytics": "8002"}
PATIENCE_SECONDS = 60
BROWSER_LIBRARIES = ("htmx.min.js", "plotly.min.js")
OWN_SETTINGS = ("BIND_HOST", "PUBLIC_URL", *(f"{name.upper()}_PORT" for name in PORTS))
# What listens everywhere is reached on loopback.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104
BEGUN = time.monotonic()
EXCEPTION = r"^[\w.]+(?:Error|Exception): "  # the class, before what it says
INTERRUPTED = (130, 143)
STOP_SECONDS = 3  # gunicorn's own grace is shorter; all are gone within five
LOG_BYTES = 10_000_000  # then footfall.log becomes footfall.log.1
# Whose settings a process reads, where that isn't its own name.
APPS = {"relay": "users", "maintenance": "analytics"}


def main() -> int:
    options = arguments()
    home = options.home.resolve()
    try:
        prepare(home)
        with held(home):
            complete_restore(home)
            environment = settings(home)
            refuse_bad_ports(environment)
            fetch_browser_libraries(environment)
            migrate(environment)
            return run(environment, home, demo=options.demo)
    except SetupError as error:
        print(f"footfall: {error}", file=sys.stderr)
        return 1


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


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Keeps the home for this run alone; raises SetupError if another one has it."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(f"the home {home} is in use by another run: end that one.") from None
        yield


def complete_restore(home: Path) -> None:
    """Completes a restore that was ended in its middle, if one was; raises SetupError."""
    sys.path.insert(0, str(ROOT))  # this file may be run by its name, from anywhere
    from ops.backup.sqlite import complete_restores

    try:
        complete_restores(home)
    except OSError as error:
        raise SetupError(f"the restore into {home} can't be completed: {error}.") from None


def copy_once(source: Path, target: Path) -> None:
    if not target.exists():
        shutil.copyfile(source, target)


def settings(home: Path) -> dict[str, str]:
    """Returns the environment of all processes; makes what is missing under `home`."""
    given = with_files_read({**dotenv(), **os.environ})
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
        "PUBLIC_URL": urls["dashboard"].replace("//127.0.0.1:", "//localhost:"),
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


def with_files_read(given: dict[str, str]) -> dict[str, str]:
    """Returns the environment with what a NAME_FILE holds in place of it, for what is read here."""
    for name in OWN_SETTINGS:
        if path := given.pop(f"{name}_FILE", ""):
            try:
                given[name] = Path(path).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SetupError(f"{name}_FILE can't be read: {error}.") from None
    return given


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


def refuse_bad_ports(environment: dict[str, str]) -> None:
    """Raises SetupError if a port is none, given twice or in use."""
    owners: dict[str, str] = {}
    for name in PORTS:
        variable = f"{name.upper()}_PORT"
        port = environment[variable]
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise SetupError(f"{variable}={port} is not a port: use a number from 1 to 65535.")
        if (owner := owners.setdefault(port, name)) != name:
            raise SetupError(f"{variable}={port} is the port of {owner} too: give each its own.")
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
    step("fetching the browser libraries", command, environment)


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
        raise SetupError(f"{what} failed: {re.sub(EXCEPTION, '', said[-1])}")


def run(environment: dict[str, str], home: Path, *, demo: bool) -> int:
    """Runs all processes until one ends or Ctrl-C; returns 0 for the latter."""
    log = Log(home / "footfall.log")
    platform = made_platform(log)
    for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
        own = {**environment, **metrics_of(name, home)}
        platform.add_process(name, command, env=own, cwd=str(ROOT))
    announcing = threading.Thread(
        target=announce, args=(platform, environment, home, demo), daemon=True
    )
    announcing.start()
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    platform.loop()
    if platform.returncode in INTERRUPTED:
        print(f"\nFootfall has stopped; the data stays under {home}.")
        return 0
    trouble = platform.trouble or reason_of(platform.ended_first, log, environment)
    print(f"footfall: {trouble}; see {log.path}", file=sys.stderr)
    return 1


def made_platform(log: Log) -> Platform:
    try:
        return Platform(log)
    except OSError as error:  # semaphores live there
        reason = error.strerror or str(error)
        raise SetupError(f"processes can't be run: /dev/shm can't be used: {reason}.") from None


def reason_of(name: str, log: Log, environment: dict[str, str]) -> str:
    """Returns why a process ended although nobody asked for it, in one sentence."""
    complaint = complaint_about(environment, APPS.get(name, name)) or log.last.get(name, "")
    return f"{name} ended by itself" + (f": {complaint}" if complaint else "")


def complaint_about(environment: dict[str, str], app: str) -> str:
    """Returns what an app's settings are refused for; nothing if they are not.

    Asked of another process: importing the apps here would make every start wait for it.
    """
    name = f"{app.title()}Settings"
    read = f"from chassis.config import load; from {app}_app.config import {name}; load({name})"
    done = subprocess.run(
        [sys.executable, "-c", read],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    _, _, complaints = done.stderr.partition("ConfigurationError: ")
    return "; ".join(complaints.splitlines())


def metrics_of(name: str, home: Path) -> dict[str, str]:
    """Returns where the workers of an app share their metrics; each app needs its own."""
    return {"PROMETHEUS_MULTIPROC_DIR": f"{home}/metrics/{name}"} if name in PORTS else {}


class Platform(honcho.Manager):
    """The processes of the Procfile: when one ends, all do."""

    trouble = ""
    ended_first = ""

    def terminate(self) -> None:
        """Asks all to end; what is still there after STOP_SECONDS is killed."""
        if not self._terminating:
            ended = [name for name, each in self._processes.items() if "returncode" in each]
            self.ended_first = ended[0] if ended else ""
            killer = threading.Timer(STOP_SECONDS, self.kill)
            killer.daemon = True
            killer.start()
        super().terminate()

    def give_up(self, trouble: str) -> None:
        self.trouble = trouble
        self.terminate()


class Log:
    """Keeps what the processes write in a file, so that the address stays in sight.

    The file is unbuffered: a signal's handler writes too, and a buffer can't be entered twice.
    """

    width = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: dict[str, str] = {}  # each process's last line that isn't a log entry
        self.file = path.open("ab", buffering=0)
        self.room = LOG_BYTES - path.stat().st_size

    def write(self, message: Message) -> None:
        data = message.data
        text = (data.decode(errors="replace") if isinstance(data, bytes) else data).rstrip()
        if text and not text.startswith("{"):
            self.last[message.name] = text
        line = f"{message.name}: {text}\n".encode()
        if len(line) > self.room:
            self.rotate()
        self.room -= len(line)
        self.file.write(line)

    def rotate(self) -> None:
        self.room = LOG_BYTES
        self.path.replace(self.path.with_suffix(".log.1"))
        old, self.file = self.file, self.path.open("ab", buffering=0)
        old.close()


def announce(platform: Platform, environment: dict[str, str], home: Path, demo: bool) -> None:
    """Prints the address once all three apps are ready; ends them all if they don't get so."""
    host = reachable(environment["BIND_HOST"])
    urls = [f"http://{host}:{environment[f'{name.upper()}_PORT']}" for name in PORTS]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(healthy(url) for url in urls):
        if time.monotonic() > deadline:
            platform.give_up("the apps did not get ready within a minute")
            return
        time.sleep(0.1)
    if demo:
        loader = [sys.executable, "-m", "ops.demo", "--home", str(home)]
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
