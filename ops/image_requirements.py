"""Prints what one app's image installs: the project's own requirements and the named extras'.

python ops/image_requirements.py users tracing
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Returns the requirements of the extras, the common ones first; KeyError for no such extra."""
    project = tomllib.loads(pyproject.read_text())["project"]
    optional = project["optional-dependencies"]
    return project["dependencies"] + [each for extra in extras for each in optional[extra]]


if __name__ == "__main__":
    print("\n".join(requirements(Path("pyproject.toml"), sys.argv[1:])))
