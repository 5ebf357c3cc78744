"""`make pin-images` writes what a registry says of every image, or nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ops import images, tools
from ops.images import IMAGES, TOOLS, Unavailable, digest_of, files
from tests.operations.programs import program
from tests.operations.registry import LIST, NAME, TAG, registry
from tests.operations.registry import digest as digest_of_content
from tests.stack import ROOT

REFERENCE = re.compile(
    r"(?:image: (?:\$\{\w+:-)?|^ARG \w+_IMAGE=)(?P<image>[\w./-]+:[\w.-]+)(?P<rest>[^\s}]*)",
    re.MULTILINE,
)
OWN = re.compile(r"footfall-(users|analytics|dashboard):")


def digest(image: str) -> str:
    return "sha256:" + sha256(image.encode()).hexdigest()


def references(root: Path) -> dict[str, set[str]]:
    """Returns each foreign image of the tree's files, and what follows its tag there."""
    found: dict[str, set[str]] = {}
    for path in files(root):
        for match in REFERENCE.finditer(path.read_text()):
            if not OWN.match(match["image"]):
                found.setdefault(match["image"], set()).add(match["rest"])
    return found


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a copy of the files that name images, which the command works on."""
    copy = tmp_path / "tree"
    for path in files(ROOT):
        (copy / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy / path.relative_to(ROOT))
    monkeypatch.setattr(images, "ROOT", copy)
    monkeypatch.setattr("sys.argv", ["images"])
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return copy


def install(tree: Path, tool: str, script: str) -> None:
    """Installs a stand-in for one of the operator's tools."""
    program = tree.parent / "bin" / tool
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def answers(tree: Path) -> str:
    """Returns a script that answers each image's digest by the last word of the command."""
    cases = "\n".join(f"*{image}) echo {digest(image)} ;;" for image in IMAGES)
    log = tree.parent / "asked"
    return (
        f'echo "$0 $*" >> {log}\nfor last; do :; done\ncase "$last" in\n{cases}\n*) exit 1 ;;\nesac'
    )


def contents(tree: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in files(tree)}


def test_the_listing_holds_every_image_of_the_tree_and_no_other() -> None:
    assert set(references(ROOT)) == set(IMAGES)
    for rests in references(ROOT).values():
        assert all(re.fullmatch(r"(@sha256:[0-9a-f]{64})?", rest) for rest in rests)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_reference_is_pinned_by_whichever_tool_is_there(
    tree: Path, tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write(tree, {})
    plain = contents(tree)
    install(tree, tool, answers(tree))
    assert images.main() == 0, capsys.readouterr().err
    assert references(tree) == {image: {f"@{digest(image)}"} for image in IMAGES}
    asked = (tree.parent / "asked").read_text().splitlines()
    assert len(asked) == len(IMAGES)
    assert all(Path(line.split()[0]).name == tool for line in asked)
    once = contents(tree)
    assert images.main() == 0
    assert contents(tree) == once
    assert "0 files changed" in capsys.readouterr().out
    images.write(tree, {image: digest("newer") for image in IMAGES})
    assert references(tree) == {image: {f"@{digest('newer')}"} for image in IMAGES}
    images.write(tree, {})
    assert contents(tree) == plain


def test_the_release_and_our_own_images_stay_as_they_are(tree: Path) -> None:
    own = {path: OWN.findall(text) for path, text in contents(tree).items()}
    images.write(tree, {image: digest(image) for image in IMAGES})
    text = "\n".join(contents(tree).values())
    assert {path: OWN.findall(text) for path, text in contents(tree).items()} == own
    assert not re.search(r"footfall-\w+:\S*@sha256", text)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'unauthorized: authentication required' >&2; exit 1", "authentication required"),
        ("exit 3", "it gave no reason"),
        ("echo sha256:abc", "answered no digest for caddy:2.11, but 'sha256:abc'"),
        ("exit 0", "answered no digest"),
        ("while :; do :; done", "no answer about caddy:2.11 in time"),
    ],
)
def test_without_a_digest_of_each_nothing_changes(
    tree: Path,
    script: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(images, "PATIENCE_SECONDS", 0.5)
    before = contents(tree)
    install(tree, "crane", script)
    assert images.main() == 1
    told = capsys.readouterr().err
    assert told.startswith("footfall: no image was pinned: crane ")
    assert said in told
    assert told.count("\n") == 1
    assert contents(tree) == before


def test_one_image_that_is_missing_costs_all(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tree)
    gone = answers(tree).replace(f"*{IMAGES[-1]}) echo {digest(IMAGES[-1])} ;;\n", "")
    install(tree, "skopeo", gone)
    assert images.main() == 1
    assert IMAGES[-1] in capsys.readouterr().err
    assert contents(tree) == before


def test_without_a_tool_it_says_which_there_are(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tree)
    assert images.main() == 1
    assert "none of crane, skopeo, docker is installed" in capsys.readouterr().err
    assert contents(tree) == before


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yields a registry of loopback that the real skopeo may ask without TLS."""
    skopeo = program("skopeo")
    with registry() as place:
        known = tmp_path / ".config" / "containers" / "registries.conf"
        known.parent.mkdir(parents=True)
        known.write_text(f'[[registry]]\nlocation = "{place}"\ninsecure = true\n')
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tools.LIB))
        monkeypatch.setenv("PATH", str(skopeo.parent), prepend=":")
        yield place


def test_skopeo_brings_the_digest_of_the_index_from_a_registry_that_wants_a_token(
    host: str,
) -> None:
    assert digest_of("skopeo", f"{host}/{NAME}:{TAG}") == digest_of_content(LIST)


def test_what_skopeo_can_not_have_is_told(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match=f"no digest of {host}/{NAME}:none: .*manifest unknown"):
        digest_of("skopeo", f"{host}/{NAME}:none")
    monkeypatch.setattr(images, "PATIENCE_SECONDS", 2)
    with pytest.raises(Unavailable, match="no answer about"):
        digest_of("skopeo", f"{host}/{NAME}:silent")
