"""Settings are read once, typed, and complain all at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from chassis.config import ConfigurationError, Secret, ServiceUrl, Settings, Zone, load
from chassis.database import DatabaseUrl
from tests.stack import ROOT

STRONG = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class ExampleSettings(Settings):
    service: ClassVar[str] = "example"
    secret_key: Secret
    example_database_url: DatabaseUrl
    users_url: ServiceUrl = "http://127.0.0.1:8001"
    reporting_timezone: Zone = "UTC"


def environment(**changed: str) -> dict[str, str]:
    usual = {"SECRET_KEY": STRONG, "EXAMPLE_DATABASE_URL": "sqlite:///x.db"}
    return {name: value for name, value in {**usual, **changed}.items() if value}


def test_every_complaint_comes_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(
            ExampleSettings,
            environment(SECRET_KEY="", LOG_LEVEL="LOUD", REPORTING_TIMEZONE="localtime"),
        )
    lines = str(caught.value).splitlines()
    assert "SECRET_KEY is required" in lines
    assert any(line.startswith("LOG_LEVEL must be one of") for line in lines)
    assert any(line.startswith("REPORTING_TIMEZONE must be an IANA") for line in lines)


@pytest.mark.parametrize("weak", ["short", "changeme" * 8, "a" * 64, "0123" * 16])
def test_a_weak_or_placeholder_secret_refuses_to_start(weak: str) -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        load(ExampleSettings, environment(SECRET_KEY=weak))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_each_spelling_of_postgresql_means_psycopg2(scheme: str) -> None:
    settings = load(ExampleSettings, environment(EXAMPLE_DATABASE_URL=f"{scheme}://u@h/d"))
    assert settings.example_database_url == "postgresql+psycopg2://u@h/d"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(STRONG + "\n")
    settings = load(ExampleSettings, environment(SECRET_KEY="", SECRET_KEY_FILE=str(path)))
    assert settings.secret_key.get_secret_value() == STRONG


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_variable_or_file_leaves_the_usual_value(tmp_path: Path, text: str) -> None:
    """compose.yaml mounts files that may be empty: they hold what others give."""
    path = tmp_path / "empty"
    path.write_text(text)
    given = {f"{name}_FILE": str(path) for name in ("REDIS_URL", "USERS_URL", "SMTP_PORT")}
    usual = load(ExampleSettings, environment())
    assert load(ExampleSettings, environment(**given)) == usual
    assert load(ExampleSettings, {**environment(), "LOG_LEVEL": "", "USERS_URL_FILE": ""}) == usual
    with pytest.raises(ConfigurationError, match=r"^SECRET_KEY is required$"):
        load(ExampleSettings, environment(SECRET_KEY="", SECRET_KEY_FILE=str(path)))


def test_gunicorn_takes_an_empty_variable_or_file_as_not_given(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    program = "import runpy; read = runpy.run_path('gunicorn.conf.py'); "
    program += "print(*(read[name] for name in ('bind', 'workers', 'threads', 'max_requests')))"
    given = {"WEB_WORKERS_FILE": str(tmp_path / "empty"), "PORT_FILE": "", "WEB_THREADS": ""}
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env={**given, "BIND_HOST": "", "TMPDIR": str(tmp_path)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert said.split() == ["127.0.0.1:8000", "2", "8", "0"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEY_FILE can't be read"):
        load(ExampleSettings, environment(SECRET_KEY_FILE="/nowhere/at/all"))


def test_no_secret_is_in_the_complaint_or_in_the_representation() -> None:
    settings = load(ExampleSettings, environment())
    assert STRONG not in repr(settings)
    with pytest.raises(ConfigurationError) as caught:
        load(ExampleSettings, environment(LOG_LEVEL="LOUD"))
    assert STRONG not in str(caught.value)


def test_settings_are_frozen() -> None:
    settings = load(ExampleSettings, environment())
    with pytest.raises(ValueError, match="frozen"):
        settings.log_level = "DEBUG"
