"""Writes the version of a release wherever it stands, or says where it stands otherwise.

    python -m ops.release [VERSION]

`chassis/version.py` is what the apps, their documents and pyproject.toml read. Without a version
the other places are checked against it. With one, all of them are written and the changelog's
unreleased part is dated; nothing is, unless all can be.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "chassis/version.py"
CHANGELOG = "CHANGELOG.md"
FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)
HEADING = re.compile(r"^## (?P<version>\S+) \((?P<when>[^)]+)\)$", re.MULTILINE)
UNRELEASED = "unreleased"
# Each file, by pattern, with what stands there in place of the version.
PLACES = {
    SOURCE: r'(?<=^VERSION = ")[^"]+(?="$)',
    "Dockerfile": r"(?<=^ARG VERSION=)\S+$",
    "compose.yaml": r"(?<=\$\{FOOTFALL_VERSION:-)[^}]+(?=\})",
    "kustomize/base/kustomization.yaml": r"(?<=literals: \[version=)[^\]]+(?=\])",
    "kustomize/base/*.yaml": r"(?<=image: footfall-)(?:users|analytics|dashboard):(\S+)$",
}


class Refused(Exception):
    """The release can't be written; the text says why."""


def main() -> int:
    words = sys.argv[1:]
    try:
        if words:
            release(ROOT, words[0], datetime.now(UTC).date().isoformat())
            print(f"This tree is {words[0]} now: commit it, and tag the commit v{words[0]}.")
        elif wrong := disagreements(ROOT):
            raise Refused("; ".join(wrong))
        else:
            print(f"All places say {version_of(ROOT)}.")
    except Refused as refusal:
        print(f"footfall: {refusal}", file=sys.stderr)
        return 1
    return 0


def release(root: Path, version: str, day: str) -> None:
    """Writes the version in all places; raises Refused and changes nothing where it can't."""
    if not FORM.fullmatch(version):
        raise Refused(f"{version!r} is no version such as 1.2.3")
    if wrong := disagreements(root):
        raise Refused(f"the places must agree first: {'; '.join(wrong)}")
    changelog = (root / CHANGELOG).read_text()
    newest = HEADING.search(changelog)
    if newest is None or newest["when"] != UNRELEASED:
        raise Refused(f"{CHANGELOG} has nothing unreleased on top")
    present = version_of(root)
    if parts(version) < parts(present) or (version == present and released(changelog)):
        raise Refused(f"{version} is not newer than {present}")
    texts = {path: replaced(path, pattern, version) for path, pattern in files(root)}
    dated = changelog[: newest.start()] + f"## {version} ({day})" + changelog[newest.end() :]
    for path, text in {**texts, root / CHANGELOG: dated}.items():
        path.write_text(text)


def version_of(root: Path) -> str:
    """Returns the version that the apps read; raises Refused."""
    found = re.search(PLACES[SOURCE], (root / SOURCE).read_text(), re.MULTILINE)
    if found is None:
        raise Refused(f"{SOURCE} has no VERSION")
    return found[0]


def disagreements(root: Path) -> list[str]:
    """Returns the places that say another version than the apps, and what they say."""
    version = version_of(root)
    wrong = []
    for path, pattern in files(root):
        name = path.relative_to(root)
        said = {match[match.lastindex or 0] for match in found_in(path, pattern)}
        wrong += [f"{name} says {each}, not {version}" for each in sorted(said - {version})]
        if not said:
            wrong.append(f"{name} says no version")
    headings = HEADING.findall((root / CHANGELOG).read_text())
    newest = released((root / CHANGELOG).read_text()) or (headings[0][0] if headings else "none")
    return wrong + ([f"{CHANGELOG} says {newest}, not {version}"] if newest != version else [])


def files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields each file in which the version stands, with the pattern of where."""
    for name, pattern in PLACES.items():
        for path in sorted(root.glob(name)):
            if "*" not in name or found_in(path, pattern):
                yield path, pattern


def found_in(path: Path, pattern: str) -> list[re.Match[str]]:
    return list(re.finditer(pattern, path.read_text(), re.MULTILINE))


def replaced(path: Path, pattern: str, version: str) -> str:
    """Returns the file's text with the version in its places."""
    text = path.read_text()
    for match in reversed(found_in(path, pattern)):
        start, end = match.span(match.lastindex or 0)
        text = text[:start] + version + text[end:]
    return text


def released(changelog: str) -> str | None:
    """Returns the newest version that the changelog has dated, or None."""
    dated = (version for version, when in HEADING.findall(changelog) if when != UNRELEASED)
    return next(dated, None)


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version.split("."))


if __name__ == "__main__":
    sys.exit(main())
