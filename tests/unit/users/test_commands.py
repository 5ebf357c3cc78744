"""The commands: what they do, and that their errors are one clear sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from tests.unit.users.conftest import PASSWORD, MakeApp, Person, mentions
from tests.unit.users.receiver import StandIn
from users_app.keys import new_key_pem


@pytest.fixture
def analytics() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.close()


@pytest.fixture
def app(make_app: MakeApp, analytics: StandIn) -> Flask:
    """Returns the app beside a stand-in for analytics."""
    return make_app(analytics_url=analytics.url, first_account_is_admin=False)


def run(app: Flask, *words: str, typed: str = "") -> Result:
    return app.test_cli_runner().invoke(args=list(words), input=typed)


def admin(app: Flask, *more: str, typed: str = f"{PASSWORD}\n") -> Result:
    words = ["create-admin", "--email", "root@example.com", "--username", "root"]
    return run(app, *words, *(more or ["--password-stdin"]), typed=typed)


def test_create_admin_makes_an_account_that_signs_in(app: Flask) -> None:
    assert admin(app).exit_code == 0
    sign_in = {"username": "root", "password": PASSWORD}
    user = app.test_client().post("/login", json=sign_in).get_json()["user"]
    assert (user["role"], user["email"]) == ("admin", "root@example.com")


def test_create_admin_asks_twice_for_the_password_and_shows_it_never(app: Flask) -> None:
    done = run(
        app, "create-admin", "--email", "a@b.test", "--username", "root",
        typed=f"{PASSWORD}\n{PASSWORD}\n",
    )  # fmt: skip
    assert done.exit_code == 0
    assert PASSWORD not in done.output


@pytest.mark.parametrize(
    ("more", "typed", "said"),
    [
        (("--password-stdin",), "short\n", "must have 8 to 128 characters"),
        (("--password-stdin",), "password1\n", "tried first"),
        (("--password-stdin", "--email", "nobody"), f"{PASSWORD}\n", "must be an email address"),
        (("--password-stdin", "--username", "a b"), f"{PASSWORD}\n", "must begin with a letter"),
    ],
)
def test_create_admin_says_what_is_wrong(
    app: Flask, more: tuple[str, ...], typed: str, said: str
) -> None:
    done = admin(app, *more, typed=typed)
    assert done.exit_code != 0
    assert said in done.output
    assert "Traceback" not in done.output


def test_create_admin_names_what_is_taken(app: Flask) -> None:
    admin(app)
    done = admin(app)
    assert done.exit_code != 0
    assert "Email and username are taken" in done.output


def test_the_outbox_is_listed_without_personal_data(app: Flask) -> None:
    Person(app.test_client(), "ada")
    rows = [json.loads(line) for line in run(app, "outbox", "list").output.splitlines()]
    assert [row["event_type"] for row in rows] == ["user_registered", "user_logged_in"]
    assert not mentions(rows, "ada")
    assert run(app, "outbox", "list", "--dead").output == ""


def test_the_outbox_is_drained(app: Flask, analytics: StandIn) -> None:
    Person(app.test_client(), "ada")
    done = run(app, "outbox", "drain")
    assert (done.exit_code, done.output.strip()) == (0, "The outbox is empty.")
    assert len(analytics.stored) == 2


def test_a_drain_that_gets_nowhere_fails_and_says_how_much_is_left(
    app: Flask, analytics: StandIn
) -> None:
    Person(app.test_client(), "ada")
    analytics.decide = lambda *_: (503, {}, {})
    done = run(app, "outbox", "drain", "--timeout", "1")
    assert done.exit_code != 0
    assert "2 messages still wait" in done.output


def test_dead_messages_are_requeued_by_id_or_all(app: Flask, analytics: StandIn) -> None:
    Person(app.test_client(), "ada")
    analytics.decide = lambda *_: (422, {}, {})
    run(app, "outbox", "drain")
    dead = [json.loads(line) for line in run(app, "outbox", "list", "--dead").output.splitlines()]
    assert len(dead) == 2
    assert run(app, "outbox", "requeue", str(dead[0]["id"])).output.strip() == "Requeued 1."
    assert run(app, "outbox", "requeue", "--all").output.strip() == "Requeued 1."
    assert run(app, "outbox", "requeue").exit_code != 0
    assert run(app, "outbox", "requeue", "1", "--all").exit_code != 0


def test_rotate_keys_rewrites_the_key_file(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    path.write_text(new_key_pem())
    monkeypatch.setenv("JWT_PRIVATE_KEY_FILE", str(path))
    done = run(app, "rotate-keys")
    assert done.exit_code == 0
    assert "publish" in done.output
    assert path.read_text().count("BEGIN PRIVATE KEY") == 2
    refused = run(app, "rotate-keys", "--step", "retire", "--now")
    assert refused.exit_code == 0
    assert path.read_text().count("BEGIN PRIVATE KEY") == 1


def test_rotate_keys_needs_a_file(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JWT_PRIVATE_KEY_FILE", raising=False)
    done = run(app, "rotate-keys")
    assert done.exit_code != 0
    assert "JWT_PRIVATE_KEY_FILE is not set" in done.output


@pytest.mark.parametrize(
    "words",
    [("relay",), ("create-admin",), ("rotate-keys",), ("outbox",), ("outbox", "list"),
     ("outbox", "requeue"), ("outbox", "drain")],
)  # fmt: skip
def test_every_command_explains_itself(app: Flask, words: tuple[str, ...]) -> None:
    done = run(app, *words, "--help")
    assert done.exit_code == 0
    assert len(done.output) > 100
