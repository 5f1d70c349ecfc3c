"""Check what is installed on a cluster: one line per check, with the remedy where it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from recsys_assets.compute_settings import Resources
from recsys_assets.operations.eks.installed import Installed, Object
from recsys_assets.settings import Settings

SETTINGS = "recsys-settings"
#: Secret → its keys.
SECRETS = {
    "recsys-secrets": ("RECSYS_TOKEN", "RECSYS_VALKEY_PASSWORD"),
    "dagster-postgresql": ("postgresql-password",),
}
CLAIMS = ("recsys-shared", "recsys-models")
#: Component → what it is.
PARTS = {
    "dagster-webserver": "Dagster's web server",
    "dagster-daemon": "Dagster's daemon",
    "dagster-code": "the code server",
    "triton": "Triton",
    "consumer": "the event consumer",
    "gateway": "the gateway",
}
POLICIES = (
    "recsys-training-isolated",
    "recsys-dagster-steps",
    "recsys-triton",
    "recsys-gateway",
    "recsys-consumer",
)
OLDEST = (1, 30)
COMPUTE, GPU = "recsys/compute", "nvidia.com/gpu"
#: Waiting reasons that end without help.
STARTING = ("ContainerCreating", "PodInitializing")
#: No variable has this prefix, so that the settings of this machine are not read.
NO_ENVIRONMENT = "RECSYS_OF_THE_CLUSTER_"


class Line(NamedTuple):
    """Holds the result of one check.

    ``held`` is None if the check cannot decide. ``found`` is the finding, or the fault and its
    remedy.
    """

    held: bool | None
    what: str
    found: str


def settings_of(installed: Installed) -> Settings:
    """Return the settings that the pods read; the defaults if there is no ConfigMap.

    Raises:
        ValidationError: one has a wrong value.
    """
    return _read_settings(installed.of("ConfigMap").get(SETTINGS, {}).get("data", {}))


def default_settings() -> Settings:
    """Return the settings of an installation that sets none."""
    return _read_settings({})


def _read_settings(data: Mapping[str, str]) -> Settings:
    given: dict[str, Any] = {
        name.removeprefix("RECSYS_").lower(): value for name, value in data.items()
    }
    return Settings(**{"_env_prefix": NO_ENVIRONMENT, "executor": "k8s", **given})


def all_lines(installed: Installed) -> list[Line]:
    """Run every check."""
    return [line for check in CHECKS for line in check(installed)]


def _unread(kind: str, what: str) -> Line:
    """Return the line of a check that needs a kind which this user may not read."""
    return Line(None, what, f"you may not read {kind}s here")


def _version(installed: Installed) -> Iterator[Line]:
    text, oldest = (".".join(map(str, one)) for one in (installed.version, OLDEST))
    if installed.version >= OLDEST:
        yield Line(True, "Kubernetes", text)
    else:
        yield Line(False, "Kubernetes", f"{text}: the charts need {oldest} or later")


def _settings(installed: Installed) -> Iterator[Line]:
    if "ConfigMap" in installed.refused:
        yield _unread("ConfigMap", "settings")
        return
    if SETTINGS not in installed.of("ConfigMap"):
        yield Line(False, "settings", f"no ConfigMap {SETTINGS}: install the chart recsys-base")
        return
    try:
        settings = settings_of(installed)
    except ValidationError as error:
        for one in error.errors():
            name = "_".join(map(str, one["loc"])).upper()
            yield Line(False, "settings", f"RECSYS_{name}: {one['msg']}")
        return
    data = installed.of("ConfigMap")[SETTINGS].get("data", {})
    known = {f"RECSYS_{name.upper()}" for name in Settings.model_fields}
    faults = [f"{name}: no setting of this version" for name in sorted(set(data) - known)]
    if settings.executor != "k8s":
        faults.append("RECSYS_EXECUTOR is not k8s: steps would run in the run's own pod")
    if not settings.training_image:
        faults.append("RECSYS_TRAINING_IMAGE is empty: no model can be trained")
    if not settings.home.is_relative_to(settings.k8s_shared_dir):
        faults.append(
            f"RECSYS_HOME={settings.home} is not on the shared volume {settings.k8s_shared_dir}"
        )
    if settings.k8s_namespace != installed.namespace:
        faults.append(f"RECSYS_K8S_NAMESPACE is {settings.k8s_namespace}: upgrade recsys-base")
    for fault in faults:
        yield Line(False, "settings", fault)
    if not faults:
        yield Line(True, "settings", f"{len(data)}, all known and valid")


def _secrets(installed: Installed) -> Iterator[Line]:
    for name, keys in SECRETS.items():
        if "Secret" in installed.refused:
            yield _unread("Secret", f"Secret {name}")
            continue
        secret = installed.of("Secret").get(name)
        lacking = [key for key in keys if key not in ((secret or {}).get("data") or {})]
        if secret is None:
            yield Line(False, f"Secret {name}", f"missing: create it with {', '.join(keys)}")
        elif lacking:
            yield Line(False, f"Secret {name}", f"lacks {', '.join(lacking)}: add it")
        else:
            yield Line(True, f"Secret {name}", ", ".join(keys))


def _claims(installed: Installed) -> Iterator[Line]:
    for name in CLAIMS:
        if "PersistentVolumeClaim" in installed.refused:
            yield _unread("PersistentVolumeClaim", f"volume {name}")
            continue
        claim = installed.of("PersistentVolumeClaim").get(name)
        if claim is None:
            yield Line(False, f"volume {name}", "no claim: install the chart recsys-base")
            continue
        phase = claim["status"].get("phase")
        many = "ReadWriteMany" in claim["spec"]["accessModes"]
        if phase == "Bound" and many:
            size = claim["status"].get("capacity", {}).get("storage", "?")
            yield Line(True, f"volume {name}", f"{size}, written by many nodes")
        elif not many:
            yield Line(False, f"volume {name}", "not ReadWriteMany: steps on two nodes need it")
        else:
            storage = claim["spec"].get("storageClassName")
            yield Line(
                False,
                f"volume {name}",
                f"{phase}: is there a storage class {storage}, with a provisioner for EFS?",
            )


def _nodes(installed: Installed) -> Iterator[Line]:
    try:
        profiles = settings_of(installed).profiles
    except ValidationError:
        return
    if "ConfigMap" in installed.refused:  # the profiles are not known
        yield _unread("ConfigMap", "nodes")
        return
    for compute in ("cpu", "gpu"):
        needed = largest(profiles, gpu=compute == "gpu")
        if needed is None:
            yield Line(True, f"{compute} nodes", "no profile needs one")
            continue
        pools = [name for name, pool in installed.of("NodePool").items() if _makes(pool, compute)]
        nodes = [
            node
            for node in installed.of("Node").values()
            if node["metadata"].get("labels", {}).get(COMPUTE) == compute
        ]
        unmet = {
            name: one
            for name, one in profiles.items()
            if bool(one.gpus) == (compute == "gpu") and not any(_fits(node, one) for node in nodes)
        }
        needed = largest(unmet, gpu=compute == "gpu") or needed
        asked = f"{needed.cpu} CPU, {needed.memory}" + (", 1 GPU" if needed.gpus else "")
        if not unmet:
            number = sum(_fits(node, needed) for node in nodes)
            yield Line(True, f"{compute} nodes", f"{number} with room for {asked}")
        elif pools:
            yield Line(True, f"{compute} nodes", f"started by the node pool {', '.join(pools)}")
        elif unread := [kind for kind in ("Node", "NodePool") if kind in installed.refused]:
            yield _unread(unread[0], f"{compute} nodes")
        elif nodes:
            yield Line(
                False,
                f"{compute} nodes",
                f"none of {len(nodes)} holds {asked}: take larger ones, or set RECSYS_K8S_PROFILES",
            )
        else:
            yield Line(
                False,
                f"{compute} nodes",
                f"no node and no node pool has the label {COMPUTE}={compute}: helm/karpenter, or "
                "kubectl label node",
            )


def _makes(pool: Object, compute: str) -> bool:
    """Return whether the nodes of a pool have the label; a template may have no metadata."""
    labels = pool["spec"]["template"].get("metadata", {}).get("labels", {})
    return bool(labels.get(COMPUTE) == compute)


def largest(profiles: dict[str, Resources], *, gpu: bool) -> Resources | None:
    """Return the profile with the most memory, with or without a GPU; None: there is none."""
    from kubernetes.utils import parse_quantity

    mine = [one for one in profiles.values() if bool(one.gpus) == gpu]
    return max(mine, key=lambda one: parse_quantity(one.memory), default=None)


def _fits(node: Object, needed: Resources) -> bool:
    from kubernetes.utils import parse_quantity

    free = node["status"].get("allocatable", {})
    return (
        parse_quantity(free.get("cpu", "0")) >= parse_quantity(needed.cpu)
        and parse_quantity(free.get("memory", "0")) >= parse_quantity(needed.memory)
        and int(free.get(GPU, "0")) >= needed.gpus
    )


def _policies(installed: Installed) -> Iterator[Line]:
    if "NetworkPolicy" in installed.refused:
        yield Line(None, "network policies", "you may not read them here")
        return
    lacking = [name for name in POLICIES if name not in installed.of("NetworkPolicy")]
    if lacking:
        yield Line(False, "network policies", f"missing: {', '.join(lacking)}")
    else:
        yield Line(
            True,
            "network policies",
            f"{len(POLICIES)}; that the cluster's network enforces them is not seen from here",
        )


def _parts(installed: Installed) -> Iterator[Line]:
    for component, what in PARTS.items():
        if "Pod" in installed.refused:
            yield _unread("Pod", what)
            continue
        pods = installed.pods(component)
        ready = [pod for pod in pods if _is_ready(pod)]
        stuck = [pod for pod in pods if _waiting(pod)]
        if ready and stuck:
            yield Line(False, what, f"{len(ready)} of {len(pods)} pods ready; {_why(stuck[0])}")
        elif ready:
            yield Line(True, what, f"{len(ready)} of {len(pods)} pods ready")
        elif not pods:
            yield Line(False, what, "no pod: is its chart installed?")
        elif component == "gateway" and all(map(_waits_for_release, pods)):
            yield Line(
                False,
                what,
                "waits for a release: run full_training, then promote (or the sensor "
                "passed_release)",
            )
        else:
            yield Line(False, what, _why(pods[0]))


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _waits_for_release(pod: Object) -> bool:
    """Return whether a pod has started and is not ready, as the gateway without a release."""
    statuses = pod["status"].get("containerStatuses", ())
    return bool(statuses) and all(one.get("started") for one in statuses)


def _waiting(pod: Object) -> bool:
    """Return whether a container waits for something that needs help, such as its image."""
    reasons = (
        status.get("state", {}).get("waiting", {}).get("reason")
        for status in pod["status"].get("containerStatuses", ())
    )
    return any(reason and reason not in STARTING for reason in reasons)


def _why(pod: Object) -> str:
    """Return why a pod is not ready."""
    name = pod["metadata"]["name"]
    for status in pod["status"].get("containerStatuses", ()):
        for state in ("waiting", "terminated"):
            if reason := status.get("state", {}).get(state, {}).get("reason"):
                return f"{name}: {reason}; kubectl describe pod {name}, kubectl logs {name}"
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{name}: {condition.get('message', 'not scheduled')}"
    return f"{name}: not ready; kubectl logs {name}"


def _images(installed: Installed) -> Iterator[Line]:
    tags: dict[str, list[str]] = {}
    for component in PARTS:
        for pod in installed.pods(component):
            containers = pod["spec"]["containers"]
            # others are side-cars, such as those of a mesh
            own = [one for one in containers if one.get("name") == component.split("-")[-1]]
            for container in own or containers:
                if tag := _tag(container["image"]):
                    tags.setdefault(tag, []).append(component)
    data = installed.of("ConfigMap").get(SETTINGS, {}).get("data", {})
    training = _tag(data.get("RECSYS_TRAINING_IMAGE", ""))
    if training:
        tags.setdefault(training, []).append("training")
    if len(tags) > 1:
        named = "; ".join(f"{tag}: {', '.join(sorted(set(of)))}" for tag, of in tags.items())
        yield Line(False, "images", f"several tags, which may not be compatible: {named}")
    elif tags:
        yield Line(True, "images", f"all of the tag {next(iter(tags))}")


def _tag(image: str) -> str | None:
    """Return the tag of an image; None if it is named by digest alone."""
    name = image.partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2] or None


CHECKS: tuple[Callable[[Installed], Iterator[Line]], ...] = (
    _version,
    _settings,
    _secrets,
    _claims,
    _nodes,
    _policies,
    _images,
    _parts,
)
