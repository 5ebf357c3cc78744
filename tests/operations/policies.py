"""Questions about rendered manifests: pods, references, containment, who may talk to whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Manifest = dict[str, Any]
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pod:
    """What a workload runs."""

    kind: str
    name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    replicas: int

    @property
    def containers(self) -> list[dict[str, Any]]:
        """The containers that stay."""
        found: list[dict[str, Any]] = self.spec["containers"]
        return found

    @property
    def all_containers(self) -> list[dict[str, Any]]:
        """Those that come first, too."""
        return self.spec.get("initContainers", []) + self.containers


def pods(manifests: list[Manifest]) -> Iterator[Pod]:
    for each in manifests:
        if each["kind"] in WORKLOADS:
            spec = each["spec"]
            template = spec.get("jobTemplate", {}).get("spec", spec)["template"]
            labels = template["metadata"]["labels"]
            replicas = spec.get("replicas", 1)
            yield Pod(each["kind"], each["metadata"]["name"], labels, template["spec"], replicas)


def names(manifests: list[Manifest], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in manifests if each["kind"] == kind}


def references(pod: Pod, kind: str) -> set[str]:
    """Returns the names of the ConfigMaps or Secrets that a pod can't start without."""
    volume, reference = (
        ("configMap", "configMapRef") if kind == "ConfigMap" else ("secret", "secretRef")
    )
    key = "name" if kind == "ConfigMap" else "secretName"
    found = set()
    for each in pod.spec.get("volumes", []):
        if (source := each.get(volume)) and not source.get("optional"):
            found.add(source[key])
    for container in pod.all_containers:
        for each in container.get("envFrom", []):
            if reference in each:
                found.add(each[reference]["name"])
        for each in container.get("env", []):
            asked = each.get("valueFrom", {}).get(f"{volume}KeyRef")
            if asked:
                found.add(asked["name"])
    return found


# What Kubernetes lets change in the spec of these; all else is what they were made with.
MUTABLE = {
    "StatefulSet": {
        "replicas", "ordinals", "template", "updateStrategy", "minReadySeconds",
        "persistentVolumeClaimRetentionPolicy", "revisionHistoryLimit",
    },
    "Job": {"parallelism", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"},
    "PersistentVolumeClaim": {"resources"},
}  # fmt: skip
IMMUTABLE = {
    "Deployment": {"selector"},
    "DaemonSet": {"selector"},
    "Service": {"clusterIP"},
}


def refused(before: list[Manifest], after: list[Manifest]) -> list[str]:
    """Returns what Kubernetes would refuse, were the one applied over the other."""
    old = {(each["kind"], each["metadata"]["name"]): each for each in before}
    complaints = []
    for new in after:
        kind, name = new["kind"], new["metadata"]["name"]
        if earlier := old.get((kind, name)):
            changed = [key for key in fixed(earlier) | fixed(new) if differs(earlier, new, key)]
            complaints += [f"{kind} {name}: {key}" for key in sorted(changed)]
    return complaints


def fixed(manifest: Manifest) -> set[str]:
    kind = manifest["kind"]
    if kind in ("ConfigMap", "Secret"):
        return {"data"} if manifest.get("immutable") else {"type"}
    if kind.endswith("Binding"):
        return {"roleRef"}
    if kind in MUTABLE:
        return set(manifest["spec"]) - MUTABLE[kind]
    return IMMUTABLE.get(kind, set())


def differs(before: Manifest, after: Manifest, key: str) -> bool:
    one, other = before.get("spec", before), after.get("spec", after)
    return bool(one.get(key) != other.get(key))


def unrestricted(pod: Pod) -> list[str]:
    """Returns what keeps a pod out of a namespace with restricted pod security."""
    complaints = []
    for word in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(word):
            complaints.append(word)
    for volume in pod.spec.get("volumes", []):
        complaints += [
            f"volume {key}" for key in volume if key not in RESTRICTED_VOLUMES | {"name"}
        ]
    of_pod = pod.spec.get("securityContext", {})
    for container in pod.all_containers:
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        rules = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser", 0) != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        complaints += [f"{container['name']}: {rule}" for rule, kept in rules.items() if not kept]
    return complaints


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "only matchLabels is understood here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: a pod of ours, a namespace, or an address of the outside world."""

    name: str = ""
    namespace: str = ""
    address: str = "192.0.2.1"
    # What a pod has besides its name.
    more: tuple[tuple[str, str], ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/name": self.name, **dict(self.more)} if self.name else {}

    @property
    def where(self) -> str:
        """The namespace; none for the outside world."""
        return "microservices-analytics" if self.name else self.namespace


def ends(manifests: list[Manifest]) -> dict[str, End]:
    """Returns the pods that there are by their names, those of an operator's databases too."""
    labels = [pod.labels for pod in pods(manifests)]
    labels += [
        each["spec"]["inheritedMetadata"]["labels"]
        for each in manifests
        if each["kind"] == "Cluster"
    ]
    named = {each["app.kubernetes.io/name"]: each for each in labels}
    return {name: End(name, more=tuple(each.items())) for name, each in named.items()}


def may_talk(
    manifests: list[Manifest], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the network policies let a connection through, judged at both ends."""
    policies = [each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"]
    asked = (port, protocol)
    return allows(policies, "Egress", source, target, asked) and allows(
        policies, "Ingress", target, source, asked
    )


def allows(
    policies: list[Manifest], way: str, here: End, there: End, asked: tuple[int, str]
) -> bool:
    if not here.name:
        return True  # not ours to judge
    about = [
        each
        for each in policies
        if way in each["policyTypes"] and matches(each["podSelector"], here.labels)
    ]
    rules = [rule for each in about for rule in each.get(way.lower(), [])]
    return not about or any(admits(rule, way, there, asked) for rule in rules)


def admits(rule: dict[str, Any], way: str, there: End, asked: tuple[int, str]) -> bool:
    ports = [(each["port"], each["protocol"]) for each in rule.get("ports", [])]
    peers = rule.get("from" if way == "Ingress" else "to")
    if ports and asked not in ports:
        return False
    return peers is None or any(is_peer(each, there) for each in peers)


def is_peer(peer: dict[str, Any], there: End) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(there.address)
        left_out = any(address in ip_network(each) for each in block.get("except", []))
        return not there.where and address in ip_network(block["cidr"]) and not left_out
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": there.where}
        return bool(there.where) and matches(peer["namespaceSelector"], labels)
    return bool(there.name) and matches(peer["podSelector"], there.labels)
