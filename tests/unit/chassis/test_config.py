"""Settings are read once, typed, and complain all at once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from chassis.config import ConfigurationError, Secret, ServiceUrl, Settings, Zone, load
from chassis.database import DatabaseUrl

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
