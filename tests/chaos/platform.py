"""The whole platform behind its gateway, each part and each connection ours to break."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from tests.chaos.actors import PASSWORD
from tests.chaos.link import Link, Wire
from tests.chaos.tools import Disk, Missing, small_disk, start_gateway
from tests.servers import PostgresServer, end, free_port, pgbouncer, valkey, wait_until
from tests.smtp import smtp_server
from tests.stack import APPS, BIN, ROOT, WORKERS, Stack, must

DISK_MEGABYTES = 1200
SMALL = {"max_wal_size": "64MB", "min_wal_size": "32MB", "shared_buffers": "32MB"}
# What a stack otherwise lifts for its tests: here the product's own limits hold.
LIMITS = ("API_CALLS_PER_MINUTE", "REGISTRATIONS_PER_MINUTE")


class Bouncer:
    """PgBouncer before one database server, at an address that stays when it is started again."""

    def __init__(self, wire: Wire, program: Path, server_port: int) -> None:
        self.program, self.server_port = program, server_port
        self.running = ExitStack()
        self.link = Link(wire)
        self.start()

    def start(self) -> None:
        port = self.running.enter_context(pgbouncer(self.program, self.server_port))
        self.link.targets[:] = [port]

    def kill(self) -> None:
        """Ends it at once, with all its connections."""
        self.running.close()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.link.port}/{database}"


class Platform(Stack):
    """Two durable PostgreSQL servers, Valkey, all processes, links between, nginx in front."""

    def __init__(self, **settings: str) -> None:
        self.own = ExitStack()
        self.disks = {name: self.own.enter_context(small_disk(DISK_MEGABYTES)) for name in APPS[:2]}
        self.databases = {
            name: PostgresServer(SMALL, durable=True, folder=disk.folder)
            for name, disk in self.disks.items()
        }
        self.redis_port = free_port()
        self.redis: subprocess.Popen[bytes] | None = None
        self.mail = self.own.enter_context(smtp_server())
        mail = {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.mail.port),
            "SMTP_SECURITY": "none",
        }
        urls = {name: server.url(name) for name, server in self.databases.items()}
        redis = {"REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0"}
        super().__init__(
            users_database_url=urls["users"], analytics_database_url=urls["analytics"],
            settings={**redis, **mail, "TRUSTED_PROXIES": "1", **settings},
        )  # fmt: skip
        for limit in LIMITS:
            if limit not in settings:
                del self.environment[limit]
        self.wire = wire = self.own.enter_context(Wire())
        self.bouncers: dict[str, Bouncer] = {}
        # What stands for each app's load balancer, and the two ways between the services.
        self.balancers = {app: Link(wire, self.ports[app]) for app in APPS}
        self.to_analytics = Link(wire, self.balancers["analytics"].port)
        self.to_users = Link(wire, self.balancers["users"].port)
        self.environment["USERS_URL"] = self.balancers["users"].url
        self.environment["ANALYTICS_URL"] = self.balancers["analytics"].url
        self.extra: dict[str, dict[str, str]] = {
            "users": {"ANALYTICS_URL": self.to_analytics.url},
            "relay": {"ANALYTICS_URL": self.to_analytics.url},
            "analytics": {"USERS_URL": self.to_users.url},
        }
        self.folders: dict[str, Path] = {}
        self.gateway: subprocess.Popen[bytes] | None = None
        self.without = ""

    def __enter__(self) -> Platform:
        try:
            self.set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def set_up(self) -> None:
        for name, server in self.databases.items():
            self.own.enter_context(server)
            server.execute(f"CREATE DATABASE {name}")
        # Where they can't be had the dashboard says so, and works for those without JavaScript.
        subprocess.run([sys.executable, "-m", "ops.browser_libraries"], cwd=ROOT, check=False)
        self.start_redis()
        self.own.callback(self.stop_redis)
        self.migrate()
        self.open_gateway()
        self.start()
        self.make_admin()

    def __exit__(self, *_: Any) -> None:
        for server in self.databases.values():
            server.signal_all(signal.SIGCONT)
        self.stop()
        if self.gateway:
            end(self.gateway)
        self.own.close()
        self.folder.cleanup()

    def start_redis(self) -> None:
        """Starts Valkey, empty, on its usual port."""
        running = valkey(self.redis_port)
        self.redis = running.__enter__()[1]
        self.close_redis = running.__exit__

    def stop_redis(self) -> None:
        self.close_redis(None, None, None)

    def open_gateway(self) -> None:
        """Puts the shipped nginx in front; without nginx, the balancers are what clients see."""
        ports = {app: free_port() for app in APPS}
        routes = {ports[app]: self.balancers[app].port for app in APPS}
        try:
            self.home.chmod(0o711)  # nginx's workers are nobody, and keep large bodies below it
            self.gateway = start_gateway(self.home, routes)
        except Missing as reason:
            self.without = str(reason)
            ports = {app: self.balancers[app].port for app in APPS}
        self.address(ports)

    def address(self, ports: dict[str, int]) -> None:
        """Sets where clients find the apps."""
        self.users_url, self.analytics_url, self.dashboard_url = (
            f"http://127.0.0.1:{ports[app]}" for app in APPS
        )
        self.environment["PUBLIC_URL"] = self.dashboard_url

    def start(self, *names: str) -> None:
        """Starts parts, each with what is its own, and waits until the apps are ready."""
        for name in names or self.parts:
            environment = {**self.environment, **self.extra.get(name, {})}
            folder = self.folders.get(name, ROOT)
            environment["PYTHONPATH"] = str(folder)
            with (self.home / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    self.command(name), cwd=folder, env=environment, stdout=log, stderr=log
                )
        for name in names or self.parts:
            if name in self.ports:
                wait_until(f"{name}'s start", lambda name=name: self.is_healthy(name), 60)

    def command(self, name: str) -> list[str | Path]:
        app = name.partition("-")[0]
        if app in APPS:
            return [BIN / "gunicorn", "--bind", f"127.0.0.1:{self.ports[name]}",
                    f"{app}_app:create_app()"]  # fmt: skip
        return [BIN / "flask", "--app", *WORKERS[app].split()]

    def twin(self, app: str, suffix: str = "2") -> str:
        """Starts a second instance of an app and returns its name; nothing is sent there yet."""
        name = f"{app}-{suffix}"
        self.ports[name] = free_port()
        self.extra[name] = {**self.extra.get(app, {}), **self.extra.get(name, {})}
        self.start(name)
        return name

    def make_admin(self) -> None:
        body = {"email": "keeper@example.com", "username": "keeper", "password": PASSWORD}
        must("POST", f"{self.users_url}/users", json=body)

    def admin_token(self) -> str:
        """Returns the access token of a freshly signed-in admin."""
        form = {"grant_type": "password", "username": "keeper", "password": PASSWORD}
        token: str = must("POST", f"{self.users_url}/token", data=form).json()["access_token"]
        return token

    def admin(self) -> dict[str, str]:
        """Returns the headers of a freshly signed-in admin."""
        return {"Authorization": f"Bearer {self.admin_token()}"}

    def mails_to(self, address: str) -> list[tuple[str, str]]:
        """Returns the Message-ID and the text of each mail that was taken for an address."""
        return [
            (each.message["Message-ID"], each.message.get_content())
            for each in list(self.mail.taken)
            if address in each.recipients
        ]

    def new_key(self) -> str:
        """Returns an API key that may write events and read all of them."""
        body = {"name": "chaos", "scopes": ["events:write", "events:read"]}
        url = f"{self.analytics_url}/analytics/api-keys"
        answer = requests.post(url, json=body, headers=self.admin(), timeout=20)
        key: str = answer.json()["key"]
        return key

    def send(self, batch: str) -> dict[str, Any]:
        """Stores a batch, given as JSON, again after a 503."""
        headers = {"Authorization": f"Bearer {self.bulk_key}", "Content-Type": "application/json"}
        url = f"{self.analytics_url}/analytics/events/batch"
        answer = must("POST", url, data=batch, headers=headers, timeout=60)
        found: dict[str, Any] = answer.json()
        return found

    @cached_property
    def bulk_key(self) -> str:
        return self.new_key()

    def go_through(self, pgbouncer: Path) -> None:
        """Puts PgBouncer between all parts and their databases."""
        for name, server in self.databases.items():
            self.bouncers[name] = Bouncer(self.wire, pgbouncer, server.port)
            self.environment[f"{name.upper()}_DATABASE_URL"] = self.bouncers[name].url(name)
        self.stop(*self.parts)
        self.start()

    def go_straight(self) -> None:
        """Takes PgBouncer away again."""
        self.stop(*self.parts)
        for name, server in self.databases.items():
            self.environment[f"{name.upper()}_DATABASE_URL"] = server.url(name)
            self.bouncers.pop(name).kill()
        self.start()

    def is_well(self) -> bool:
        """Whether everybody would be served: all that the apps depend on is well."""
        try:
            return all(
                state == "ok"
                for url in (self.users_url, self.analytics_url, self.dashboard_url)
                for name, state in requests.get(f"{url}/health", timeout=2).json()["checks"].items()
                if name != "browser_libraries"
            )
        except (requests.RequestException, ValueError, KeyError):
            return False

    def outbox(self, gauge: str = "outbox_pending") -> float:
        """Returns one of the outbox's figures, from the users service itself."""
        text = requests.get(f"http://127.0.0.1:{self.ports['users']}/metrics", timeout=5).text
        line = re.search(rf"^{gauge}(?:\{{.*\}})? ([\d.]+)", text, re.MULTILINE)
        return float(line[1]) if line else -1.0

    def disk(self, name: str) -> Disk:
        return self.disks[name]
