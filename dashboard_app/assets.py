"""Style sheets, scripts and browser libraries under names that carry their content's hash.

`python -m dashboard_app.assets` prepares them ahead, for an image whose disk is read-only.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
from flask import Flask
from whitenoise import WhiteNoise

from dashboard_app.config import DashboardSettings

STATIC = Path(__file__).parent.parent / "static"
LIBRARIES = ("htmx.min.js", "plotly.min.js")
COMPRESSED = {".css", ".js", ".svg"}


def install(app: Flask, settings: DashboardSettings) -> None:
    """Serves the assets at /static/ for ever, and gives templates `asset(name)`.

    Without the browser libraries pages come without scripts: forms and tables still work.
    """
    names = prepare(sources(settings.browser_dir), settings.assets_dir)
    served = WhiteNoise(
        app.wsgi_app,
        allow_all_origins=False,
        immutable_file_test=lambda path, url: True,
    )
    for published in names.values():
        served.add_file_to_dictionary(
            f"/static/{published}", str(settings.assets_dir.resolve() / published)
        )
    app.wsgi_app = served  # type: ignore[method-assign]
    app.jinja_env.globals["asset"] = lambda name: address(names, name)


def address(names: Mapping[str, str], name: str) -> str:
    """Returns where an asset is served, or "" for a library that was not fetched."""
    return f"/static/{names[name]}" if name in names else ""


def check(directory: Path) -> None:
    """Raises FileNotFoundError if a browser library is missing."""
    for name in LIBRARIES:
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory / name}: run `python -m ops.browser_libraries`")


def sources(directory: Path) -> list[Path]:
    """Returns our own files and the libraries that are there."""
    own = sorted(path for path in STATIC.iterdir() if path.is_file())
    return own + [directory / name for name in LIBRARIES if (directory / name).is_file()]


def prepare(files: Iterable[Path], target: Path) -> dict[str, str]:
    """Copies each file to `stem.hash.ext` with its .br and .gz; returns {name: new name}."""
    target.mkdir(parents=True, exist_ok=True)
    return {path.name: publish(path, target) for path in files}


def publish(path: Path, target: Path) -> str:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    name = f"{path.stem}.{digest}{path.suffix}"
    if not (target / name).exists():
        if path.suffix in COMPRESSED:
            keep(target / f"{name}.br", brotli.compress(content))
            keep(target / f"{name}.gz", gzip.compress(content, mtime=0))
        keep(target / name, content)
    return name


def keep(path: Path, content: bytes) -> None:
    """Writes in one step: several workers may prepare the same file at once."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def main() -> None:
    """Prepares the assets where the settings' defaults say."""
    fields: dict[str, Any] = DashboardSettings.model_fields
    chosen = {
        name: Path(os.environ.get(name.upper()) or fields[name].default)
        for name in ("browser_dir", "assets_dir")
    }
    check(chosen["browser_dir"])
    names = prepare(sources(chosen["browser_dir"]), chosen["assets_dir"])
    print(f"{len(names)} assets in {chosen['assets_dir']}")


if __name__ == "__main__":
    main()
