"""Alertmanager as its start script sets it up, and an alert on its way to those who are told."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
import yaml

from tests.operations.programs import alertmanager as runnable_alertmanager
from tests.operations.programs import output, program, running
from tests.servers import free_port, wait_until
from tests.smtp import Delivery, SmtpServer
from tests.smtp import running as running_smtp
from tests.stack import ROOT

OURS = ROOT / "ops" / "alertmanager"
RULES = ROOT / "ops" / "prometheus" / "rules.yml"
MAIL = {
    "ALERT_EMAIL_TO": "ops@example.com, O'Brien@example.com",
    "SMTP_HOST": "mail.example.com",
    "MAIL_FROM": "Footfall <footfall@example.com>",
}
LOGIN = {**MAIL, "SMTP_USERNAME": "it's: {me}"}
IMPLICIT = {"SMTP_SECURITY": "tls", "SMTP_PORT": "465"}
MAILS = [{}, MAIL, LOGIN, LOGIN | IMPLICIT, MAIL | {"SMTP_SECURITY": "none", "SMTP_PORT": "25"}]
URLS = {
    "alert_webhook_url": "https://hooks.example.com/token-a\n",
    "alert_slack_url": "https://slack.example.com/token-b\n",
}
WAYS = list(itertools.product([True, False], repeat=2))
PASSWORD = "it's a password"


@dataclass
class Place:
    """Where the script runs: its secrets, what it writes, and an Alertmanager to become."""

    folder: Path
    alertmanager: Path = Path("/bin/true")
    scripts: Path = OURS

    def __post_init__(self) -> None:
        for name in ("bin", "secrets", "data"):
            (self.folder / name).mkdir()
        (self.folder / "bin" / "alertmanager").symlink_to(self.alertmanager)

    @property
    def configuration(self) -> Path:
        return self.folder / "run" / "alertmanager.yml"

    def command(self, *words: str) -> list[str]:
        return ["sh", str(self.scripts / "start.sh"), *words]

    def environment(self, settings: dict[str, str], secrets: dict[str, str]) -> dict[str, str]:
        for name, text in secrets.items():
            (self.folder / "secrets" / name).write_text(text)
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "SECRETS_DIR": f"{self.folder}/secrets",
            "RUN_DIR": f"{self.folder}/run",
            "DATA_DIR": f"{self.folder}/data",
            **settings,
        }

    def start(
        self, settings: dict[str, str], secrets: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Runs the script to its end, with a program in place of Alertmanager that does nothing."""
        return subprocess.run(
            self.command(), env=self.environment(settings, secrets),
            check=False, capture_output=True, text=True,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("mail", MAILS, ids=["none", "mail", "login", "tls", "plain"])
@pytest.mark.parametrize("urls", WAYS, ids=str)
def test_amtool_accepts_what_is_written_for_each_way_to_be_told(
    place: Place, mail: dict[str, str], urls: tuple[bool, bool]
) -> None:
    given = {name: URLS[name] if wanted else "" for name, wanted in zip(URLS, urls, strict=True)}
    done = place.start(mail, given | {"smtp_password": PASSWORD})
    assert done.returncode == 0, done.stderr
    output(program("amtool"), "check-config", place.configuration)
    document = yaml.safe_load(place.configuration.read_text())
    [receiver] = document["receivers"]
    ways = {"email_configs": bool(mail), "webhook_configs": urls[0], "slack_configs": urls[1]}
    assert set(receiver) == {"name"} | {way for way, wanted in ways.items() if wanted}
    assert ("nobody is told" in done.stdout) == (not any(ways.values()))
    for secret in (*URLS.values(), PASSWORD):
        assert secret.strip() not in place.configuration.read_text() + done.stdout
    assert place.configuration.stat().st_mode & 0o077 == 0


def test_a_mail_is_sent_as_the_settings_say(place: Place) -> None:
    assert place.start(LOGIN | IMPLICIT, {"smtp_password": PASSWORD}).returncode == 0
    [email] = yaml.safe_load(place.configuration.read_text())["receivers"][0]["email_configs"]
    assert email["to"] == MAIL["ALERT_EMAIL_TO"]
    assert email["from"] == MAIL["MAIL_FROM"]
    assert email["smarthost"] == "mail.example.com:465"
    assert email["auth_username"] == LOGIN["SMTP_USERNAME"]
    assert email["auth_password_file"].endswith("/secrets/smtp_password")


@pytest.mark.parametrize(
    ("settings", "secrets", "complaint"),
    [
        ({"ALERT_EMAIL_TO": "ops"}, {}, "ALERT_EMAIL_TO: 'ops' is not an email address"),
        ({"ALERT_EMAIL_TO": "a@b.c,"}, {}, ""),
        ({"ALERT_EMAIL_TO": "a@b.c,,d@e.f"}, {}, "ALERT_EMAIL_TO: '' is not an email address"),
        ({"ALERT_EMAIL_TO": "a@b@c"}, {}, "ALERT_EMAIL_TO: 'a@b@c' is not an email address"),
        ({"ALERT_EMAIL_TO": "a b@c.d"}, {}, "ALERT_EMAIL_TO: 'a b@c.d' is not an email address"),
        ({"SMTP_HOST": ""}, {}, "ALERT_EMAIL_TO needs SMTP_HOST, the mail server that sends the"),
        ({"SMTP_HOST": "http://m"}, {}, "SMTP_HOST: 'http://m' is not a host name"),
        ({"MAIL_FROM": "Footfall"}, {}, "MAIL_FROM: 'Footfall' is not an email address"),
        ({"MAIL_FROM": "{{ x }} <a@b.c>"}, {}, "MAIL_FROM: '{{ x }} <a@b.c>' is not an email"),
        ({"SMTP_PORT": "smtp"}, {}, "SMTP_PORT must be a number from 1 to 65535"),
        ({"SMTP_PORT": "65536"}, {}, "SMTP_PORT must be a number from 1 to 65535"),
        ({"SMTP_PORT": "465"}, {}, "SMTP_PORT=465 needs SMTP_SECURITY=tls"),
        ({"SMTP_SECURITY": "tls"}, {}, "SMTP_SECURITY=tls needs SMTP_PORT=465"),
        ({"SMTP_SECURITY": "ssl"}, {}, "SMTP_SECURITY must be starttls, tls or none"),
        ({"SMTP_USERNAME": "me"}, {}, "SMTP_USERNAME needs the secret smtp_password"),
        ({}, {"alert_webhook_url": "ftp://x"}, "the secret alert_webhook_url must be a URL that"),
        ({}, {"alert_slack_url": "https:/x"}, "the secret alert_slack_url must be a URL that"),
        ({}, {"alert_slack_url": "http://a\nhttp://b"}, "the secret alert_slack_url must be one"),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_named(
    place: Place, settings: dict[str, str], secrets: dict[str, str], complaint: str
) -> None:
    done = place.start(MAIL | settings, secrets)
    if complaint:
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith(f"alertmanager: {complaint}"), done.stderr
        assert done.stderr.count("\n") == 1
        assert not any(text in done.stderr for text in secrets.values())
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_all_that_is_wrong_is_named_at_once(place: Place) -> None:
    done = place.start({"ALERT_EMAIL_TO": "ops"}, {"alert_slack_url": "x"})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 3


def test_what_silences_and_what_is_silenced_are_alerts_that_there_are() -> None:
    files = [path.read_text() for path in RULES.parent.glob("*rules.yml")]
    alerts = {name for text in files for name in re.findall(r"- alert: (\w+)", text)}
    rules = yaml.safe_load((OURS / "alertmanager.yml").read_text())["inhibit_rules"]
    matchers = [each for rule in rules for each in rule["source_matchers"]]
    matchers += [each for rule in rules for each in rule["target_matchers"]]
    named = [name for each in matchers for name in re.findall(r'"(.*)"', each)[0].split("|")]
    assert len(named) > 6
    assert set(named) <= alerts


@dataclass
class World:
    """Who is told, and the app that something is wrong with."""

    smtp: SmtpServer
    port: int = 0
    dead: int = 2
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def posted(self, path: str) -> list[dict[str, Any]]:
        return [body for where, body in self.posts if where == path]

    def mail(self, status: str) -> Delivery | None:
        found = (each for each in self.smtp.taken if status in each.message["Subject"])
        return next(found, None)


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Answers as the app's metrics, and keeps what is posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(f"outbox_dead {world.dead}\n".encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            world.posts.append((self.path, json.loads(body)))
            self.answer(b"ok")

        def answer(self, octets: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        world.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def our_prometheus(folder: Path, app: int, alertmanager: int) -> Path:
    """Writes our configuration with one app, one of our alerts and no patience."""
    document = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text())
    rules = [
        {**rule, "for": "0s"}
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "OutboxHasDeadMessages"
    ]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": rules}]}))
    document["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
    document["global"]["scrape_timeout"] = "200ms"
    [[manager]] = [each["static_configs"] for each in document["alerting"]["alertmanagers"]]
    manager["targets"] = [f"127.0.0.1:{alertmanager}"]
    [users] = [each for each in document["scrape_configs"] if each["job_name"] == "users"]
    users["static_configs"] = [{"targets": [f"127.0.0.1:{app}"]}]
    document["scrape_configs"] = [users]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(document))
    return path


def without_patience(folder: Path) -> Path:
    """Returns a copy of our files in which nobody waits to tell or to tell again."""
    copy = folder / "scripts"
    shutil.copytree(OURS, copy)
    path = copy / "alertmanager.yml"
    path.write_text(re.sub(r"(group_wait|group_interval): \S+", r"\1: 100ms", path.read_text()))
    return copy


class Alertmanager:
    """A running one, started by our script."""

    def __init__(self, world: World, port: int) -> None:
        self.world, self.url = world, f"http://127.0.0.1:{port}"

    def ask(self, path: str) -> Any:
        answer = requests.get(f"{self.url}/api/v2/{path}", timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=10).ok
        except requests.RequestException:
            return False

    def send(self, *alerts: dict[str, str]) -> None:
        body = [{"labels": each, "annotations": {"summary": "s"}} for each in alerts]
        assert requests.post(f"{self.url}/api/v2/alerts", json=body, timeout=10).ok


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    folder = tmp_path_factory.mktemp("told")
    binary, prometheus = runnable_alertmanager(folder), program("prometheus")
    with ExitStack() as until_the_end:
        world = World(until_the_end.enter_context(running_smtp(SmtpServer())))
        until_the_end.enter_context(listening(world))
        place = Place(folder, binary, without_patience(folder))
        port, other = free_port(), free_port()
        settings = MAIL | {
            "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(world.smtp.port), "SMTP_SECURITY": "none",
            "SMTP_USERNAME": "footfall",
        }  # fmt: skip
        secrets = {
            "alert_webhook_url": f"http://127.0.0.1:{world.port}/hook\n",
            "alert_slack_url": f"http://127.0.0.1:{world.port}/slack\n",
            "smtp_password": PASSWORD,
        }
        until_the_end.enter_context(
            running(
                place.command(f"--web.listen-address=127.0.0.1:{port}"),
                folder / "alertmanager.log", env=place.environment(settings, secrets),
            )
        )  # fmt: skip
        until_the_end.enter_context(
            running(
                [prometheus, f"--config.file={our_prometheus(folder, world.port, port)}",
                 f"--storage.tsdb.path={folder}/metrics",
                 f"--web.listen-address=127.0.0.1:{other}"],
                folder / "prometheus.log",
            )
        )  # fmt: skip
        manager = Alertmanager(world, port)
        wait_until("Alertmanager's start", manager.is_ready)
        yield manager


RUNBOOK = "docs/runbooks.md#outboxhasdeadmessages"


def test_an_alert_is_told_by_every_way_and_so_is_its_end(alertmanager: Alertmanager) -> None:
    world = alertmanager.world
    for status, dead in (("firing", 2), ("resolved", 0)):
        world.dead = dead
        wait_until(f"the webhook, {status}", lambda s=status: bool(hooks(world, s)))  # type: ignore[misc]
        wait_until(f"the mail, {status}", lambda s=status: bool(world.mail(s.upper())))  # type: ignore[misc]
        wait_until(f"Slack, {status}", lambda s=status: bool(slacks(world, s)))  # type: ignore[misc]
        [alert] = hooks(world, status)[0]["alerts"]
        assert alert["labels"] == {
            "alertname": "OutboxHasDeadMessages", "severity": "ticket", "job": "users",
        }  # fmt: skip
        assert alert["annotations"]["summary"].startswith("2 messages were refused")
        assert alert["annotations"]["runbook"] == RUNBOOK
        mail = world.mail(status.upper())
        assert mail is not None
        assert mail.recipients == ["ops@example.com", "O'Brien@example.com"]
        assert mail.message["From"] == MAIL["MAIL_FROM"]
        assert mail.message["Subject"].endswith("Footfall: OutboxHasDeadMessages (ticket)")
        text = mail.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
        told = slacks(world, status)[0]
        assert told["title"] == mail.message["Subject"]
        for each in (text, told["text"]):
            assert f"{status.upper()} since 20" in each
            assert "2 messages were refused" in each
            assert f"Runbook: {RUNBOOK}" in each
    assert world.smtp.logins


def hooks(world: World, status: str) -> list[dict[str, Any]]:
    return [
        each
        for each in world.posted("/hook")
        if each["status"] == status and each["groupLabels"]["alertname"] == "OutboxHasDeadMessages"
    ]


def slacks(world: World, status: str) -> list[dict[str, Any]]:
    found = [each["attachments"][0] for each in world.posted("/slack")]
    return [each for each in found if each["title"].startswith(f"[{status.upper()}")]


def test_a_service_that_is_down_silences_its_symptoms_and_nothing_else(
    alertmanager: Alertmanager,
) -> None:
    down = {"alertname": "ServiceDown", "severity": "page", "job": "analytics"}
    symptom = {**down, "alertname": "LatencyBudgetBurnsFast"}
    alertmanager.send(down, symptom, {**symptom, "job": "dashboard"})

    def silenced() -> set[tuple[str, str]]:
        return {
            (each["labels"]["alertname"], each["labels"]["job"])
            for each in alertmanager.ask("alerts?silenced=false")
            if each["status"]["inhibitedBy"]
        }

    wait_until("the symptom's silence", lambda: bool(silenced()))
    assert silenced() == {("LatencyBudgetBurnsFast", "analytics")}


def test_alertmanager_shows_no_secret(alertmanager: Alertmanager) -> None:
    shown = alertmanager.ask("status")["config"]["original"]
    assert "operator" in shown
    for secret in (PASSWORD, "/hook", "/slack"):
        assert secret not in shown
