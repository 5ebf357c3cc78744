"""The platform on a machine as it is found: its proxies, its /tmp, its addresses, its disks."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.test_make_run import Runner
from tests.integration.users_service import PASSWORD, Api
from tests.servers import end, wait_until
from tests.stack import ROOT, Stack

NOWHERE = "http://127.0.0.1:9"
PROXIES = {name: NOWHERE for each in ("http_proxy", "https_proxy", "all_proxy")
           for name in (each, each.upper())}  # fmt: skip


def straight() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def wait_for_the_relay(stack: Stack) -> None:
    """Returns when a registration and a sign-in have been told to analytics."""
    users = Api(stack.users_url)
    account = users.register("ada").json()
    bearer = {"Authorization": f"Bearer {users.tokens('ada')['access_token']}"}
    mine = f"{stack.analytics_url}/analytics/users/{account['id']}/events"

    def told() -> bool:
        answer = requests.get(mine, headers=bearer, timeout=5)
        return answer.ok and len(answer.json()["items"]) >= 2

    wait_until("the relay's events", told, 30)


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


def test_no_call_between_our_own_goes_by_a_proxy_or_a_password_file() -> None:
    settings = {**PROXIES, "REQUESTS_CA_BUNDLE": "/nowhere/ca.pem", "CURL_CA_BUNDLE": "/nowhere"}
    stack = Stack(settings=settings)
    (stack.home / ".netrc").write_text("machine 127.0.0.1 login mallory password x\n")
    (stack.home / ".netrc").chmod(0o600)
    with stack:
        wait_for_the_relay(stack)
        health = requests.get(f"{stack.dashboard_url}/health", timeout=5).json()
        assert health["status"] == "ok", health
        for app in ("users", "analytics", "dashboard"):
            stack.environment["PORT"] = str(stack.ports[app])
            stack.run(sys.executable, "ops/healthcheck.py")


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    made = Runner(tmp_path)
    yield made
    if made.process:
        end(made.process)


def test_make_run_and_the_demos_sign_in_need_no_proxy(runner: Runner) -> None:
    runner.environment |= PROXIES
    runner.start()
    runner.wait_for("Footfall is running")
    home = Path(runner.environment["HOME"]) / "var"
    ports = runner.ports
    given = {**runner.environment, "PYTHONPATH": str(ROOT),
             "USERS_URL": f"http://127.0.0.1:{ports['USERS_PORT']}"}  # fmt: skip
    asked = "from pathlib import Path; import sys; sys.path.insert(0, 'ops'); import demo;"
    asked += f"print(demo.admin_token(Path({str(home)!r})))"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, env=given, capture_output=True, text=True
    )
    assert done.stdout.count(".") == 2, done.stderr


@pytest.mark.parametrize(
    ("host", "address"),
    [
        pytest.param("::1", "[::1]", marks=ipv6),
        pytest.param("[::1]", "[::1]", marks=ipv6),
        pytest.param("::", "[::1]", marks=ipv6),
        ("localhost", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("0.0.0.0", "localhost"),
        ("", "localhost"),
    ],
)
def test_it_listens_where_it_is_told_and_prints_the_address(
    runner: Runner, host: str, address: str
) -> None:
    runner.environment["BIND_HOST"] = host
    runner.start()
    port = runner.ports["DASHBOARD_PORT"]
    runner.wait_for(f"Footfall is running: http://{address}:{port}")
    session = straight()
    assert session.get(f"http://{address}:{port}/login", timeout=5).status_code == 200
    users = f"http://{address}:{runner.ports['USERS_PORT']}"
    body = {"email": "a@example.com", "username": "ada", "password": PASSWORD}
    account = session.post(f"{users}/users", json=body, timeout=9).json()
    everywhere = host in ("::", "0.0.0.0")
    assert account["role"] == ("viewer" if everywhere else "admin")
    health = session.get(f"http://{address}:{port}/health", timeout=5).json()
    assert health["status"] == "ok", health
    checked = {**runner.environment, "PORT": str(port)}
    done = subprocess.run([sys.executable, "ops/healthcheck.py"], cwd=ROOT, env=checked)
    assert done.returncode == 0


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_somebody_else_is_one_sentence(runner: Runner, host: str) -> None:
    runner.environment["BIND_HOST"] = host
    done = runner.run_to_its_end()
    assert done.returncode == 1
    assert done.stderr.startswith(f"footfall: BIND_HOST={host} can't be listened on: ")
    assert done.stderr.count("\n") == 1


def snapshot(tree: Path) -> dict[str, float]:
    return {str(path): path.lstat().st_mtime for path in tree.rglob("*")}


def copied_tree(folder: Path) -> Path:
    """Returns a copy of what is shipped, without what is made."""
    made = shutil.ignore_patterns("var", ".git", ".venv", "__pycache__", ".*_cache", "benchmarks")
    return Path(shutil.copytree(ROOT, folder / "tree", ignore=made, symlinks=True))


def test_a_home_elsewhere_leaves_the_tree_as_it_was(runner: Runner, tmp_path: Path) -> None:
    tree = copied_tree(tmp_path)
    libraries = tmp_path / "libraries"
    shutil.copytree(ROOT / "var" / "browser", libraries)
    before, elsewhere = snapshot(tree), tmp_path / "work"
    elsewhere.mkdir()
    runner.environment |= {"BROWSER_DIR": str(libraries), "TMPDIR": str(tmp_path / "tmp"),
                           "WEB_MAX_REQUESTS": "5"}  # fmt: skip
    (tmp_path / "tmp").mkdir()
    runner.process = subprocess.Popen(
        [sys.executable, "-B", str(tree / "ops" / "run.py"), "--home", "my own home"],
        cwd=elsewhere, env=runner.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    runner.wait_for("Footfall is running")
    body = {"email": "a@example.com", "username": "ada", "password": PASSWORD}
    session = straight()
    assert session.post(f"{runner.users_url}/users", json=body, timeout=9).status_code == 201
    asked = session.post(f"{runner.users_url}/password-reset", json={"email": "a@example.com"})
    assert asked.status_code < 300
    home = elsewhere / "my own home"
    wait_until("the mail", lambda: any((home / "mail").glob("*.eml")), 20)
    runner.process.terminate()
    runner.process.wait(10)
    changed = {
        path: moment
        for path, moment in snapshot(tree).items()
        if before.get(path) != moment and Path(path).name != "__pycache__"
    }
    assert changed == {}
    assert {each.name for each in elsewhere.iterdir()} == {"my own home"}
    names = {each.name for each in home.iterdir()}
    assert {"users.db", "analytics.db", "secrets", "assets", "metrics", "mail"} <= names
    assert list((tmp_path / "tmp").iterdir()) == [], "nor is anything left in /tmp"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: Path("/proc/nowhere"), "No such file or directory"),
        (a_file, "File exists"),
        (lambda folder: a_file(folder) / "below", "Not a directory"),
        (lambda folder: folder / "what?", "leave out the ?"),
    ],
)
def test_a_home_that_can_not_be_written_is_one_sentence(
    runner: Runner, tmp_path: Path, make: Any, reason: str
) -> None:
    runner.command[-1] = str(make(tmp_path))
    done = runner.run_to_its_end()
    assert done.returncode == 1
    assert done.stderr.startswith("footfall: the home ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def a_link(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


UNUSABLE = [os.mkfifo, Path.mkdir, a_link]


@pytest.mark.parametrize("make", UNUSABLE)
def test_a_sign_of_life_that_can_not_be_left_ends_no_worker(tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "signs"
    folder.mkdir()
    for name in ("relay", "maintenance"):
        make(folder / name)
    with Stack(settings={"LIVENESS_DIR": str(folder)}) as stack:
        wait_for_the_relay(stack)
        time.sleep(1)  # some rounds more, which would log again
        for name in ("relay", "maintenance"):
            assert stack.processes[name].poll() is None
            assert stack.log(name).count("the sign of life can't be left") == 1
        assert not (folder / "victim").exists()
        for name in ("relay", "maintenance"):
            with pytest.raises(RuntimeError):
                stack.run(sys.executable, "ops/healthcheck.py", name)


def test_workers_leave_a_sign_of_life_in_a_folder_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "signs"
    with Stack(settings={"LIVENESS_DIR": str(folder)}) as stack:
        for name in ("relay", "maintenance"):
            wait_until("its sign", (folder / name).is_file, 20)
            stack.run(sys.executable, "ops/healthcheck.py", name)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
