"""kustomize/README.md: its commands make every Secret, and name what there is."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.operations.policies import Manifest, names, pods, references
from tests.operations.programs import output, program
from tests.operations.test_kustomize import OVERLAYS, TOGETHER, combined, render, tree
from tests.stack import ROOT

__all__ = ["tree"]
PAGE = (ROOT / "kustomize" / "README.md").read_text()
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
# As `kubectl create` prints what it would make, which asks no cluster.
DRY_RUN = """
kubectl() {
    case "$1 $2" in
        "create secret") command kubectl "$@" --dry-run=client -o yaml; echo --- ;;
    esac
}
"""
Keys = dict[str, set[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Returns the Secrets that the page's commands make, of files that its first one makes."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "ops").symlink_to(ROOT / "ops")
    for name in ("tls.crt", "tls.key"):
        (folder / name).touch()
    certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    output(
        *certificate.split(), "-subj", "/CN=x", "-keyout", "tls.key", "-out", "tls.crt", cwd=folder
    )
    lines = COMMANDS.splitlines()
    wanted = [
        line for line in lines if re.match(r"ops/make-secrets|S=|kubectl create secret", line)
    ]
    path = f"{program('kubectl').parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", "\n".join([DRY_RUN, *wanted])],
        cwd=folder, env={"PATH": path, "HOME": str(folder)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.partition("\n")[2]  # what make-secrets.sh says
    return [each for each in yaml.safe_load_all(text) if each]


def keys(secrets: list[Manifest]) -> Keys:
    return {each["metadata"]["name"]: set(each["data"]) for each in secrets}


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def test_the_page_makes_every_secret_and_no_other(tree: Path, made: list[Manifest]) -> None:
    # What only one overlay or component wants included.
    needed: set[str] = set()
    for name in OVERLAYS:
        for pod in pods(render(tree, f"overlays/{name}")):
            needed |= references(pod, "Secret")
            volumes = pod.spec.get("volumes", [])
            needed |= {each["secret"]["secretName"] for each in volumes if "secret" in each}
    assert keys(made).keys() == needed


def test_every_way_to_make_the_secrets_gives_them_the_same_keys(
    tree: Path, made: list[Manifest]
) -> None:
    page = keys(made)
    assert page.pop("tls") == {"tls.crt", "tls.key"}
    assert page == keys(of_kind(render(tree, "overlays/dev"), "Secret"))
    stored = {
        each["metadata"]["name"]: {line["secretKey"] for line in each["spec"]["data"]}
        for each in of_kind(combined(tree, ("external-secrets",)), "ExternalSecret")
        if "data" in each["spec"]
    }
    assert page.keys() - stored.keys() == {"alertmanager"}  # whichever the store has
    assert {name: page[name] for name in stored if name != "tls"} == {
        name: stored[name] for name in stored if name != "tls"
    }


def test_every_key_is_read_by_what_mounts_its_secret(tree: Path, made: list[Manifest]) -> None:
    everything = combined(tree, TOGETHER)
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(everything, "ConfigMap")}
    read: Keys = {}
    for pod in pods(everything):
        paths = set()
        for container in pod.all_containers:
            given = {each["name"]: each.get("value", "") for each in container.get("env", [])}
            for source in container.get("envFrom", []):
                given |= maps[source["configMapRef"]["name"]]
            paths |= {Path(value).name for value in given.values() if "/run/secrets/" in value}
        for name in references(pod, "Secret"):
            read.setdefault(name, set()).update(paths)
    for name, found in keys(made).items():
        script = {"redis": "redis", "alertmanager": "alertmanager"}.get(name)
        if script:
            text = (ROOT / "ops" / script / "start.sh").read_text()
            assert all(key in text for key in found), name
        elif name != "tls":
            assert found == read[name] - {"footfall"}, name


def test_the_secrets_that_belong_together_are_the_same(made: list[Manifest]) -> None:
    values = {
        each["metadata"]["name"]: {
            key: base64.b64decode(value).decode().strip() for key, value in each["data"].items()
        }
        for each in made
    }
    for database, app, key in (
        ("user-db", "user-service", "users_database_url"),
        ("analytics-db", "analytics-service", "analytics_database_url"),
        ("analytics-db", "analytics-service", "analytics_replica_url"),
    ):
        assert f":{values[database]['app_password']}@" in values[app][key]
    for app, name in (
        ("user-service", "users"),
        ("analytics-service", "analytics"),
        ("frontend", "dashboard"),
    ):
        assert f":{values['redis'][f'{name}_password']}@redis:" in values[app]["redis_url"]
    addresses = {values[app]["client_address_secret"] for app in ("user-service", "frontend")}
    assert addresses == {values["analytics-service"]["client_address_secret"]}


def test_the_page_names_what_there_is(tree: Path) -> None:
    manifests = render(tree, "overlays/production")
    kinds = {"deployment": "Deployment", "service": "Service", "statefulset": "StatefulSet"}
    found = re.findall(r"\b(deployment|service|statefulset)/([a-z-]+)", PAGE)
    found += [("service", name) for name in re.findall(r"get service (.*)", PAGE)[0].split()]
    assert len(found) > 8
    assert [each for each in found if each[1] not in names(manifests, kinds[each[0]])] == []
    namespace = re.findall(r"--namespace=(\S+)", PAGE)
    assert set(namespace) == names(manifests, "Namespace")
    labels = {pod.labels["app.kubernetes.io/name"] for pod in pods(manifests) if pod.kind == "Job"}
    waited = re.findall(r"app.kubernetes.io/name in \((.*?)\)", PAGE)
    assert waited
    assert {each for group in waited for each in group.split(", ")} == labels
    folders = re.findall(r"\b(?:kustomize/)?((?:overlays|components|base)/[a-z./-]*[a-z])", PAGE)
    there = set(folders) - {"overlays/ours", "overlays/dev/secrets"}  # these are made
    assert [each for each in sorted(there) if not (ROOT / "kustomize" / each).exists()] == []


def test_the_overlay_that_the_page_shows_is_one(tree: Path) -> None:
    [lines] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    folder = tree / "kustomize" / "overlays" / "ours"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        f"namespace: microservices-analytics\nresources: [../production]\n{lines}"
    )
    maps = of_kind(render(tree, "overlays/ours"), "ConfigMap")
    [users] = [each["data"] for each in maps if "SMTP_HOST" in each["data"]]
    from users_app.config import UsersSettings

    fields = {name.upper() for name in UsersSettings.model_fields}
    assert {each.removesuffix("_FILE") for each in users} <= fields
    assert users["SMTP_PASSWORD_FILE"] == "/run/secrets/footfall/smtp_password"
