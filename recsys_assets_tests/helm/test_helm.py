"""The charts lint and render, and what they render is valid and safe."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes.utils import parse_quantity

from recsys_assets.operations.triton_server import servable_models
from recsys_assets.orchestration import compute
from recsys_assets.serving.triton.model_control import READY_WHILE_LOADING, control_key
from recsys_assets.serving.triton.served import ENTRANCES
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.helm.conftest import CHARTS, DEFINITIONS

RENDERINGS = [
    (path.parent.parent.name, path.name.removesuffix("-values.yaml"))
    for path in sorted(CHARTS.glob("*/ci/*-values.yaml"))
]
CUSTOM = {
    "NodePool": "karpenter.sh_nodepools.yaml",
    "EC2NodeClass": "karpenter.k8s.aws_ec2nodeclasses.yaml",
    "ServiceMonitor": "monitoring.coreos.com_servicemonitors.yaml",
}
#: They start and end the pods of runs.
CALLS_KUBERNETES = {"recsys-dagster-daemon", "recsys-dagster-webserver"}
#: A name, a colon and a tag: no registry, no "latest", no empty tag.
IMAGE = re.compile(r"[a-z0-9-]+:(?!latest$)[A-Za-z0-9_][A-Za-z0-9_.-]*")


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in manifests:
        if (
            "template" in manifest.get("spec", {})
            and "containers" in manifest["spec"]["template"]["spec"]
        ):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def test_every_chart_has_values_for_its_test():
    assert {chart for chart, _ in RENDERINGS} == {
        path.parent.name for path in CHARTS.glob("*/Chart.yaml")
    }


@pytest.mark.parametrize(("chart", "values"), RENDERINGS)
def test_lints(helm, chart, values):
    helm(
        "lint",
        "--strict",
        str(CHARTS / chart),
        "--values",
        str(CHARTS / chart / "ci" / f"{values}-values.yaml"),
    )


@pytest.mark.parametrize(("chart", "values"), RENDERINGS)
def test_manifests_are_valid(rendered, chart, values):
    manifests = rendered(chart, values)
    assert manifests
    seen = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(seen) == len(set(seen))
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(
                manifest, kubernetes_validate.latest_version(), strict=True
            )


@pytest.mark.skipif(
    not DEFINITIONS.is_dir(),
    reason=f"{DEFINITIONS} is absent: the custom resources' own schemas lie there",
)
@pytest.mark.parametrize(("chart", "values"), RENDERINGS)
def test_custom_resources_are_valid(rendered, chart, values):
    for manifest in rendered(chart, values):
        if manifest["kind"] in CUSTOM:
            validate_custom(manifest)


def validate_custom(manifest: dict[str, Any]) -> None:
    """Against the resource's own schema; a property that the schema does not know is an error, as
    for kubectl.
    """
    (definition,) = [
        d for d in yaml.safe_load_all((DEFINITIONS / CUSTOM[manifest["kind"]]).read_text()) if d
    ]
    version = manifest["apiVersion"].rsplit("/", 1)[-1]
    (schema,) = [
        v["schema"]["openAPIV3Schema"]
        for v in definition["spec"]["versions"]
        if v["name"] == version
    ]
    jsonschema.Draft202012Validator(close(schema)).validate(manifest)


def close(schema: Any) -> Any:
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: close(part) for name, part in schema.items()}
    if (
        "properties" in schema
        and "additionalProperties" not in schema
        and schema.get("type") == "object"
        and set(schema["properties"]) != {"apiVersion", "kind", "metadata", "spec", "status"}
    ):
        closed["additionalProperties"] = False
    return closed


@pytest.mark.skipif(not DEFINITIONS.is_dir(), reason=f"{DEFINITIONS} is absent")
def test_a_misspelt_custom_resource_is_refused(rendered):
    pool = yaml.safe_load(yaml.safe_dump(one(rendered("karpenter"), "NodePool", "recsys-gpu")))
    pool["spec"]["disruption"]["consolidationPolicies"] = "WhenEmpty"
    with pytest.raises(jsonschema.ValidationError, match="consolidationPolicies"):
        validate_custom(pool)


@pytest.mark.parametrize(("chart", "values"), RENDERINGS)
def test_pods_are_safe(rendered, chart, values):
    for name, pod in pods(rendered(chart, values)):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == compute.UID, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is (name in CALLS_KUBERNETES), name
        assert pod["enableServiceLinks"] is False, name
        assert pod["serviceAccountName"] != "default", name
        for container in pod["containers"] + pod.get("initContainers", []):
            assert IMAGE.fullmatch(container["image"]), container["image"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            if pod.get("restartPolicy") != "Never":  # a job's pod ends by itself
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name
            for module in [
                part for part in container["command"] if part.startswith("recsys_assets.")
            ]:
                assert find_spec(module), f"{name} runs {module}, which does not exist"


@pytest.mark.parametrize(
    "path", sorted(CHARTS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CHARTS))
)
def test_no_secret_and_no_registry_in_a_file(path: Path):
    text = path.read_text()
    assert not re.search(
        r"(docker\.io|ghcr\.io|quay\.io|nvcr\.io|dkr\.ecr\.|gcr\.io|registry\.k8s\.io)", text
    )
    assert not re.search(r"kind: Secret\b|AKIA[0-9A-Z]{16}|[Pp]assword: [^{\s]", text)
    assert ":latest" not in text
    assert "@latest" not in text


# --- names that must agree between parts ----------------------------------------------------------


def base_settings(rendered) -> dict[str, str]:
    return one(rendered("recsys-base"), "ConfigMap", "recsys-settings")["data"]


def test_settings_are_the_settings_objects_own(rendered, monkeypatch):
    given = base_settings(rendered)
    known = {f"RECSYS_{name.upper()}" for name in Settings.model_fields}
    assert set(given) <= known
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.executor == "k8s"
    assert str(settings.home).startswith(f"{settings.k8s_shared_dir}/")
    assert settings.gateway_port == 8080


def test_no_service_shadows_a_setting(rendered):
    """Kubernetes gives pods <SERVICE>_PORT and the like for each Service; the Dagster chart's pods
    take them.
    """
    services = [
        m["metadata"]["name"]
        for chart, values in RENDERINGS
        for m in rendered(chart, values)
        if m["kind"] == "Service"
    ]
    injected = {
        f"{name.upper().replace('-', '_')}_{suffix}"
        for name in services
        for suffix in ("PORT", "SERVICE_HOST", "SERVICE_PORT")
    }
    settings = {f"RECSYS_{name.upper()}" for name in Settings.model_fields}
    assert injected & settings == {"RECSYS_GATEWAY_PORT"}
    assert injected & settings <= set(base_settings(rendered))


def test_claims_accounts_and_addresses_agree(rendered):
    base = rendered("recsys-base")
    claims = {m["metadata"]["name"] for m in base if m["kind"] == "PersistentVolumeClaim"}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for chart in ("recsys-triton", "recsys-gateway")
        for _, pod in pods(rendered(chart))
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    defaults = Settings()
    assert used | {defaults.k8s_shared_claim} == claims
    accounts = {m["metadata"]["name"] for m in base if m["kind"] == "ServiceAccount"}
    assert accounts == {defaults.k8s_service_account, defaults.k8s_step_service_account}
    settings = base_settings(rendered)
    service = one(rendered("recsys-triton"), "Service", settings["RECSYS_TRITON_HOST"])
    assert {str(p["port"]) for p in service["spec"]["ports"]} == {
        settings[f"RECSYS_TRITON_{part}_PORT"] for part in ("HTTP", "GRPC", "METRICS")
    }
    scheme, replicas, port = settings["RECSYS_TRITON_REPLICAS"].split(":")
    headless = one(rendered("recsys-triton"), "Service", replicas)
    assert (scheme, headless["spec"]["clusterIP"], port) == ("dns", "None", "8001")


def test_a_dns_name_stands_for_every_replica():
    assert Settings(triton_replicas="dns:localhost:8001, 10.0.0.7:9001").triton_grpc == [
        "127.0.0.1:8001",
        "10.0.0.7:9001",
    ]


# --- Triton ---------------------------------------------------------------------------------------


def test_triton_container(rendered):
    ((_, pod),) = pods(rendered("recsys-triton"))
    (container,) = pod["containers"]
    assert {p["containerPort"] for p in container["ports"]} == {8000, 8001, 8002}
    assert "--model-control-mode=explicit" in container["command"][-1]
    assert READY_WHILE_LOADING in container["command"][-1]  # a promotion takes no replica out
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert (
        container["readinessProbe"]["httpGet"]["path"]
        == container["startupProbe"]["httpGet"]["path"]
        == "/v2/health/ready"
    )
    (shm,) = [v for v in pod["volumes"] if v["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    exit_limit = int(re.search(r"--exit-timeout-secs=(\d+)", container["command"][-1]).group(1))
    assert drain + exit_limit < pod["terminationGracePeriodSeconds"]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


COMPONENTS, FUSED = ["dlrm_ranking", "ensemble_model"], ["fused_model", "recommender"]
OF_ADS = ["ads_dcn", "ads_ensemble"]  # loaded whatever the setting is


@pytest.mark.parametrize(
    ("mode", "loaded"),
    [
        (None, COMPONENTS + FUSED),
        ("both", COMPONENTS + FUSED),
        ("fused", FUSED),
        ("ensemble", COMPONENTS),
    ],
)
def test_triton_loads_what_is_complete(rendered, tmp_path, mode, loaded):
    """The start command itself, with a server that prints its arguments in place of Triton: as the
    local launcher does.
    """
    for folder in (
        *(f"{model}/7" for model in COMPONENTS + FUSED + OF_ADS),
        "ads_candidate/1",
        "ensemble_candidate/1",
        "recommender_candidate/1",
        "no_version",
    ):
        (tmp_path / "models" / folder).mkdir(parents=True)
        (tmp_path / "models" / folder.split("/")[0] / "config.pbtxt").touch()
    server = tmp_path / "bin" / "tritonserver"
    server.parent.mkdir()
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "token: $RECSYS_TOKEN"\n')
    python = server.with_name("python3")
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for program in (server, python):
        program.chmod(0o755)
    ((_, pod),) = pods(rendered("recsys-triton"))
    command = [
        part.replace("/models", str(tmp_path / "models"))
        for part in pod["containers"][0]["command"]
    ]
    environment = {"PATH": f"{server.parent}:/usr/bin:/bin", "RECSYS_TOKEN": "write-token"}
    if mode is not None:
        environment["RECSYS_TRITON_MODELS"] = mode
    done = subprocess.run(
        command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    arguments = done.stdout.splitlines()
    models = sorted(
        a.removeprefix("--load-model=") for a in arguments if a.startswith("--load-model")
    )
    assert (
        models
        == sorted(OF_ADS + loaded)
        == servable_models(tmp_path / "models", mode or Settings().triton_models)
    )
    # model control by gRPC asks for the key that promotion derives from the same token; by HTTP it
    # has none
    control = {
        a.split("=")[0]: a.rsplit("=", 1)[-1] for a in arguments if "=model-repository," in a
    }
    assert control["--grpc-restricted-protocol"] == control_key(Settings(token="write-token"))
    assert len(control["--http-restricted-api"]) == 36
    assert "write-token" not in done.stdout


def test_serving_rents_no_gpu(rendered):
    """Triton's models are ONNX sessions of the CPU (``lib/exports/session.py``)."""
    source = (PROJECT_ROOT / "recsys_assets" / "lib" / "exports" / "session.py").read_text()
    assert 'providers=["CPUExecutionProvider"]' in source
    for chart, values in RENDERINGS:
        for name, pod in pods(rendered(chart, values)):
            assert "nvidia.com/gpu" not in yaml.safe_dump(pod), name
            assert schedulable(pod, one(rendered("karpenter"), "NodePool", "recsys-cpu")), name


def test_only_gateway_and_promotion_reach_triton(rendered):
    policy = one(rendered("recsys-triton"), "NetworkPolicy", "recsys-triton")["spec"]
    grpc, metrics = policy["ingress"]
    assert [p["port"] for p in grpc["ports"]] == [8001]
    callers = [source["podSelector"]["matchLabels"] for source in grpc["from"]]
    gateway = one(rendered("recsys-gateway"), "Deployment", "recsys-gateway")["spec"]["template"][
        "metadata"
    ]["labels"]
    steps = yaml.safe_load((CHARTS / "dagster-values.yaml").read_text())["runLauncher"]["config"][
        "k8sRunLauncher"
    ]["labels"]
    assert [
        all(labels.get(k) == v for k, v in wanted.items())
        for labels, wanted in zip((gateway, steps), callers, strict=True)
    ] == [True, True]
    assert [p["port"] for p in metrics["ports"]] == [8002]
    assert all("namespaceSelector" in source for source in metrics["from"])


def test_autoscaling_target_is_50_milliseconds(rendered):
    """The adapter's own query, worked out on counters of 30 s: 1,000 requests, each 50 ms in the
    queues.
    """
    (rule,) = yaml.safe_load((CHARTS / "prometheus-adapter-values.yaml").read_text())["rules"][
        "custom"
    ]
    metric = one(rendered("recsys-triton"), "HorizontalPodAutoscaler", "recsys-triton")["spec"][
        "metrics"
    ][0]["pods"]
    assert metric["metric"]["name"] == rule["name"]["as"] == "triton_queue_ms_per_request"
    assert metric["target"]["type"] == "AverageValue"
    target = float(parse_quantity(metric["target"]["averageValue"]))

    requests, milliseconds, window = 1_000, 50, 30
    assert evaluate(
        rule["metricsQuery"],
        queue_us=requests * milliseconds * 1_000 / window,
        requests=requests / window,
    ) == pytest.approx(target)
    assert target == 50
    assert evaluate(rule["metricsQuery"], queue_us=0.0, requests=0.0) == 0.0
    assert "delta(" not in rule["metricsQuery"]
    # a request counts where it came in, and waits in the models behind: whichever of them are
    # served
    waiting, entering = re.findall(r'model(!~|=~)"([^"]*)"', rule["metricsQuery"])
    assert (waiting[0], entering[0]) == ("!~", "=~")
    assert {frozenset(names.split("|")) for _, names in (waiting, entering)} == {
        frozenset(ENTRANCES)
    }


def evaluate(query: str, *, queue_us: float, requests: float) -> float:
    """Arithmetic of the query, with the two rates (per second) in place of their PromQL."""

    def put(series: str, value: float, text: str) -> str:
        text, count = re.subn(
            rf"sum\(rate\({series}\{{[^}}]*\}}\[30s\]\)\) by \(<<\.GroupBy>>\)", repr(value), text
        )
        assert count == 1, f"{series} is not a rate over 30 s in {text}"
        return text

    text = put(
        "nv_inference_request_success",
        requests,
        put("nv_inference_queue_duration_us", queue_us, query),
    )
    assert re.fullmatch(r"[\d.e+\-/*(), ]*clamp_min\([\d.e+\-, ]*\)[\d.e+\-/*() ]*", text), text
    return eval(text, {"__builtins__": {}}, {"clamp_min": max})


# --- node pools -----------------------------------------------------------------------------------


def schedulable(pod: dict[str, Any], pool: dict[str, Any]) -> bool:
    """Whether a pod's selector and tolerations fit the nodes of a pool."""
    template = pool["spec"]["template"]
    tolerated = {(t["key"], t["value"], t["effect"]) for t in pod.get("tolerations", [])}
    return pod["nodeSelector"].items() <= template["metadata"]["labels"].items() and all(
        (t["key"], t["value"], t["effect"]) in tolerated for t in template["spec"].get("taints", [])
    )


def test_gpu_nodes(rendered):
    pool = one(rendered("karpenter"), "NodePool", "recsys-gpu")["spec"]
    (types,) = [
        r["values"]
        for r in pool["template"]["spec"]["requirements"]
        if r["key"] == "node.kubernetes.io/instance-type"
    ]
    assert types == ["g4dn.xlarge", "g5.xlarge", "g6.xlarge"]
    assert pool["template"]["spec"]["taints"] == [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    ]
    assert pool["limits"] == {"nvidia.com/gpu": "4"}
    assert pool["disruption"]["consolidationPolicy"] == "WhenEmpty"


@pytest.mark.parametrize(
    ("profile", "pool"),
    [
        ("CPU_SMALL", "recsys-cpu"),
        ("CPU_MEDIUM", "recsys-cpu"),
        ("CPU_LARGE", "recsys-cpu"),
        ("GPU_TRAIN", "recsys-gpu"),
    ],
)
def test_every_profile_finds_its_node(rendered, profile, pool):
    pools = {
        name: one(rendered("karpenter"), "NodePool", name) for name in ("recsys-cpu", "recsys-gpu")
    }
    _, spec = compute.training_pod(Settings(), profile, {})
    pod = {"nodeSelector": spec["node_selector"], "tolerations": spec.get("tolerations", [])}
    assert [name for name, candidate in pools.items() if schedulable(pod, candidate)] == [pool]
    # 16 GiB and 4 CPUs of an xlarge, less what the node keeps for itself
    requests = spec["containers"][0]["resources"]["requests"]
    assert parse_quantity(requests["memory"]) <= parse_quantity("13Gi")
    assert parse_quantity(requests["cpu"]) <= parse_quantity("3500m")
