"""Zones are those of the tz database's list: no other file, and no other way to write one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from zoneinfo import available_timezones, reset_tzpath

import pytest

from chassis.time_zones import NAMES, zone_named

NO_ZONES = [
    "right/Europe/Berlin", "posix/UTC", "localtime", "Factory", "posixrules", "leapseconds",
    "tzdata.zi", "europe/berlin", "EUROPE/BERLIN", "utc", "Europe", "Europe/", "", " UTC", "UTC ",
    "UTC\n", "UTC\x00", "./UTC", "Europe//Berlin", "/usr/share/zoneinfo/UTC", "../zoneinfo/UTC",
    "Mars/Olympus", "+02:00", "CEST", "Ünited",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_ZONES)
def test_what_the_list_does_not_name_is_no_zone(name: str) -> None:
    with pytest.raises(ValueError, match="must be an IANA time zone"):
        zone_named(name)


def test_every_name_of_the_list_is_a_zone() -> None:
    assert {"UTC", "Europe/Berlin", "Asia/Kathmandu", "Etc/GMT+5", "EST5EDT"} <= NAMES
    assert {zone_named(name).key for name in NAMES} == NAMES


def test_the_list_is_the_same_on_a_machine_with_other_files(tmp_path: Path) -> None:
    """Here the machine knows one zone more, and none of the usual ones."""
    (tmp_path / "Olympus").write_bytes((resources.files("tzdata") / "zoneinfo/UTC").read_bytes())
    reset_tzpath((str(tmp_path),))
    try:
        assert "Olympus" in available_timezones()
        with pytest.raises(ValueError, match="must be an IANA"):
            zone_named("Olympus")
        assert {zone_named(name).key for name in NAMES} == NAMES
    finally:
        reset_tzpath()
