"""The settings: what is refused, all at once, in plain words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chassis.config import ConfigurationError, load
from tests.unit.users.conftest import KEY_PEM, SECRET
from users_app.config import UsersSettings

GOOD = {
    "USERS_DATABASE_URL": "postgres://localhost/users",
    "SECRET_KEY": SECRET,
    "JWT_PRIVATE_KEY": KEY_PEM,
}


def complaints(**changed: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load(UsersSettings, {**GOOD, **changed})
    return str(refusal.value)


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load(UsersSettings, GOOD)
    assert settings.users_database_url == "postgresql+psycopg2://localhost/users"
    assert settings.registration == "invite"
    assert not settings.first_account_is_admin
    assert (settings.registrations_per_minute, settings.api_calls_per_minute) == (60, 6000)
    assert (settings.access_token_minutes, settings.refresh_token_days) == (15, 30)
    assert settings.bcrypt_rounds == 12


def test_every_complaint_comes_at_once() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load(UsersSettings, {"REGISTRATION": "maybe", "BCRYPT_ROUNDS": "99"})
    said = str(refusal.value)
    for name in ("USERS_DATABASE_URL", "SECRET_KEY", "JWT_PRIVATE_KEY", "REGISTRATION"):
        assert f"{name} " in said
    assert "BCRYPT_ROUNDS must be at most 17" in said


def test_the_first_account_is_admin_on_loopback_only() -> None:
    on = {"FIRST_ACCOUNT_IS_ADMIN": "on"}
    for host in ("127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost", ""):
        assert load(UsersSettings, {**GOOD, **on, "BIND_HOST": host}).first_account_is_admin
    for host in ("0.0.0.0", "::", "[::]", "192.0.2.1", "localhost.example", "::ffff:192.0.2.1"):
        assert "FIRST_ACCOUNT_IS_ADMIN must be off" in complaints(**on, BIND_HOST=host)


@pytest.mark.parametrize("key", ["x", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"])
def test_a_key_that_can_not_sign_is_refused_without_showing_it(key: str) -> None:
    said = complaints(JWT_PRIVATE_KEY=key)
    assert said.startswith("JWT_PRIVATE_KEY ")
    assert "BEGIN" not in said


def test_weak_secrets_are_refused() -> None:
    for weak in ("short", "x" * 64, "change-me-" * 6):
        assert "SECRET_KEY" in complaints(SECRET_KEY=weak)


def test_a_command_without_settings_names_them_and_shows_no_traceback() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "flask", "--app", "users_app", "outbox", "list"],
        cwd=Path(__file__).parents[3], env={}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "SECRET_KEY is required" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_shows_in_a_dump_of_the_settings() -> None:
    settings = load(UsersSettings, {**GOOD, "SMTP_PASSWORD": "mail-secret"})
    assert SECRET not in repr(settings)
    assert "mail-secret" not in repr(settings)
    assert "PRIVATE KEY" not in repr(settings)


@pytest.mark.parametrize("sender", ["Footfall", "a@", "a@b.test, c@b.test", "Foo, Bar <a@b.test>"])
def test_mails_come_from_one_address(sender: str) -> None:
    assert "MAIL_FROM must be one address" in complaints(MAIL_FROM=sender)
