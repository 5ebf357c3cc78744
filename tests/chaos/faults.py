"""The faults: each breaks one thing under load, and mends it as an operator would."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.platform import Platform
from tests.chaos.tools import Missing, clock_library
from tests.servers import end, wait_until
from tests.stack import APPS, BIN, ROOT, WORKERS

OUTAGE_SECONDS = 4.0
STALL_SECONDS = 6.0


@dataclass(frozen=True)
class Fault:
    """A name, what it does in words, the breaking and the mending.

    `quiet` faults may cost nobody a single failed request. `after` runs once all is well,
    before the history is judged.
    """

    name: str
    words: str
    break_it: Callable[[Platform], None]
    mend: Callable[[Platform], None] = lambda _: None
    after: Callable[[Platform], None] = lambda _: None
    quiet: bool = False


def killed(part: str) -> Fault:
    return Fault(
        f"{part}-killed",
        f"`kill -9` of {part} and its workers, started again at once",
        lambda platform: platform.kill(part),
        lambda platform: platform.start(part),
    )


def database_stopped(name: str) -> Fault:
    def stop(platform: Platform) -> None:
        platform.databases[name].stop()
        time.sleep(OUTAGE_SECONDS)

    words = f"{name}' PostgreSQL stopped for {OUTAGE_SECONDS:.0f} s, then started"
    return Fault(f"{name}-database-stopped", words, stop, lambda p: p.databases[name].start())


def database_killed(name: str) -> Fault:
    words = f"`kill -9` of {name}' PostgreSQL and all its backends, started again at once"
    return Fault(
        f"{name}-database-killed",
        words,
        lambda platform: platform.databases[name].kill(),
        lambda platform: platform.databases[name].start(),
    )


def database_stalled(name: str) -> Fault:
    def stall(platform: Platform) -> None:
        platform.databases[name].signal_all(signal.SIGSTOP)
        time.sleep(STALL_SECONDS)

    words = f"{name}' PostgreSQL stalled for {STALL_SECONDS:.0f} s (SIGSTOP, then SIGCONT)"
    return Fault(
        f"{name}-database-stalled",
        words,
        stall,
        lambda platform: platform.databases[name].signal_all(signal.SIGCONT),
    )


def disk_full(name: str) -> Fault:
    def fill(platform: Platform) -> None:
        platform.disk(name).fill()
        time.sleep(OUTAGE_SECONDS)

    def free(platform: Platform) -> None:
        platform.disk(name).free()
        server = platform.databases[name]
        if server.process is not None and server.process.poll() is not None:
            (server.data / "postmaster.pid").unlink(missing_ok=True)
            server.start()

    words = f"no byte left on the disk of {name}' PostgreSQL for {OUTAGE_SECONDS:.0f} s"
    return Fault(f"{name}-disk-full", words, fill, free)


def redis_gone() -> Fault:
    def go(platform: Platform) -> None:
        assert platform.redis is not None
        platform.redis.kill()
        platform.redis.wait(10)
        time.sleep(OUTAGE_SECONDS)

    def come_back(platform: Platform) -> None:
        platform.stop_redis()
        platform.start_redis()

    words = f"Redis killed for {OUTAGE_SECONDS:.0f} s; it comes back empty"
    return Fault("redis-gone", words, go, come_back)


def redis_stalled() -> Fault:
    def stall(platform: Platform) -> None:
        assert platform.redis is not None
        platform.redis.send_signal(signal.SIGSTOP)
        time.sleep(OUTAGE_SECONDS)

    def go_on(platform: Platform) -> None:
        assert platform.redis is not None
        platform.redis.send_signal(signal.SIGCONT)

    words = f"Redis stalled for {OUTAGE_SECONDS:.0f} s (SIGSTOP)"
    return Fault("redis-stalled", words, stall, go_on)


def partition() -> Fault:
    def cut(platform: Platform) -> None:
        for link in (platform.to_analytics, platform.to_users):
            link.cut()
        time.sleep(STALL_SECONDS)

    def heal(platform: Platform) -> None:
        for link in (platform.to_analytics, platform.to_users):
            link.heal()

    words = f"users ↔ analytics cut both ways for {STALL_SECONDS:.0f} s (packets vanish), healed"
    return Fault("partition", words, cut, heal)


def clock_stepped(app: str, seconds: int) -> Fault:
    """The app's clock runs wrong for a while, then right again, under load.

    What a clock that is ahead dates is delivered when that time has come.
    """
    twin = f"{app}-shifted"

    def step(platform: Platform) -> None:
        clock = platform.home / f"{app}.clock"
        clock.write_text("0")
        library = clock_library(platform.home)
        platform.extra[twin] = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(clock)}
        platform.twin(app, "shifted")
        platform.balancers[app].targets[:] = [platform.ports[twin]]
        clock.write_text(str(seconds))
        time.sleep(OUTAGE_SECONDS)
        clock.write_text("0")

    def back(platform: Platform) -> None:
        platform.balancers[app].targets[:] = [platform.ports[app]]
        if twin in platform.processes:
            platform.balancers[app].settle(platform.ports[twin])
            platform.stop(twin)

    def send_what_was_refused(platform: Platform) -> None:
        wait_for_the_outbox(platform)
        platform.flask("users_app", "outbox", "requeue", "--all")

    words = f"the clock of {app} stepped by {seconds:+d} s for {OUTAGE_SECONDS:.0f} s, then back"
    name = f"{app}-clock-{'ahead' if seconds > 0 else 'behind'}"
    return Fault(name, words, step, back, send_what_was_refused)


def rolling_restart() -> Fault:
    def restart(platform: Platform) -> None:
        for app in APPS:
            roll(platform, app)
        for worker in WORKERS:
            platform.stop(worker)
            platform.start(worker)

    words = "rolling restart of every service, two instances each, drained before they stop"
    return Fault("rolling-restart", words, restart, quiet=True)


def roll(platform: Platform, app: str) -> None:
    """Restarts an app's instance while a second one serves."""
    twin = platform.twin(app)
    balancer = platform.balancers[app]
    balancer.targets.append(platform.ports[twin])
    balancer.drain(platform.ports[app])
    platform.stop(app)
    platform.start(app)
    balancer.targets.append(platform.ports[app])
    balancer.drain(platform.ports[twin])
    platform.stop(twin)


def workers_reloaded() -> Fault:
    def reload(platform: Platform) -> None:
        for app in APPS:
            platform.processes[app].send_signal(signal.SIGHUP)
        time.sleep(OUTAGE_SECONDS)

    words = "`kill -HUP` of every gunicorn at once: new workers take over from the old"
    return Fault("workers-reloaded", words, reload)


def migration() -> Fault:
    """The release before the newest analytics migration serves while that migration runs."""
    database = "analytics_before"

    def migrate(platform: Platform) -> None:
        server = platform.databases["analytics"]
        command = [BIN / "alembic", "-n", "analytics", "upgrade", "head"]
        environment = {**platform.environment, "ANALYTICS_DATABASE_URL": server.url(database)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])

    def take_over(platform: Platform) -> None:
        given = {"ANALYTICS_DATABASE_URL": platform.databases["analytics"].url(database)}
        platform.extra["analytics-after"] = given
        twin = platform.twin("analytics", "after")
        platform.balancers["analytics"].targets.append(platform.ports[twin])
        platform.balancers["analytics"].drain(platform.ports["analytics-before"])
        platform.stop("analytics-before")

    words = (
        "analytics migrated to its newest revision while the release before it serves; then "
        "this one takes over"
    )
    return Fault("migration", words, migrate, take_over, quiet=True)


def before_newest_migration(home: Path) -> Path:
    """Returns the last tree that runs from before the newest analytics migration, or Missing."""
    versions = ROOT / "analytics_app" / "migrations" / "versions"
    newest = max(versions.glob("0*.py")).relative_to(ROOT)
    added = git("log", "--diff-filter=A", "--format=%H", "--", str(newest)).split()
    if added and not newest.name.startswith("0001"):
        for commit in git("rev-list", "-n", "9", f"{added[-1]}^", "--", "analytics_app").split():
            folder = home / f"before-{commit[:9]}"
            unpack(commit, folder)
            if runs(folder):
                return folder
    raise Missing("the history holds no release before the newest migration")


def unpack(commit: str, folder: Path) -> None:
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)


def runs(folder: Path) -> bool:
    """Whether the tree is whole: half a change may have been committed before the other half."""
    words = [sys.executable, "-c", "import analytics_app"]
    return subprocess.run(words, cwd=folder, capture_output=True).returncode == 0


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"git: {done.stderr.strip()[:200]}")
    return done.stdout


def serve_the_release_before(platform: Platform) -> None:
    """Puts the old analytics on an old database in the place of the present one."""
    old = before_newest_migration(platform.home)
    server = platform.databases["analytics"]
    server.execute("CREATE DATABASE analytics_before")
    given = {"ANALYTICS_DATABASE_URL": server.url("analytics_before")}
    environment = {**platform.environment, **given, "PYTHONPATH": str(old)}
    subprocess.run(
        [BIN / "alembic", "-n", "analytics", "upgrade", "head"],
        cwd=old, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    platform.folders["analytics-before"] = old
    platform.extra["analytics-before"] = given
    twin = platform.twin("analytics", "before")
    platform.balancers["analytics"].targets[:] = [platform.ports[twin]]
    platform.stop("analytics")  # the relay would keep its connection to it


def serve_the_present_release(platform: Platform) -> None:
    """Puts the usual analytics back; what was counted meanwhile stays in the other database."""
    for name in ("analytics-before", "analytics-after"):
        if name in platform.processes:
            end(platform.processes[name])
    platform.start("analytics")
    platform.balancers["analytics"].targets[:] = [platform.ports["analytics"]]


def wait_for_the_outbox(platform: Platform, seconds: float = 90) -> None:
    """Returns when everything the users service has to tell has been told."""
    wait_until("the outbox's delivery", lambda: platform.outbox() == 0, seconds, 0.3)


ALL = (
    *(killed(part) for part in (*APPS, *WORKERS)),
    *(make(name) for name in APPS[:2] for make in (
        database_stopped, database_killed, database_stalled, disk_full,
    )),
    redis_gone(),
    redis_stalled(),
    partition(),
    clock_stepped("users", 40),
    clock_stepped("users", -3600),
    clock_stepped("analytics", 3600),
    clock_stepped("analytics", -3600),
    workers_reloaded(),
    rolling_restart(),
    migration(),
)  # fmt: skip
