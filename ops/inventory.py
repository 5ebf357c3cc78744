"""What an image is made of: Python packages by the lock, browser libraries, the base image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.browser_libraries import HTMX, PLOTLY, Library
from ops.image_requirements import requirements

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-image.txt"
IMAGES: Mapping[str, tuple[Library, ...]] = {
    "users": (),
    "analytics": (),
    "dashboard": (HTMX, PLOTLY),
}
LOCKED = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[[^]]*\])?==(?P<version>\S+)(?: ; (?P<marker>.*?))? \\$", re.MULTILINE
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
ARGUMENT = r"^ARG {name}=\"?([^\"\n]+)\"?$"
# How packages say their license that don't say it by SPDX's names.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
}
# Of packages that this environment lacks, or whose metadata is vague: by the text they bring.
READ = {
    "flask-bcrypt": "BSD-3-Clause",
    "flask-sqlalchemy": "BSD-3-Clause",
    "gunicorn-h1c": "MIT",
    "itsdangerous": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "psycopg2-binary": "LGPL-3.0-or-later",
}


@dataclass(frozen=True)
class Package:
    """A Python package as the lock pins it, and the names of those that want it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    wanted_by: frozenset[str] = field(default_factory=frozenset)


def dockerfile_argument(name: str) -> str:
    """Returns the default of one of the Dockerfile's arguments; raises LookupError."""
    found = re.search(ARGUMENT.format(name=name), (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"the Dockerfile has no ARG {name}")
    return found[1]


def base_image() -> tuple[str, str]:
    """Returns the name and the tag of the image that all three are built on."""
    name, _, tag = dockerfile_argument("PYTHON_IMAGE").partition("@")[0].rpartition(":")
    return name, tag


def image_packages(app: str) -> list[Package]:
    """Returns what pip installs into an app's image, by name."""
    locked = {package.name: package for package in packages_of(LOCK.read_text())}
    extras = [app, *dockerfile_argument("EXTRAS").split()]
    direct = (Requirement(each) for each in requirements(ROOT / "pyproject.toml", extras))
    reached: set[str] = set()
    pending = [canonicalize_name(each.name) for each in direct]
    while pending:
        name = pending.pop()
        if name in locked and name not in reached:
            reached.add(name)
            pending += [each.name for each in locked.values() if name in each.wanted_by]
    return [locked[name] for name in sorted(reached)]


def packages_of(lock: str) -> Iterator[Package]:
    """Yields the lock's packages that the image's Python takes."""
    matches = list(LOCKED.finditer(lock))
    ends = [match.start() for match in matches[1:]] + [len(lock)]
    for match, end in zip(matches, ends, strict=True):
        entry = lock[match.end() : end]
        if match["marker"] is None or Marker(match["marker"]).evaluate(image_environment()):
            wanted_by = re.findall(r"^    # {3}(?:via )?([\w.-]+)$", entry, re.MULTILINE)
            wanted_by += re.findall(r"^    # via ([\w.-]+)$", entry, re.MULTILINE)
            yield Package(
                canonicalize_name(match["name"]),
                match["version"],
                tuple(HASH.findall(entry)),
                frozenset(map(canonicalize_name, wanted_by)),
            )


def image_environment() -> dict[str, str]:
    """Returns what markers are judged by in an image: Linux on x86-64, and the base's Python."""
    version = base_image()[1].partition("-")[0]
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux",
    }


def licence_of(name: str) -> str | None:
    """Returns a package's license as an SPDX expression, or None where it isn't known.

    It is read from what is installed here, which may be another version than the image's.
    """
    if name in READ:
        return READ[name]
    try:
        return stated_licence(distribution(name))
    except PackageNotFoundError:
        return None


def stated_licence(found: Distribution) -> str | None:
    about = found.metadata
    if expression := about["License-Expression"]:
        return str(expression)
    classified = [
        text.rpartition(" :: ")[2]
        for text in about.get_all("Classifier") or []
        if text.startswith("License :: ")
    ]
    for text in (about["License"], *classified):
        if text in SPDX:
            return SPDX[text]
        if text and re.fullmatch(r"[A-Za-z0-9.+-]+", text):
            return str(text)
    return None
