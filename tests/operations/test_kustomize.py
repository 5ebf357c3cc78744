"""Every overlay and component rendered by kubectl, validated strictly, held to our policies."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chassis.config import Settings
from chassis.version import VERSION
from tests.operations.policies import (
    End,
    Manifest,
    ends,
    may_talk,
    names,
    pods,
    references,
    refused,
    unrestricted,
)
from tests.operations.programs import output, program
from tests.stack import ROOT

COMPONENTS = sorted(each.name for each in (ROOT / "kustomize" / "components").iterdir())
# They replace the same StatefulSet, or the same load balancers, in two ways.
EXCLUSIVE = [{"citus", "cloudnative-pg"}, {"one-load-balancer", "traefik"}]
TOGETHER = tuple(each for each in COMPONENTS if each not in ("cloudnative-pg", "one-load-balancer"))
COMBINATIONS = [(each,) for each in COMPONENTS] + [
    pair
    for pair in itertools.combinations(COMPONENTS, 2)
    if not any(set(pair) == both for both in EXCLUSIVE)
]
OVERLAYS = ("dev", "staging", "production")
NOT_KUBERNETES = (
    "external-secrets.io",
    "istio.io",
    "cnpg.io",
    "traefik.io",
    "kustomize.config.k8s.io",
)
# Of a migration: its image, the file with the database's URL, and the Secret that has it.
Job = tuple[str, str, Manifest]
WEB = ("user-service", "analytics-service", "frontend")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a copy of the manifests, with the dev overlay's secrets made."""
    program("kubectl")
    copy = tmp_path_factory.mktemp("tree")
    shutil.copytree(
        ROOT / "kustomize", copy / "kustomize", ignore=shutil.ignore_patterns("secrets")
    )
    shutil.copytree(ROOT / "ops", copy / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    output(copy / "ops" / "make-secrets.sh", copy / "kustomize" / "overlays" / "dev" / "secrets")
    return copy


def render(tree: Path, folder: str) -> list[Manifest]:
    text = output(program("kubectl"), "kustomize", tree / "kustomize" / folder)
    return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]


def combined(tree: Path, components: tuple[str, ...]) -> list[Manifest]:
    """Renders the base with some components, as an overlay of one's own would."""
    folder = tree / "kustomize" / "overlays" / "-".join(components)
    folder.mkdir(exist_ok=True)
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../base"],
        "components": [f"../../components/{each}" for each in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return render(tree, f"overlays/{folder.name}")


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, tree: Path) -> list[Manifest]:
    return render(tree, f"overlays/{request.param}")


@pytest.fixture(scope="module")
def production(tree: Path) -> list[Manifest]:
    return render(tree, "overlays/production")


@pytest.fixture(scope="module")
def everything(tree: Path) -> list[Manifest]:
    """Returns the base with every component that can stand beside the others."""
    return combined(tree, TOGETHER)


@cache
def validate_one(text: str) -> None:
    kubernetes_validate.validate(json.loads(text), "1.35", strict=True)


def validate(manifests: list[Manifest]) -> None:
    """Checks each against the strict schema; custom resources have none here."""
    for each in manifests:
        if not each["apiVersion"].split("/")[0].endswith(NOT_KUBERNETES):
            validate_one(json.dumps(each, sort_keys=True))
    twice = Counter((each["kind"], each["metadata"]["name"]) for each in manifests)
    assert [key for key, count in twice.items() if count > 1] == []


def test_traefik_agrees_on_the_cipher_suites_that_nginx_does(tree: Path) -> None:
    manifests = combined(tree, ("traefik",))
    (option,) = (each for each in manifests if each["kind"] == "TLSOption")
    suites = option["spec"]["cipherSuites"]
    assert all(each.startswith("TLS_ECDHE_") and "_CBC_" not in each for each in suites)
    name = f"{option['metadata']['namespace']}-{option['metadata']['name']}@kubernetescrd"
    ingresses = [each for each in manifests if each["kind"] == "Ingress"]
    assert len(ingresses) == 3
    key = "traefik.ingress.kubernetes.io/router.tls.options"
    assert {each["metadata"]["annotations"][key] for each in ingresses} == {name}


def test_every_overlay_is_valid(overlay: list[Manifest]) -> None:
    validate(overlay)
    assert_all_that_must_talk_may(overlay)


@pytest.mark.parametrize("components", COMBINATIONS, ids="+".join)
def test_components_render_alone_and_in_pairs(tree: Path, components: tuple[str, ...]) -> None:
    found = combined(tree, components)
    validate(found)
    assert_contained(found)
    assert_all_that_must_talk_may(found)
    # A policy without the others would cut its pods off.
    assert bool(names(found, "NetworkPolicy")) == ("network-policies" in components)


def test_all_components_render_together(everything: list[Manifest]) -> None:
    validate(everything)
    assert_contained(everything)
    assert_all_that_must_talk_may(everything)


def assert_contained(manifests: list[Manifest]) -> None:
    complaints = {pod.name: unrestricted(pod) for pod in pods(manifests)}
    assert {name: each for name, each in complaints.items() if each} == {}
    dangling = {
        pod.name: references(pod, "ConfigMap") - names(manifests, "ConfigMap")
        for pod in pods(manifests)
    }
    assert {name: each for name, each in dangling.items() if each} == {}


def test_the_namespace_enforces_restricted_pod_security(overlay: list[Manifest]) -> None:
    [namespace] = [each for each in overlay if each["kind"] == "Namespace"]
    assert namespace["metadata"]["name"] == "microservices-analytics"
    for mode in ("enforce", "audit", "warn"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"
    others = {
        each["metadata"].get("namespace")
        for each in overlay
        if each["kind"] not in ("Namespace", "ClusterRole", "ClusterRoleBinding")
    }
    assert others == {"microservices-analytics"}


def test_the_names_are_those_that_were_promised(overlay: list[Manifest]) -> None:
    assert {"user-db", "analytics-db"} <= names(overlay, "StatefulSet")
    assert {*WEB, "relay", "maintenance"} <= names(overlay, "Deployment")
    types = {
        each["metadata"]["name"]: each["spec"].get("type")
        for each in overlay
        if each["kind"] == "Service"
    }
    assert {types[name] for name in WEB} == {"LoadBalancer"}
    assert types["user-db"] == types["analytics-db"] == "ClusterIP"


def test_every_reference_leads_somewhere(overlay: list[Manifest]) -> None:
    assert_contained(overlay)
    given = names(overlay, "Secret") | names(overlay, "ExternalSecret")
    for pod in pods(overlay):
        assert references(pod, "Secret") <= given, pod.name


def test_external_secrets_provide_every_secret_of_every_component(
    everything: list[Manifest],
) -> None:
    needed = set().union(*(references(pod, "Secret") for pod in pods(everything)))
    assert needed <= names(everything, "ExternalSecret")


def test_every_setting_is_one_that_the_app_reads(tree: Path) -> None:
    from analytics_app.config import AnalyticsSettings
    from dashboard_app.config import DashboardSettings
    from users_app.config import UsersSettings

    of: dict[str, type[Settings]] = {
        "users": UsersSettings,
        "analytics": AnalyticsSettings,
        "dashboard": DashboardSettings,
    }
    elsewhere = {"WEB_WORKERS", "WEB_THREADS", "WEB_MAX_REQUESTS"}
    manifests = render(tree, "overlays/production")
    maps = {
        each["metadata"]["name"]: each["data"] for each in manifests if each["kind"] == "ConfigMap"
    }
    for pod in pods(manifests):
        for container in pod.all_containers:
            image = container["image"].rpartition("/")[2].partition(":")[0]
            if image.startswith("footfall-"):
                fields = of[image.removeprefix("footfall-")].model_fields
                known = {name.upper() for name in fields} | elsewhere
                given = {each["name"] for each in container.get("env", [])}
                for source in container.get("envFrom", []):
                    given |= maps[source["configMapRef"]["name"]].keys()
                assert given, pod.name
                assert {each.removesuffix("_FILE") for each in given} <= known, pod.name


def test_secrets_hold_every_file_that_a_setting_names(tree: Path) -> None:
    manifests = render(tree, "overlays/dev")
    keys = {
        each["metadata"]["name"]: set(each["data"])
        for each in manifests
        if each["kind"] == "Secret"
    }
    maps = {
        each["metadata"]["name"]: each["data"] for each in manifests if each["kind"] == "ConfigMap"
    }
    seen = 0
    for pod in pods(manifests):
        held = set().union(*(keys[name] for name in references(pod, "Secret")), set())
        for container in pod.all_containers:
            variables = {each["name"]: each.get("value", "") for each in container.get("env", [])}
            for source in container.get("envFrom", []):
                variables |= maps[source["configMapRef"]["name"]]
            for name, path in variables.items():
                if name.endswith("_FILE"):
                    assert path.startswith("/run/secrets/footfall/"), (pod.name, name)
                    assert Path(path).name in held, (pod.name, name)
                    seen += 1
    assert seen > 15


def test_dev_names_no_address_that_is_an_example(tree: Path) -> None:
    """Prometheus has the public addresses asked, and would report these as down."""
    maps = [each["data"] for each in render(tree, "overlays/dev") if each["kind"] == "ConfigMap"]
    settings = [f"{name}={text}" for data in maps for name, text in data.items() if "URL" in name]
    assert len(settings) > 5
    assert [each for each in settings if "example.com" in each] == []


@pytest.mark.parametrize("name", ["staging", "production"])
def test_no_secret_is_rendered_outside_dev(tree: Path, name: str) -> None:
    assert names(render(tree, f"overlays/{name}"), "Secret") == set()


def test_no_secret_is_committed() -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    kept = output("git", "ls-files", "kustomize", "ops").splitlines()
    assert kept
    assert not [path for path in kept if "/secrets/" in path]
    assert "PRIVATE KEY" not in "".join((ROOT / path).read_text() for path in kept)


def test_every_container_has_probes_and_limits(overlay: list[Manifest]) -> None:
    for pod in pods(overlay):
        for container in pod.all_containers:
            resources = container["resources"]
            for kind in ("requests", "limits"):
                assert resources[kind].keys() >= {"cpu", "memory"}, (pod.name, container["name"])
        if pod.kind != "Job":
            for container in pod.containers:
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    assert probe in container, (pod.name, container["name"], probe)


def test_requests_and_limits_of_memory_follow_the_capacity_table(
    production: list[Manifest],
) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    [web] = [
        int(each["data"]["WEB_WORKERS"])
        for each in production
        if each["kind"] == "ConfigMap" and "WEB_WORKERS" in each["data"]
    ]
    measured = {}
    for name, app in (
        ("user-service", "a users"),
        ("analytics-service", "an analytics"),
        ("frontend", "a dashboard"),
    ):
        [(worker, master)] = re.findall(
            rf"memory of {app} worker \| (\d+) MB, its master (\d+) MB", text
        )
        measured[name] = web * int(worker) + int(master)
    [(relay, maintenance)] = re.findall(
        r"memory of the relay, of maintenance \| (\d+) MB, (\d+) MB", text
    )
    measured |= {"relay": int(relay), "maintenance": int(maintenance)}
    by_name = {pod.name: pod for pod in pods(production)}
    for name, needed in measured.items():
        [app] = [each for each in by_name[name].containers if each["name"] == "app"]
        [tmp] = [
            each["emptyDir"] for each in by_name[name].spec["volumes"] if each["name"] == "tmp"
        ]
        assert tmp["medium"] == "Memory"
        given = {kind: mebibytes(each["memory"]) for kind, each in app["resources"].items()}
        assert needed <= given["requests"] <= 1.5 * needed, name
        # What lies in /tmp counts too.
        assert needed + mebibytes(tmp["sizeLimit"]) <= given["limits"] <= 4 * needed, name


def mebibytes(quantity: str) -> int:
    [(number, unit)] = re.findall(r"^(\d+)(Mi|Gi)$", quantity)
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_readiness_asks_for_dependencies_and_liveness_does_not(production: list[Manifest]) -> None:
    for pod in pods(production):
        if pod.name in WEB:
            [app] = [each for each in pod.containers if each["name"] == "app"]
            assert app["readinessProbe"]["httpGet"]["path"] == "/health"
            assert app["livenessProbe"]["httpGet"]["path"] == "/health/live"


def test_what_runs_twice_is_spread_and_survives_a_drain(production: list[Manifest]) -> None:
    budgets = {
        each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]: each["spec"]
        for each in production
        if each["kind"] == "PodDisruptionBudget"
    }
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
        for each in production
        if each["kind"] == "HorizontalPodAutoscaler"
    }
    twice = set()
    for pod in pods(production):
        replicas = scaled.get(pod.name, pod.replicas)
        if pod.kind == "Deployment" and replicas > 1:
            twice.add(pod.name)
            assert budgets[pod.name]["minAvailable"] < replicas
            for each in pod.spec["topologySpreadConstraints"]:
                assert each["labelSelector"]["matchLabels"].items() <= pod.labels.items()
    assert twice == {*WEB, "relay"}


def test_the_release_is_in_images_and_in_the_jobs_names(production: list[Manifest]) -> None:
    jobs = {name.rpartition("-")[0] for name in names(production, "Job")}
    assert jobs == {f"migrate-users-{VERSION}", f"migrate-analytics-{VERSION}"}
    for pod in pods(production):
        for container in pod.all_containers:
            image, _, tag = container["image"].rpartition(":")
            assert image, container["image"]
            assert tag != "latest"
            assert "@" not in container["image"]
            if "footfall-" in image:
                assert tag == VERSION


def render_with(tree: Path, overlay: str, **changes: list[Any]) -> list[Manifest]:
    """Renders an overlay as it would be with these lines of a kustomization changed."""
    folder = tree / "kustomize" / "overlays" / "changed"
    folder.mkdir(exist_ok=True)
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "microservices-analytics",
        "resources": [f"../{overlay}"],
        **changes,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return render(tree, "overlays/changed")


def without_hash(manifest: Manifest) -> str:
    """Returns the name that kustomize's hash was put behind."""
    name, _, suffix = str(manifest["metadata"]["name"]).rpartition("-")
    return name if re.fullmatch("[a-z0-9]{10}", suffix) else str(manifest["metadata"]["name"])


def every_change(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Yields what may change in an overlay, the settings of one ConfigMap after the other."""
    files = []
    secrets = []
    for each in manifests:
        if each["kind"] in ("ConfigMap", "Secret"):
            # A path to a Secret's file goes with its mount and is no setting.
            keys = [key for key in each["data"] if not key.endswith("_FILE")]
            literals = [f"{key}=changed" for key in keys]
            line = {"name": without_hash(each), "behavior": "merge", "literals": literals}
            if each["kind"] == "Secret":
                secrets.append(line)
            elif any("." in key for key in keys):
                files.append(line)
            else:
                yield line["name"], {"configMapGenerator": [line]}
    yield "files", {"configMapGenerator": files}
    if secrets:
        yield "Secrets", {"secretGenerator": secrets}
    images = {container["image"] for pod in pods(manifests) for container in pod.all_containers}
    repositories = sorted({image.rpartition(":")[0] for image in images})
    yield "releases", {"images": [{"name": name, "newTag": "changed"} for name in repositories]}
    moved = [{"name": name, "newName": f"mirror.example.com/{name}"} for name in repositories]
    yield "registries", {"images": moved}
    counted = [pod for pod in pods(manifests) if pod.kind in ("Deployment", "StatefulSet")]
    yield "replicas", {"replicas": [{"name": pod.name, "count": 7} for pod in counted]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_that_may_change_meets_what_can_not(tree: Path, name: str) -> None:
    before = render_with(tree, name)
    complaints = {}
    for what, change in every_change(before):
        after = render_with(tree, name, **change)
        assert after != before, what
        assert_pods_wait_for_what_a_job_brings(after)
        complaints[what] = refused(before, after)
    assert {"app", "user-service", "analytics-service", "frontend"} <= complaints.keys()
    assert {what: each for what, each in complaints.items() if each} == {}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_next_release_meets_nothing_that_can_not_change(tree: Path, name: str) -> None:
    before = render(tree, f"overlays/{name}")
    base = tree / "kustomize" / "base"
    old = {path: path.read_text() for path in base.glob("*.yaml")}
    try:
        for path, text in old.items():
            path.write_text(text.replace(VERSION, "9.9.9"))
        after = render(tree, f"overlays/{name}")
    finally:
        for path, text in old.items():
            path.write_text(text)
    assert refused(before, after) == []
    assert_pods_wait_for_what_a_job_brings(after)
    assert names(before, "Job").isdisjoint(names(after, "Job"))


def assert_pods_wait_for_what_a_job_brings(manifests: list[Manifest]) -> None:
    """Checks that each pod that waits for a schema has a Job of its image at its database."""
    maps = {
        each["metadata"]["name"]: each["data"] for each in manifests if each["kind"] == "ConfigMap"
    }
    jobs: dict[str, Job] = {}
    waiting: dict[str, Job] = {}
    for pod in pods(manifests):
        volumes = {each["name"]: each for each in pod.spec.get("volumes", [])}
        if pod.kind == "Job":
            [container] = pod.containers
            given = {each["name"]: each["value"] for each in container["env"]}
            section = container["command"][container["command"].index("-n") + 1]
            jobs[section] = (container["image"], database_file(given), volumes["secrets"])
        for container in pod.spec.get("initContainers", []):
            given = maps[container["envFrom"][0]["configMapRef"]["name"]]
            section = container["command"][-1]
            found = (container["image"], database_file(given), volumes["secrets"])
            assert waiting.setdefault(section, found) == found, pod.name
    assert jobs.keys() == {"users", "analytics"}
    assert waiting == jobs


def database_file(settings: dict[str, str]) -> str:
    [path] = [value for key, value in settings.items() if key.endswith("_DATABASE_URL_FILE")]
    return path


def test_a_job_refers_to_nothing_that_has_a_hash(tree: Path) -> None:
    # What a hash is taken of does not include the hashes of others.
    for name in OVERLAYS:
        manifests = render(tree, f"overlays/{name}")
        hashed = {each["metadata"]["name"] for each in manifests} - set(
            map(without_hash, manifests)
        )
        for pod in pods(manifests):
            if pod.kind == "Job":
                assert not hashed & (references(pod, "ConfigMap") | references(pod, "Secret"))


def test_load_balancers_lead_to_nginx_and_never_to_an_app(production: list[Manifest]) -> None:
    by_name = {pod.name: pod for pod in pods(production)}
    for service in production:
        if service["kind"] == "Service" and service["spec"].get("type") == "LoadBalancer":
            pod = by_name[service["spec"]["selector"]["app.kubernetes.io/name"]]
            [nginx] = [each for each in pod.containers if each["name"] == "nginx"]
            offered = {each["name"] for each in nginx["ports"]}
            assert {each["targetPort"] for each in service["spec"]["ports"]} <= offered
            [tls] = [each for each in pod.spec["volumes"] if each["name"] == "tls"]
            assert tls["secret"]["optional"] is False


def test_one_load_balancer_leads_to_the_three_by_one_proxy(tree: Path) -> None:
    manifests = combined(tree, ("one-load-balancer",))
    services = {each["metadata"]["name"]: each["spec"] for each in manifests if is_service(each)}
    outside = {name for name, spec in services.items() if spec.get("type") == "LoadBalancer"}
    assert outside == {"gateway"}
    assert services["gateway"]["externalTrafficPolicy"] == "Local"
    [gateway] = [pod for pod in pods(manifests) if pod.name == "gateway"]
    [nginx] = gateway.containers
    [routes] = [each["value"] for each in nginx["env"] if each["name"] == "ROUTES"]
    offered = {each["name"]: each["containerPort"] for each in nginx["ports"]}
    listened = {offered[each["targetPort"]] for each in services["gateway"]["ports"]}
    assert listened == {int(each.partition("=")[0]) for each in routes.split()}
    asked = {each.partition("=")[2] for each in routes.split()}
    assert asked == {f"{name}.microservices-analytics.svc.cluster.local:8000" for name in WEB}
    for name in WEB:
        # The app itself, past its pod's nginx: the gateway is the one proxy that it trusts.
        assert {"name": "app", "port": 8000, "targetPort": "app"} in services[name]["ports"]
        assert "externalTrafficPolicy" not in services[name]
    [app] = [
        each for each in manifests if each["kind"] == "ConfigMap" and "WEB_WORKERS" in each["data"]
    ]
    assert app["data"]["TRUSTED_PROXIES"] == "1"
    [tls] = [each["secret"] for each in gateway.spec["volumes"] if each["name"] == "tls"]
    assert not tls.get("optional")


def is_service(manifest: Manifest) -> bool:
    return bool(manifest["kind"] == "Service")


def test_every_service_selects_pods_that_have_its_port(everything: list[Manifest]) -> None:
    for service in (each for each in everything if each["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        chosen = [pod for pod in pods(everything) if selector <= pod.labels.items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        ports = {port["name"] for each in chosen[0].containers for port in each.get("ports", [])}
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports


# Who talks to whom, and nobody else does.
TALK = {
    ("frontend", "user-service"): 8080,
    ("frontend", "analytics-service"): 8080,
    ("frontend", "redis"): 6379,
    ("user-service", "analytics-service"): 8080,  # the export of one's own data
    ("user-service", "user-db"): 5432,
    ("user-service", "redis"): 6379,
    ("relay", "user-db"): 5432,
    ("relay", "analytics-service"): 8080,
    ("relay", "redis"): 6379,
    ("analytics-service", "user-service"): 8080,  # the public keys
    ("analytics-service", "analytics-db"): 5432,
    ("analytics-service", "analytics-replica"): 5432,
    ("analytics-service", "redis"): 6379,
    ("maintenance", "analytics-db"): 5432,
    ("maintenance", "analytics-replica"): 5432,
    ("maintenance", "user-service"): 8080,
    ("maintenance", "redis"): 6379,
    ("migrate-users", "user-db"): 5432,
    ("migrate-analytics", "analytics-db"): 5432,
    ("gateway", "user-service"): 8000,
    ("gateway", "analytics-service"): 8000,
    ("gateway", "frontend"): 8000,
    ("blackbox-exporter", "gateway"): 8443,
    ("prometheus", "user-service"): 8000,
    ("prometheus", "analytics-service"): 8000,
    ("prometheus", "frontend"): 8000,
    ("prometheus", "node-exporter"): 9100,
    ("prometheus", "user-backup"): 9100,
    ("prometheus", "analytics-backup"): 9100,
    ("prometheus", "alertmanager"): 9093,
    ("prometheus", "blackbox-exporter"): 9115,
    ("blackbox-exporter", "user-service"): 8443,
    ("blackbox-exporter", "analytics-service"): 8443,
    ("blackbox-exporter", "frontend"): 8443,
    ("grafana", "prometheus"): 9090,
    ("grafana", "alertmanager"): 9093,
    ("user-backup", "user-db"): 5432,
    ("analytics-backup", "analytics-db"): 5432,
    ("analytics-replica", "analytics-db"): 5432,
}
# What else must be reached: by whom, where, at which ports.
BEYOND = [
    ("relay", End(), (465, 587)),  # mail
    ("alertmanager", End(), (443, 465, 587)),
    ("prometheus", End(), (443, 6443, 10250)),  # the API and the kubelets
    ("blackbox-exporter", End(), (443, 8002)),
    *(
        (name, End(namespace="tracing"), (4318,))
        for name in ("user-service", "relay", "analytics-service", "maintenance", "frontend")
    ),
]
PUBLIC = [*((name, 8443) for name in (*WEB, "gateway")), ("gateway", 8001), ("gateway", 8002)]
DNS = [End(namespace="kube-system"), End(address="169.254.20.10")]  # and NodeLocal DNSCache


def assert_all_that_must_talk_may(manifests: list[Manifest]) -> None:
    """Checks the connections that the pods need, of those that there are, and their DNS."""
    cut_off = [each for each in needed(manifests) if not may_talk(manifests, *each)]
    assert cut_off == []


def needed(manifests: list[Manifest]) -> Iterator[tuple[End, End, int, str]]:
    there = ends(manifests)
    for end, server, protocol in itertools.product(there.values(), DNS, ("UDP", "TCP")):
        yield end, server, 53, protocol
    for (source, target), port in TALK.items():
        if {source, target} <= there.keys():
            yield there[source], there[target], port, "TCP"
    for name, beyond, ports in BEYOND:
        if name in there:
            yield from ((there[name], beyond, port, "TCP") for port in ports)
    for name, port in PUBLIC:
        if name in there:
            yield End(), there[name], port, "TCP"
    yield from needed_by_operators(manifests, there)


def needed_by_operators(
    manifests: list[Manifest], there: dict[str, End]
) -> Iterator[tuple[End, End, int, str]]:
    if names(manifests, "Ingress"):
        yield from ((End(namespace="traefik"), there[name], 8080, "TCP") for name in WEB)
    if names(manifests, "PeerAuthentication"):
        yield from ((each, End(namespace="istio-system"), 15012, "TCP") for each in there.values())
    for name in names(manifests, "Cluster"):
        yield End(namespace="cnpg-system"), there[name], 8000, "TCP"
        yield there[name], there[name], 5432, "TCP"
        yield there[name], End(), 6443, "TCP"


PLAIN = ("network-policies", "observability", "backup", "read-replica", "one-load-balancer")
PORTS = (5432, 6379, 8000, 8080, 8099, 8443, 9090, 9093, 9100, 9115, 3000)


def test_the_network_policies_let_through_exactly_what_is_declared(tree: Path) -> None:
    manifests = combined(tree, PLAIN)
    there = ends(manifests)
    assert {name for pair in TALK for name in pair} == there.keys()
    found = {
        (source, target, port)
        for source, target, port in itertools.product(there, there, PORTS)
        if may_talk(manifests, there[source], there[target], port)
    }
    declared = {(source, target, port) for (source, target), port in TALK.items()}
    assert found == declared


def test_the_world_reaches_the_three_by_https_and_nothing_else(tree: Path) -> None:
    manifests = combined(tree, PLAIN)
    there = ends(manifests)
    strangers = [End(), End(namespace="traefik"), End(namespace="cnpg-system")]
    found = {
        (name, port)
        for stranger, name, port in itertools.product(strangers, there, PORTS)
        if may_talk(manifests, stranger, there[name], port)
    }
    assert found == {(name, 8443) for name in (*WEB, "gateway")}
    ports = (25, 80, 443, 465, 587, 4318, 6443, 8002, 8443, 10250)
    leaves = {
        (name, port)
        for name, port in itertools.product(there, ports)
        if may_talk(manifests, there[name], End(), port)
    }
    wanted = {(name, port) for name, end, ports in BEYOND for port in ports if end == End()}
    assert leaves == wanted | {("blackbox-exporter", 8443)}  # where the cluster cuts it short
    inside = End(address="10.1.2.3")
    assert not may_talk(manifests, there["relay"], inside, 587)


def test_a_policy_that_is_missing_would_be_noticed() -> None:
    deny = {"kind": "NetworkPolicy", "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    assert may_talk([], End("a"), End("b"), 1)
    assert not may_talk([deny], End("a"), End("b"), 1)


def test_every_component_has_its_line_in_the_readme() -> None:
    readme = (ROOT / "kustomize" / "README.md").read_text()
    assert [each for each in COMPONENTS if f"| `components/{each}` |" not in readme] == []


def test_kubectl_is_the_one_that_is_pinned() -> None:
    assert os.access(program("kubectl"), os.X_OK)
    assert "v1.35." in output(program("kubectl"), "version", "--client")
