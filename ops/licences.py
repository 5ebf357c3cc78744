"""Prints the license of all that the images hold; ends with 1 if one is unknown or not accepted.

    python -m ops.licences

Python packages are read from what is installed, browser libraries from what was pinned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ops.inventory import IMAGES, image_packages, licence_of

# What may be passed on inside an image beside our own MIT: permissive ones, and weak copyleft of
# libraries that are used unchanged and can be replaced.
ACCEPTED = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC",
        "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip


def main() -> int:
    held = held_by_images()
    width = max(map(len, held))
    for name, (licence, images) in sorted(held.items()):
        print(f"{name:{width}}  {licence or 'unknown':44}  {', '.join(images)}")
    refused = {name: licence for name, (licence, _) in held.items() if not is_accepted(licence)}
    for name, licence in sorted(refused.items()):
        print(f"{name}: its license is {licence or 'not known'}, not one of the accepted.")
    print(f"{len(held)} packages, {len(refused)} without an accepted license.")
    return 1 if refused else 0


def held_by_images() -> Mapping[str, tuple[str | None, list[str]]]:
    """Returns each package's license and the images that hold it, by name and version."""
    held: dict[str, tuple[str | None, list[str]]] = {}
    for app in IMAGES:
        for name, licence in parts_of(app):
            held.setdefault(name, (licence, []))[1].append(app)
    return held


def parts_of(app: str) -> Iterator[tuple[str, str | None]]:
    for package in image_packages(app):
        yield f"{package.name} {package.version}", licence_of(package.name)
    for library in IMAGES[app]:
        yield f"{library.package} {library.version}", library.licence


def is_accepted(licence: str | None) -> bool:
    """Whether all that the expression asks for together is accepted, or one of what it offers."""
    if licence is None:
        return False
    try:
        expression = str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression:
        return False
    if "(" in expression or " WITH " in expression:
        return False  # none says so today; by hand, should one
    return any(
        all(each in ACCEPTED for each in offer.split(" AND ")) for offer in expression.split(" OR ")
    )


if __name__ == "__main__":
    sys.exit(main())
