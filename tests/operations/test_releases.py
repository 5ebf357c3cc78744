"""What a release says of itself: its parts, their licenses, and what is known against them."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chassis.version import VERSION
from ops import audit, inventory, licences
from ops.image_requirements import requirements
from ops.inventory import IMAGES, READ, image_environment, image_packages
from ops.release import (
    CHANGELOG,
    SOURCE,
    Refused,
    disagreements,
    files,
    release,
    released,
    version_of,
)
from ops.sbom import bill
from tests.operations.programs import output
from tests.stack import ROOT

VULNERABLE = {"name": "x", "version": "1", "vulns": [{"id": "A-1", "fix_versions": ["2"]}]}
SOUND = {"name": "flask", "version": "3.1.3", "vulns": []}


@pytest.mark.parametrize("app", IMAGES)
def test_an_image_holds_what_its_packages_themselves_ask_for(app: str) -> None:
    """The lock's notes of who wants what agree with the metadata of what is installed here."""
    extras = [app, *inventory.dockerfile_argument("EXTRAS").split()]
    pending = [Requirement(each) for each in requirements(ROOT / "pyproject.toml", extras)]
    reached: set[tuple[str, frozenset[str]]] = set()
    while pending:
        wanted = pending.pop()
        known = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if known not in reached:
            reached.add(known)
            pending += needs_of(*known)
    assert {name for name, _ in reached} == {each.name for each in image_packages(app)}


def needs_of(name: str, extras: frozenset[str]) -> list[Requirement]:
    try:
        asked = distribution(name).requires or []
    except PackageNotFoundError:
        assert name == "gunicorn-h1c"  # of images alone: it takes a compiler, and needs nothing
        return []
    found = []
    for each in map(Requirement, asked):
        environments = [image_environment() | {"extra": extra} for extra in ("", *extras)]
        if each.marker is None or any(map(each.marker.evaluate, environments)):
            found.append(each)
    return found


@pytest.mark.parametrize("app", IMAGES)
def test_a_bill_is_valid_whole_and_the_same_each_time(app: str) -> None:
    written = bill(app)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(written)) is None
    assert json.dumps(bill(app)) == json.dumps(written)
    base = "pkg:docker/python@" + inventory.base_image()[1]
    for component in written["components"]:
        assert component["version"], component
        assert re.match(r"pkg:(pypi|npm|docker)/.+@.+", component["purl"])
        if component["purl"] == base:
            continue
        hashes = component.get("hashes") or component["externalReferences"][0]["hashes"]
        assert all(each["alg"] == "SHA-256" for each in hashes)
        assert component["licenses"], component
    names = {component["name"] for component in written["components"]}
    assert {"python", "flask", "gunicorn-h1c"} <= names
    assert ("htmx.org" in names, "numpy" in names) == (app == "dashboard", app == "analytics")
    assert not names & {"pytest", "plotly", "honcho"}


def test_a_bill_that_is_none_is_seen() -> None:
    written = bill("users")
    del written["components"][0]["name"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(written))


def test_all_that_images_hold_has_a_license_that_is_accepted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert licences.main() == 0, capsys.readouterr().out
    held = licences.held_by_images()
    assert {"htmx.org", "plotly.js-basic-dist-min", "flask"} <= {name.split()[0] for name in held}
    assert set(READ) <= {name.split()[0] for name in held}


@pytest.mark.parametrize(
    ("licence", "accepted"),
    [
        ("MIT", True),
        ("mit", True),
        ("MIT AND PSF-2.0", True),
        ("GPL-3.0-only OR Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("LicenseRef-Proprietary", False),
        ("a custom license", False),
        (None, False),
    ],
)
def test_a_license_is_accepted_by_name(licence: str | None, accepted: bool) -> None:
    assert licences.is_accepted(licence) is accepted


def test_an_unknown_license_is_told_by_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = licences.licence_of
    monkeypatch.setattr(
        licences, "licence_of", lambda name: None if name == "flask" else known(name)
    )
    assert licences.main() == 1
    assert "flask 3.1.3: its license is not known" in capsys.readouterr().out


@pytest.fixture
def npm_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the file of what npm's audit prints here; npm itself is a stand-in."""
    said = tmp_path / "said.json"
    said.write_text('{"vulnerabilities": {}}')
    program = tmp_path / "npm"
    program.write_text(f'#!/bin/sh\n[ "$1" != audit ] || cat {said}\n')
    program.chmod(0o755)
    monkeypatch.setattr(audit, "npm", lambda: [str(program)])
    return said


def test_an_audit_reads_the_images_lock_and_the_browsers_libraries(
    npm_says: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def pip_audit(*files: Path, words: tuple[str, ...]) -> list[dict[str, object]]:
        asked.extend(file.name for file in files)
        return [SOUND]

    monkeypatch.setattr(audit, "audited", pip_audit)
    assert audit.main() == 0
    assert {"requirements-image.txt", "requirements.txt"} <= set(asked)
    said = capsys.readouterr().out
    assert "2 browser libraries audited, 0 vulnerable" in said
    assert "what Debian has in python:" in said
    npm_says.write_text('{"vulnerabilities": {"htmx.org": {"severity": "high", "range": "<9"}}}')
    assert audit.main() == 1
    assert "htmx.org: high severity, versions <9" in capsys.readouterr().out


def test_an_audit_tells_a_vulnerable_package(
    npm_says: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "audited", lambda *_, words: [VULNERABLE])
    assert audit.main() == 1
    assert "x 1: A-1, fixed in 2" in capsys.readouterr().out


def test_an_audit_that_can_ask_nobody_is_skipped_and_says_so(
    npm_says: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "audited", lambda *_, words: [])
    npm_says.write_text('{"error": "nobody"}')
    monkeypatch.setattr("sys.argv", ["audit"])
    assert audit.main() == 0
    skipped = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("Skipped: ")
    ]
    assert len(skipped) == 2
    monkeypatch.setattr("sys.argv", ["audit", "--must"])
    assert audit.main() == 1


PLACED = [SOURCE, CHANGELOG, *sorted({str(path.relative_to(ROOT)) for path, _ in files(ROOT)})]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Returns a copy of the files in which the version stands."""
    for name in PLACED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    text = (tmp_path / CHANGELOG).read_text()
    if released(text):  # between two releases there is something unreleased
        (tmp_path / CHANGELOG).write_text(f"# Changelog\n\n## 9.0.0 (unreleased)\n\n{text}")
    return tmp_path


def contents(tree: Path) -> dict[str, str]:
    return {name: (tree / name).read_text() for name in PLACED}


def test_every_place_says_the_version_that_the_apps_read() -> None:
    assert disagreements(ROOT) == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    read = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    module, _, name = read.rpartition(".")
    assert getattr(importlib.import_module(module), name) == VERSION == version_of(ROOT)


def test_no_other_file_holds_the_version() -> None:
    listed = output("git", "ls-files", "-z").split("\0")
    own = re.compile(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])")
    apart = re.compile(r"(requirements|tests/|docs/|.*\.md$)")
    others = {
        name
        for name in filter(None, listed)
        if not apart.match(name) and own.search((ROOT / name).read_text(errors="replace"))
    }
    assert others <= set(PLACED)


def test_a_release_is_written_everywhere_and_dated(tree: Path) -> None:
    release(tree, "9.8.7", "2026-12-24")
    assert disagreements(tree) == []
    for name, text in contents(tree).items():
        assert "9.8.7" in text, name
        if name != CHANGELOG:
            assert VERSION not in text, name
    assert "## 9.8.7 (2026-12-24)\n" in contents(tree)[CHANGELOG]
    with pytest.raises(Refused, match="nothing unreleased on top"):
        release(tree, "9.8.8", "2026-12-25")


@pytest.mark.parametrize("name", PLACED)
def test_a_place_that_says_otherwise_is_named(tree: Path, name: str) -> None:
    text = (tree / name).read_text()
    older = {CHANGELOG: "## 0.0.9 (2026-01-01)\n"}.get(name, text.replace(VERSION, "0.0.9", 1))
    (tree / name).write_text(older)
    found = disagreements(tree)
    assert found
    assert all("0.0.9" in each for each in found)
    assert name == SOURCE or all(each.startswith(name) for each in found)
    before = contents(tree)
    with pytest.raises(Refused, match="must agree first"):
        release(tree, "9.8.7", "2026-12-24")
    assert contents(tree) == before


@pytest.mark.parametrize(
    "version",
    ["", "1", "v1.2.3", "1.2", "1.2.3\n", "1.2.3 ", "01.2.3", "1.2.3/../x", "0.0.1", "١.2.3"],
)
def test_a_bad_version_is_refused_and_nothing_changes(tree: Path, version: str) -> None:
    before = contents(tree)
    with pytest.raises(Refused, match=r"no version such as|not newer"):
        release(tree, version, "2026-12-24")
    assert contents(tree) == before
