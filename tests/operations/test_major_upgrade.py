"""From one major version of PostgreSQL to the next by the commands of docs/operations.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.operations.backups import SETTINGS, Kept
from tests.operations.programs import program
from tests.servers import PostgresServer, memory
from tests.stack import ROOT, Stack, must

# In place of a container of the image, or of compose's: the command, on the machine itself.
DOCKER = """#!/bin/bash
case "$1 $2" in
    "run --rm")
        while [ "$1" != "$NEW" ]; do shift; done
        shift
        export PGHOSTADDR=127.0.0.1 PGPORT=$OLD_PORT
        ;;
    "compose exec") shift 4; export PGHOST=127.0.0.1 PGPORT=$NEW_PORT ;;
    "compose run") set -- "$6" "${@:8}" ;;
    *) exit 64 ;;
esac
words=()
for each in "$@"; do
    each=${each//\\/var\\/lib\\/postgresql\\//$HERE/}
    words+=("${each//\\/secrets\\//$HERE/}")
done
exec "${words[@]}"
"""


def commands(of: str) -> list[str]:
    """Returns the commands on the page's steps that have to do with a database, in order."""
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("### A new major version of PostgreSQL\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ {3}```\n(.*?)^ {3}```$", section, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if of in line]


def found_by_the_image(volume: Path) -> list[Path]:
    """Returns the data of other versions that has an official image refuse to start."""
    return [each for each in volume.glob("*/docker") if (each / "PG_VERSION").exists()]


@contextmanager
def server_of_17(settings: dict[str, str]) -> Iterator[PostgresServer]:
    """Runs a server of version 17, as its user can reach it."""
    fetched = program("postgresql-17").parents[1]
    home = Path(shutil.copytree(fetched, f"{memory() or '/tmp'}/footfall-postgres-17-{os.getpid()}",
                                symlinks=True))  # fmt: skip
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(servers, "programs", lambda _user: home / "bin")
            server = PostgresServer(settings)
        with server:
            yield server
    finally:
        shutil.rmtree(home)


def make_roles(server: PostgresServer, home: Path) -> None:
    """Does what the image does when it makes the data directory."""
    (home / "password").write_text("of the test")
    subprocess.run(
        ["bash", ROOT / "ops" / "postgres" / "roles.sh"],
        env={"PATH": f"{servers.programs(server.as_user)}:{os.environ['PATH']}",
             "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGDATA": str(server.data),
             "APP_DATABASE": "analytics", "APP_PASSWORD_FILE": str(home / "password"),
             "REPLICATION_PASSWORD_FILE": str(home / "password")},
        check=True, capture_output=True,
    )  # fmt: skip


def rows_of(server: PostgresServer) -> dict[str, int]:
    """Returns how many rows each table has, partitions by themselves too."""
    tables = server.execute(
        "SELECT oid::regclass::text FROM pg_class "
        "WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace",
        "analytics",
    )
    return {
        str(table): int(str(server.execute(f"SELECT count(*) FROM {table}", "analytics")[0][0]))
        for [table] in tables
    }


def url(server: PostgresServer) -> str:
    return f"postgresql://analytics@127.0.0.1:{server.port}/analytics"


def store_events(stack: Stack, headers: dict[str, str]) -> None:
    """Stores events of three months and seals the days that are over."""
    events = [
        {"event_id": f"00000000-0000-4000-8000-{n:012}", "event_type": f"type_{n % 7}",
         "user_id": n % 50 + 1, "metadata": {"plan": f"plan {n % 3}"},
         "created_at": f"2026-0{n % 3 + 1}-{n % 28 + 1:02}T12:00:00Z"}
        for n in range(2_000)
    ]  # fmt: skip
    address = f"{stack.analytics_url}/analytics/events/batch"
    answer = must("POST", address, json={"events": events}, headers=headers).json()
    assert answer["accepted"] == len(events)
    stack.flask("analytics_app", "maintain", "--once")
    stack.flask("analytics_app", "seal")


def totals(stack: Stack, headers: dict[str, str]) -> dict[str, int]:
    address = f"{stack.analytics_url}/analytics/events/by-type"
    found: list[dict[str, int]] = must("GET", address, headers=headers).json()["items"]
    return {str(each["event_type"]): each["count"] for each in found}


def carry_out(command: str, folder: Path, old: PostgresServer, new: PostgresServer) -> None:
    """Runs a command of the page, with `docker` in its place."""
    environment = {
        "PATH": f"{folder}:{servers.programs(new.as_user)}:{os.environ['PATH']}",
        "NEW": "postgres:of-the-test", "HERE": str(folder),
        "OLD_PORT": str(old.port), "NEW_PORT": str(new.port),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_database_of_17_goes_over_by_the_commands_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "analytics_db_admin_password").write_text("of the test")
    (tmp_path / "18" / "docker").mkdir(parents=True)
    (tmp_path / "18" / "docker" / "PG_VERSION").write_text("18")
    dump, move, load, analyze = commands("analytics-db")
    with server_of_17(SETTINGS) as old, Kept() as kept:
        new = kept.server
        [(version,)] = old.execute("SHOW server_version_num")
        assert str(version).startswith("17")
        for server in (old, new):
            make_roles(server, tmp_path)
        stack = Stack(analytics_database_url=url(old), parts=("users", "analytics"))
        with stack:
            headers = stack.first_account()
            store_events(stack, headers)
            before, counted = rows_of(old), totals(stack, headers)
            stack.stop("users", "analytics")

            carry_out(dump, tmp_path, old, new)
            old.stop()
            carry_out(move, tmp_path, old, new)
            assert not found_by_the_image(tmp_path)
            carry_out(load, tmp_path, old, new)
            carry_out(analyze, tmp_path, old, new)

            assert rows_of(new) == before
            assert before["events"] == 2_000
            stack.environment["ANALYTICS_DATABASE_URL"] = url(new)
            stack.flask("analytics_app", "verify")
            stack.migrate()
            stack.start("users", "analytics")
            assert totals(stack, headers) == counted
            address = f"{stack.analytics_url}/analytics/events"
            must("POST", address, json={"event_type": "type_0"}, headers=headers)
            assert totals(stack, headers) == counted | {"type_0": counted["type_0"] + 1}
        kept.receive()
        kept.must("base.sh", "full")
        kept.must("drill.sh")


def test_the_commands_for_both_databases_are_the_same() -> None:
    users = [
        line.replace("user-", "analytics-").replace("users", "analytics")
        for line in commands("user-db")
    ]
    assert len(users) == 4
    assert users == commands("analytics-db")


def test_the_receiver_stops_at_the_wal_of_another_server() -> None:
    """So what the backups hold is moved aside before they start on a new server."""
    with Kept() as kept, PostgresServer(SETTINGS) as another:
        kept.receive()
        for n in range(3):
            kept.server.execute(f"CREATE TABLE t{n} (n int)")
            kept.server.execute("SELECT pg_switch_wal()")
        servers.wait_until("the WAL's arrival", kept.received_all)
        kept.stop_receiver()
        how = kept.as_unprivileged()
        how["env"] |= {"PGPORT": str(another.port)}
        done = subprocess.run(
            ["bash", str(kept.home / "ops" / "receive.sh")],
            **how, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode != 0
        assert "ahead of the WAL flush position" in done.stderr
