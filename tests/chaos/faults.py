"""The faults: each breaks one thing under load, and mends it as an operator would."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import psycopg2
import requests

from tests.chaos.actors import Forgetful, Place
from tests.chaos.platform import Platform
from tests.chaos.tools import Missing, clock_library, program
from tests.servers import PostgresServer, end, wait_until
from tests.stack import APPS, BIN, ROOT, WORKERS

OUTAGE_SECONDS = 4.0
STALL_SECONDS = 6.0
REDIS_STALL_SECONDS = 30.0
SKEWS_SECONDS = (1, 5, 25)
MAIL_PAUSE_SECONDS, MAIL_SLOW_SECONDS = 15.0, 50.0
FLOOD_TYPES, MAX_TYPES = 50_000, 2_000
LIMIT_OF_TYPES = "MAX_EVENT_TYPES"
HEAVY_EVENTS, HEAVY_ID = 600_000, 10**13
BATCH_EVENTS = 1_000
LOG_MEGABYTES = 500  # more than the log may hold before a checkpoint
T = TypeVar("T")
EVERYTHING = frozenset(APPS)
# Who can't work without it: the dashboard asks the users service who somebody is, and keeps its
# sessions in Redis.
NEEDED_BY = {
    "users": frozenset({"users", "dashboard"}),
    "analytics": frozenset({"analytics"}),
    "dashboard": frozenset({"dashboard"}),
    "redis": frozenset({"dashboard"}),
}


def nothing(_: Platform) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Fault:
    """A name, what it does in words, the breaking and the mending.

    `set_up` runs before the crowd comes, `tear_down` when all is judged; `after` once all is
    well, before the history is judged. `quiet` faults may cost nobody a single failed request.
    `needed_by` are the services that can't do without what is broken: all others are held to
    the time they usually take, where the fault is `bounded`. `joined_by` are people who come
    for this fault only.
    """

    name: str
    words: str
    break_it: Callable[[Platform], None]
    mend: Callable[[Platform], None] = nothing
    after: Callable[[Platform], None] = nothing
    set_up: Callable[[Platform], None] = nothing
    tear_down: Callable[[Platform], None] = nothing
    quiet: bool = False
    needed_by: frozenset[str] = frozenset()
    bounded: bool = False
    joined_by: Callable[[Place], list[Callable[[], None]]] = lambda _: []


def killed(part: str) -> Fault:
    return Fault(
        f"{part}-killed",
        f"`kill -9` of {part} and its workers, started again at once",
        lambda platform: platform.kill(part),
        lambda platform: platform.start(part),
        needed_by=NEEDED_BY.get(part, frozenset()),
    )


def database_stopped(name: str) -> Fault:
    def stop(platform: Platform) -> None:
        platform.databases[name].stop()
        time.sleep(OUTAGE_SECONDS)

    words = f"{name}' PostgreSQL stopped for {OUTAGE_SECONDS:.0f} s, then started"
    return Fault(
        f"{name}-database-stopped",
        words,
        stop,
        lambda platform: platform.databases[name].start(),
        needed_by=NEEDED_BY[name],
    )


def database_killed(name: str) -> Fault:
    words = f"`kill -9` of {name}' PostgreSQL and all its backends, started again at once"
    return Fault(
        f"{name}-database-killed",
        words,
        lambda platform: platform.databases[name].kill(),
        lambda platform: platform.databases[name].start(),
        needed_by=NEEDED_BY[name],
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
        needed_by=NEEDED_BY[name],
    )


def database_read_only(name: str) -> Fault:
    """Nothing can be written, on open connections neither: the old primary of a failover."""

    def turn(platform: Platform, state: str) -> None:
        server = platform.databases[name]
        server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
        server.execute("SELECT pg_reload_conf()")

    def turn_on(platform: Platform) -> None:
        turn(platform, "on")
        time.sleep(STALL_SECONDS)

    words = f"{name}' PostgreSQL read-only for {STALL_SECONDS:.0f} s, also on open connections"
    return Fault(
        f"{name}-database-read-only",
        words,
        turn_on,
        lambda platform: turn(platform, "off"),
        needed_by=NEEDED_BY[name],
        bounded=True,
    )


def disk_full(name: str, *, log: bool) -> Fault:
    """Tables can't grow any more; with `log` the server can't write its log either, and ends."""

    def fill(platform: Platform) -> None:
        platform.disk(name).fill()
        if log:
            use_up_log(platform.databases[name])
        time.sleep(OUTAGE_SECONDS)

    def free(platform: Platform) -> None:
        platform.disk(name).free()
        server = platform.databases[name]
        if server.process is not None and server.process.poll() is not None:
            (server.data / "postmaster.pid").unlink(missing_ok=True)
            server.start()

    words = f"no byte left on the disk of {name}' PostgreSQL for {OUTAGE_SECONDS:.0f} s"
    words += ", nor in its log, so that it ends" if log else ""
    return Fault(f"{name}-disk-full", words, fill, free, needed_by=NEEDED_BY[name])


def use_up_log(server: PostgresServer) -> None:
    """Has the server write its log until it can't: files that it has at hand hold some more."""
    with suppress(psycopg2.Error):
        for _ in range(LOG_MEGABYTES):
            server.execute("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")


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
    return Fault("redis-gone", words, go, come_back, needed_by=NEEDED_BY["redis"])


def redis_stalled() -> Fault:
    def stall(platform: Platform) -> None:
        assert platform.redis is not None
        platform.redis.send_signal(signal.SIGSTOP)
        time.sleep(REDIS_STALL_SECONDS)

    def go_on(platform: Platform) -> None:
        assert platform.redis is not None
        platform.redis.send_signal(signal.SIGCONT)

    words = f"Redis stalled for {REDIS_STALL_SECONDS:.0f} s (SIGSTOP)"
    return Fault("redis-stalled", words, stall, go_on, needed_by=NEEDED_BY["redis"], bounded=True)


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

    def send_what_was_refused(platform: Platform) -> None:
        wait_for_the_outbox(platform)
        platform.flask("users_app", "outbox", "requeue", "--all")

    return Fault(
        f"{app}-clock-{'ahead' if seconds > 0 else 'behind'}",
        f"the clock of {app} stepped by {seconds:+d} s for {OUTAGE_SECONDS:.0f} s, then back",
        lambda platform: step_clock(platform, app, seconds),
        lambda platform: set_clock(platform, app, 0),
        send_what_was_refused,
        lambda platform: serve_by_a_clock_to_step(platform, app),
        lambda platform: serve_by_the_right_clock(platform, app),
    )


def clock_skewed(app: str, sign: int) -> Fault:
    """Clocks that differ by less than 30 s: nobody may notice."""
    steps = [sign * each for each in SKEWS_SECONDS]

    def skew(platform: Platform) -> None:
        for seconds in steps:
            step_clock(platform, app, seconds)

    figures = ", ".join(f"{each:+d}" for each in steps)
    return Fault(
        f"{app}-clock-{'fast' if sign > 0 else 'slow'}",
        f"the clock of {app} {figures} s off for {OUTAGE_SECONDS:.0f} s each, then right",
        skew,
        lambda platform: set_clock(platform, app, 0),
        set_up=lambda platform: serve_by_a_clock_to_step(platform, app),
        tear_down=lambda platform: serve_by_the_right_clock(platform, app),
        quiet=True,
        bounded=True,
    )


def set_clock(platform: Platform, app: str, seconds: int) -> None:
    (platform.home / f"{app}.clock").write_text(str(seconds))


def step_clock(platform: Platform, app: str, seconds: int) -> None:
    set_clock(platform, app, seconds)
    time.sleep(OUTAGE_SECONDS)


def serve_by_a_clock_to_step(platform: Platform, app: str) -> None:
    """Puts an instance in the app's place whose clock is ours."""
    library = clock_library(platform.home)
    set_clock(platform, app, 0)
    file = str(platform.home / f"{app}.clock")
    platform.extra[f"{app}-shifted"] = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": file}
    twin = platform.twin(app, "shifted")
    platform.balancers[app].targets[:] = [platform.ports[twin]]
    platform.balancers[app].settle(platform.ports[app])


def serve_by_the_right_clock(platform: Platform, app: str) -> None:
    platform.balancers[app].targets[:] = [platform.ports[app]]
    twin = f"{app}-shifted"
    if twin in platform.processes:
        platform.balancers[app].settle(platform.ports[twin])
        platform.stop(twin)


def mail_slow() -> Fault:
    """The mail server takes each mail and says so late: every mail comes once, and is good."""

    def slow_down(platform: Platform) -> None:
        platform.mail.seconds_after_data = MAIL_PAUSE_SECONDS
        time.sleep(MAIL_SLOW_SECONDS)

    def speed_up(platform: Platform) -> None:
        platform.mail.seconds_after_data = 0.0

    words = (
        f"the mail server answers {MAIL_PAUSE_SECONDS:.0f} s after each mail, for "
        f"{MAIL_SLOW_SECONDS:.0f} s, while people reset their passwords"
    )
    return Fault(
        "mail-slow",
        words,
        slow_down,
        speed_up,
        quiet=True,
        bounded=True,
        joined_by=lambda place: [Forgetful(place).act for _ in range(2)],
    )


def pgbouncer_killed() -> Fault:
    def kill(platform: Platform) -> None:
        for bouncer in platform.bouncers.values():
            bouncer.kill()
        time.sleep(OUTAGE_SECONDS)

    def start(platform: Platform) -> None:
        for bouncer in platform.bouncers.values():
            bouncer.start()

    words = (
        "everything through PgBouncer, which pools sessions; it is ended with all its connections "
        f"and started again {OUTAGE_SECONDS:.0f} s later"
    )
    return Fault(
        "pgbouncer-killed",
        words,
        kill,
        start,
        set_up=lambda platform: platform.go_through(program("pgbouncer")),
        tear_down=lambda platform: platform.go_straight(),
        needed_by=EVERYTHING,
        bounded=True,
    )


def types_flooded() -> Fault:
    """One program sends ever new event types: it meets the limit, and nobody else notices.

    It comes last: the names that it takes are those of the whole installation.
    """
    bodies = [
        json.dumps({"events": [flooding_event(number) for number in numbers]})
        for numbers in batched(range(FLOOD_TYPES), BATCH_EVENTS)
    ]

    def flood(platform: Platform) -> None:
        accepted = 0
        for body in bodies:
            answer = platform.send(body)
            results = answer["results"]
            told = [each for each in results if LIMIT_OF_TYPES in str(each["errors"])]
            if len(told) != len(results):
                raise RuntimeError(f"a batch was answered otherwise: {results[:3]}")
            accepted += answer["accepted"]
        if accepted > MAX_TYPES:
            raise RuntimeError(f"{accepted} types were taken, over the limit of {MAX_TYPES}")

    words = f"one program sends {FLOOD_TYPES:,} event types in batches of {BATCH_EVENTS:,}"
    return Fault("types-flooded", words, flood, quiet=True, bounded=True)


def flooding_event(number: int) -> dict[str, str]:
    return {
        "event_type": f"flood.{number}",
        "event_id": str(uuid.uuid4()),
        "created_at": datetime.now(UTC).isoformat(),
    }


def heavy_erasure() -> Fault:
    """Somebody with very many events is erased, in slices, while everybody else goes on."""

    def fill(platform: Platform) -> None:
        newest = datetime.now(UTC) - timedelta(minutes=1)
        moments = (newest - timedelta(seconds=4 * number) for number in range(HEAVY_EVENTS))
        for group in batched(moments, BATCH_EVENTS):
            events = [heavy_event(moment) for moment in group]
            platform.send(json.dumps({"events": events}))

    def erase(platform: Platform) -> None:
        path = f"/analytics/users/{HEAVY_ID}/events"
        url = f"{platform.analytics_url}{path}"
        begun = requests.delete(url, headers=platform.admin(), timeout=60).json()
        url = f"{platform.analytics_url}/analytics/erasures/{begun['erasure']}"

        def is_done() -> bool:
            answer = requests.get(url, headers=platform.admin(), timeout=60)
            return bool(answer.json()["state"] == "done")

        wait_until("the erasure's end", is_done, 300, 1)

    words = f"an account's {HEAVY_EVENTS:,} events are erased"
    return Fault("heavy-erasure", words, erase, set_up=fill, quiet=True, bounded=True)


def heavy_event(moment: datetime) -> dict[str, object]:
    return {
        "event_type": "chaos.heavy",
        "event_id": str(uuid.uuid4()),
        "created_at": moment.isoformat(),
        "user_id": HEAVY_ID,
    }


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    values = iter(values)
    while group := list(itertools.islice(values, size)):
        yield group


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
    return Fault(
        "migration",
        words,
        migrate,
        take_over,
        set_up=serve_the_release_before,
        tear_down=serve_the_present_release,
        quiet=True,
    )


def before_newest_migration(home: Path) -> Path:
    """Returns the last tree that runs from before the newest analytics migration, or Missing."""
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise Missing("the clone is shallow: `git fetch --unshallow` brings the release before")
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
    """Returns what git says of the history; raises Missing where there is none to ask."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        raise Missing("git can't be had") from None
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
        database_stopped, database_killed, database_stalled, database_read_only,
    )),
    disk_full("users", log=True),
    disk_full("analytics", log=False),
    redis_gone(),
    redis_stalled(),
    partition(),
    clock_stepped("users", 40),
    clock_stepped("users", -3600),
    clock_stepped("analytics", 3600),
    clock_stepped("analytics", -3600),
    *(clock_skewed(app, sign) for app in APPS for sign in (1, -1)),
    mail_slow(),
    pgbouncer_killed(),
    heavy_erasure(),
    workers_reloaded(),
    rolling_restart(),
    migration(),
    types_flooded(),
)  # fmt: skip
