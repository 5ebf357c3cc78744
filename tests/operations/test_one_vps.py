"""docs/one-vps.md: its settings, its commands and its curl lines, as they stand."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from itertools import takewhile
from pathlib import Path

import pytest

from tests.integration.test_readme import objects_in
from tests.operations.gateway import Gateway, self_signed
from tests.operations.test_compose import given_to, resolved
from tests.operations.test_https import NAMES, Front
from tests.stack import BIN, ROOT, Stack, must
from tests.test_architecture import documented_settings

PAGE = (ROOT / "docs" / "one-vps.md").read_text()
PASSWORD = "a quiet walk & 100% dawn"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def settings() -> dict[str, str]:
    [text] = blocks("ini")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("docker ", "ops/"))]


def test_the_settings_are_ours_and_each_reaches_a_container(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(blocks("ini")[0])
    found = resolved(env_file=path)["services"]
    assert {"caddy", "user-backup", "analytics-backup"} <= set(found)
    given = settings()
    assert given.keys() - documented_settings() == {"COMPOSE_PROFILES"}
    for name in given.keys() & documented_settings():
        assert any(given_to(each).get(name) == given[name] for each in found.values()), name
    assert given_to(found["users"])["PUBLIC_URL"] == f"https://{given['DASHBOARD_HOST']}"


def test_the_ports_on_loopback_are_the_ones_it_names(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(blocks("ini")[0])
    ports = [
        port for each in resolved(env_file=path)["services"].values()
        for port in each.get("ports", [])
    ]  # fmt: skip
    open_to_all = {port["published"] for port in ports if port["host_ip"] != "127.0.0.1"}
    [named] = re.findall(r"the rest \(([\d, ]+)\) is on loopback", PAGE)
    assert open_to_all == {"80", "443"}
    assert {port["published"] for port in ports} - open_to_all == set(named.split(", "))


def test_the_commands_name_services_commands_and_files_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(blocks("ini")[0])
    services = resolved(env_file=path)["services"]
    seen = set()
    with Stack(parts=()) as stack:
        for words in commands():
            seen.add(words[0])
            if words[0] != "docker":
                assert os.access(ROOT / words[0], os.X_OK)
            elif words[2] in ("exec", "logs"):
                assert words[3] in services
            if "flask" in words:
                arguments = words[words.index("flask") + 1 :]
                options = {each for each in arguments[2:] if each.startswith("--")}
                named = list(takewhile(lambda each: not each.startswith("--"), arguments[2:]))
                told = stack.run(BIN / "flask", *arguments[:2], *named, "--help")
                assert options <= set(re.findall(r"--[a-z-]+", told))
    assert seen == {"docker", "ops/make-secrets.sh"}
    secrets = {Path(each["file"]).name for each in resolved()["secrets"].values()}
    assert set(re.findall(r"var/compose-secrets/(\w+)", PAGE)) <= secrets


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_lines_are_true_through_caddy_and_the_gateway(tmp_path: Path) -> None:
    [lines] = re.findall(r"<!-- These lines are run by .*?-->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    given = settings()
    names = {name: given[name] for name in NAMES}
    folders = [tmp_path / each for each in ("users", "analytics", "caddy")]
    for each in folders:
        each.mkdir()
    certificates = self_signed(tmp_path, ",".join(f"DNS:{each}" for each in names.values()))
    with (
        Stack(parts=("users", "analytics"), settings={"TRUSTED_PROXIES": "1"}) as stack,
        Gateway(stack.ports["users"], folders[0]) as users,
        Gateway(stack.ports["analytics"], folders[1]) as analytics,
        Front(
            folders[2], certificates, (1, users.proxied_port, analytics.proxied_port), hosts=names
        ) as front,
    ):
        account = {"email": "you@example.com", "username": "you", "password": PASSWORD}
        must("POST", f"{stack.users_url}/users", json=account)
        # In place of DNS and of an authority that everybody knows; the lines are as they stand.
        (tmp_path / ".curlrc").write_text(
            f'connect-to = "::127.0.0.1:{front.port}"\n'
            f'cacert = "{certificates / "tls.crt"}"\nnoproxy = "*"\n'
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PASSWORD": PASSWORD},
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    event, summary, invite = objects_in(done.stdout)
    assert event["metadata"] == {"amount": 49}
    assert summary["events_by_type"]["order_placed"] == 1  # type: ignore[index]
    assert invite["email"] == "friend@example.com"
