"""Writes what each image is made of, as CycloneDX 1.6; the same tree gives the same bytes.

    python -m ops.sbom [--into var/sbom]

Packages that Debian has in the base image stand in that image's own bill.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from chassis.version import VERSION
from ops.browser_libraries import Library
from ops.inventory import IMAGES, Package, base_image, image_packages, licence_of

licences = LicenseFactory()


def main() -> int:
    parser = argparse.ArgumentParser(description="Write each image's bill of materials.")
    parser.add_argument("--into", type=Path, default=Path("var/sbom"))
    into = parser.parse_args().into
    into.mkdir(parents=True, exist_ok=True)
    for app in IMAGES:
        path = into / f"footfall-{app}.cdx.json"
        path.write_text(json.dumps(bill(app), indent=2) + "\n")
        print(path)
    return 0


def bill(app: str) -> dict[str, Any]:
    """Returns the bill of an app's image, without what differs each time: number and date."""
    found = Bom()
    image = Component(
        name=f"footfall-{app}",
        version=VERSION,
        type=ComponentType.CONTAINER,
        bom_ref=f"footfall-{app}",
        purl=PackageURL("docker", None, f"footfall-{app}", VERSION),
        licenses=[licences.make_from_string("MIT")],
    )
    found.metadata.component = image
    packages = image_packages(app)
    parts = {package.name: python_component(package) for package in packages}
    others = [base_component(), *map(browser_component, IMAGES[app])]
    for component in (*parts.values(), *others):
        found.components.add(component)
    found.register_dependency(image, [*parts.values(), *others])
    for package in packages:
        for user in package.wanted_by & parts.keys():
            found.register_dependency(parts[user], [parts[package.name]])
    written: dict[str, Any] = json.loads(JsonV1Dot6(found).output_as_string())
    del written["serialNumber"], written["metadata"]["timestamp"]
    return written


def python_component(package: Package) -> Component:
    """Returns a Python package; the lock's hashes are of the archives it may come from."""
    purl = PackageURL("pypi", None, package.name, package.version)
    archives = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="one of these archives, by platform",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in package.hashes],
    )
    licence = licence_of(package.name)
    return Component(
        name=package.name,
        version=package.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=[licences.make_from_string(licence)] if licence else [],
        external_references=[archives],
    )


def browser_component(library: Library) -> Component:
    """Returns a browser library, by the hash of the file that is served."""
    scope, _, name = library.package.rpartition("/")
    purl = PackageURL("npm", scope or None, name, library.version)
    return Component(
        name=library.package,
        version=library.version,
        bom_ref=str(purl),
        purl=purl,
        licenses=[licences.make_from_string(library.licence)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=library.sha256)],
    )


def base_component() -> Component:
    name, tag = base_image()
    namespace, _, short = name.rpartition("/")
    purl = PackageURL("docker", namespace or None, short, tag)
    return Component(
        name=name, version=tag, type=ComponentType.CONTAINER, bom_ref=str(purl), purl=purl
    )


if __name__ == "__main__":
    sys.exit(main())
