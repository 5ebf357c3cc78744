"""Fetches the browser libraries from npm's registry; checked, then kept.

    python -m ops.browser_libraries [--into var/browser] [--with-tests]

Each file's version and SHA-256 are pinned here, so that every machine serves the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ops.fetch import Unavailable, npm_archive


@dataclass(frozen=True, slots=True)
class Library:
    """One file of one package, the name it is kept by, and its license by SPDX."""

    filename: str
    package: str
    version: str
    member: str
    sha256: str
    licence: str


HTMX = Library(
    "htmx.min.js",
    "htmx.org",
    "2.0.11",
    "package/dist/htmx.min.js",
    "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "0BSD",
)
# The basic bundle: the full one weighs 1.5 MB and breaks the dashboard's content policy.
PLOTLY = Library(
    "plotly.min.js",
    "plotly.js-basic-dist-min",
    "4.1.1",
    "package/plotly-basic.min.js",
    "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba",
    "MIT",
)
AXE = Library(
    "axe.min.js",
    "axe-core",
    "4.14.1",
    "package/axe.min.js",
    "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
    "MPL-2.0",
)


def main() -> int:
    """Fetches what is missing and says what stands; 1 if a library can't be had."""
    parser = argparse.ArgumentParser(description="Fetch the browser libraries.")
    parser.add_argument("--into", type=Path, default=Path("var/browser"))
    parser.add_argument("--with-tests", action="store_true", help="axe-core too")
    options = parser.parse_args()
    wanted = [HTMX, PLOTLY, *([AXE] if options.with_tests else [])]
    try:
        options.into.mkdir(parents=True, exist_ok=True)
        for library in wanted:
            fetch(library, options.into)
    except (Unavailable, OSError) as error:
        print(f"Browser libraries: {error}", file=sys.stderr)
        return 1
    print("Browser libraries: " + ", ".join(f"{each.package} {each.version}" for each in wanted))
    return 0


def fetch(library: Library, into: Path) -> None:
    """Keeps the library in `into` unless it is there; raises Unavailable."""
    target = into / library.filename
    if target.is_file() and digest(target.read_bytes()) == library.sha256:
        return
    package = f"{library.package}@{library.version}"
    with tempfile.TemporaryDirectory() as folder:
        archive = npm_archive(package, Path(folder))
        content = member_of(archive, library.member)
        about = json.loads(member_of(archive, "package/package.json"))
    if digest(content) != library.sha256:
        raise Unavailable(f"{package} is not the file that is pinned")
    if about.get("license") != library.licence:
        raise Unavailable(f"{package} comes under another license than {library.licence}")
    keep(content, target)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def member_of(archive: Path, member: str) -> bytes:
    """Returns one file of an archive without unpacking the rest; raises Unavailable."""
    try:
        with tarfile.open(archive) as packed:
            found = packed.extractfile(member)
            assert found is not None
            return found.read()
    except (KeyError, AssertionError, tarfile.TarError) as error:
        raise Unavailable(f"{archive.name} holds no {member}: {error}") from None


def keep(content: bytes, target: Path) -> None:
    """Puts the bytes in place in one step, so that nobody reads half a file."""
    part = target.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(target)


if __name__ == "__main__":
    sys.exit(main())
