"""Test profiles, executors and training steps, by subprocess and by Kubernetes pod.

Both use the real Pipes client.
"""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import kubernetes_validate
import pytest
from dagster_k8s.job import (
    DagsterK8sJobConfig,
    construct_dagster_k8s_job,
    get_user_defined_k8s_config,
)
from kubernetes.client import ApiClient

from recsys_assets.orchestration import compute, pipes
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.reporting import metadata_of
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import PROJECT_ROOT, Settings, get_settings
from recsys_assets_tests.support.small_kubernetes import SmallKubernetes

PREFIX = "recsys_assets_tests.support.training_steps"
GPU = "nvidia.com/gpu"
needs_training = pytest.mark.skipif(
    not Settings().training_python.exists(), reason="no training environment: make setup"
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return settings of a new home, whose folder is also the shared volume of the pods."""
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RECSYS_K8S_SHARED_DIR", str(tmp_path))
    monkeypatch.setenv("RECSYS_TRAINING_IMAGE", "recsys-training:1.2.3")
    monkeypatch.setenv("RECSYS_AWS_REGION", "eu-central-1")
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def kubernetes_executor(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Set the executor ``k8s`` and return a stand-in for the cluster."""
    monkeypatch.setenv("RECSYS_EXECUTOR", "k8s")
    get_settings.cache_clear()
    with SmallKubernetes(settings.training_python, PROJECT_ROOT) as cluster:
        cluster.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
            str(tmp_path / "kubeconfig"),
        )
        yield cluster


def materialise(
    tmp_path: Path,
    *,
    fail: str = "",
    output: Path | None = None,
    op_tags=compute.GPU_TRAIN,
    module: str = "scale_numbers",
    params: dict | None = None,
):
    """Run a small step inside an asset; return result, metrics and output folder."""
    numbers = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, values in zip(numbers, ([1, 2], [3]), strict=True):
        path.write_text(json.dumps(values))
    output = output or tmp_path / "out"
    output.mkdir(exist_ok=True)
    metrics: dict = {}

    @dg.asset(op_tags=op_tags)
    def scaled(context: dg.AssetExecutionContext, training: TrainingClient) -> dg.MaterializeResult:
        metrics.update(
            training.run(
                context,
                module,
                inputs={} if params else {"numbers": [str(p) for p in numbers]},
                output=str(output),
                params=params or {"factor": 10, "fail": fail},
            ).metrics
        )
        return dg.MaterializeResult(metadata={"rows": metrics["rows"]})

    result = dg.materialize(
        [scaled], resources={"training": TrainingClient(module_prefix=PREFIX)}, raise_on_error=False
    )
    return result, metrics, output


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Return the error message of the failed step."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    return f"{error.message} {error.cause.message if error.cause else ''}"


# --- profiles -------------------------------------------------------------------------------------


def job_of(tags: dict) -> dict:
    """Return the Kubernetes Job that the executor submits for an op with these tags."""

    @dg.op(tags=tags)
    def step() -> None: ...

    config = DagsterK8sJobConfig(
        job_image="recsys-platform:1.2.3",
        dagster_home="/opt/dagster/dagster_home",
        instance_config_map="dagster-instance",
    )
    job = construct_dagster_k8s_job(
        config,
        ["dagster", "api", "execute_step"],
        "dagster-step-1",
        get_user_defined_k8s_config(step.tags),
    )
    return ApiClient().sanitize_for_serialization(job)


@pytest.mark.parametrize(
    ("profile", "gpu"),
    [("CPU_SMALL", False), ("CPU_MEDIUM", False), ("CPU_LARGE", False), ("GPU_TRAIN", True)],
)
def test_a_profile_makes_a_valid_job(profile: str, gpu: bool) -> None:
    job = job_of(compute.step_tags(profile))
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (container["resources"]["limits"].get(GPU) == "1") is gpu
    assert pod["nodeSelector"] == {compute.NODE_LABEL: "gpu" if gpu else "cpu"}
    tolerated = {(t["key"], t["value"], t["effect"]) for t in pod.get("tolerations", [])}
    assert tolerated == ({(GPU, "present", "NoSchedule")} if gpu else set())


def test_constants_are_the_named_tags() -> None:
    for name in compute.PROFILES:
        assert getattr(compute, name) == compute.op_tags(name)
    with pytest.raises(ValueError, match="'GPU_HUGE' is unknown; use one of CPU_SMALL, CPU_MEDIUM"):
        compute.op_tags("GPU_HUGE")


def test_a_pod_that_waits_for_training_reserves_little() -> None:
    waiting = compute.training_tags("CPU_LARGE")
    assert waiting[compute.K8S_CONFIG] == compute.CPU_SMALL[compute.K8S_CONFIG]
    assert waiting[compute.PROFILE] == "CPU_LARGE"


# --- executor -------------------------------------------------------------------------------------


def test_executor_by_settings(settings: Settings) -> None:
    assert compute.executor_for(settings) is dg.in_process_executor
    assert (
        compute.executor_for(settings.model_copy(update={"executor": "multiprocess"}))
        is dg.multiprocess_executor
    )


def test_kubernetes_executor_has_namespace_identity_and_image(settings: Settings) -> None:
    on_k8s = settings.model_copy(
        update={"executor": "k8s", "k8s_namespace": "shop", "platform_image": "recsys-platform:9"}
    )
    executor = compute.executor_for(on_k8s)
    resolved = executor.config_schema.resolve_config(
        {}
    )  # checks the config against the executor's own schema
    assert resolved.success, resolved.errors
    config = resolved.value["config"] if "config" in resolved.value else resolved.value
    assert config["job_namespace"] == "shop"
    assert config["service_account_name"] == "recsys-platform"
    assert config["job_image"] == "recsys-platform:9"


def test_definitions_load_without_kubernetes() -> None:
    code = (
        "import sys, recsys_assets.orchestration.compute, recsys_assets.orchestration.pipes\n"
        "print(sorted({'kubernetes', 'dagster_k8s'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- training steps, here -------------------------------------------------------------------------


@needs_training
def test_a_step_runs_in_the_training_environment(settings: Settings, tmp_path: Path) -> None:
    result, metrics, output = materialise(tmp_path)
    assert result.success
    assert metrics == {"rows": 3, "python": str(settings.training_python)}
    assert json.loads((output / "scaled.json").read_text()) == [10, 20, 30]
    (log,) = (settings.home / "logs" / "training").iterdir()
    assert "on 2 files" in log.read_text()


@needs_training
@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        ("raise", "column 'price' of day 2026-01-03 is empty; materialise raw/items again"),
        ("import", "run `make setup`"),
        ("kill", "ran out of memory"),
        ("silent", "ended without reporting metrics"),
    ],
)
def test_a_failed_step_says_why(
    settings: Settings, tmp_path: Path, fail: str, expected: str
) -> None:
    result, metrics, _ = materialise(tmp_path, fail=fail)
    assert not result.success
    assert metrics == {}
    assert expected in failure_text(result)


@needs_training
@pytest.mark.parametrize("how", ["exit_handlers", "thread", "arrow"])
def test_a_step_that_reported_succeeds_however_its_interpreter_ends(
    settings: Settings, tmp_path: Path, how
) -> None:
    result, metrics, output = materialise(tmp_path, module="ends_badly", params={"how": how})
    assert result.success
    assert metrics["rows"] == 1
    assert (output / "done.txt").read_text() == "done"


@needs_training
@pytest.mark.parametrize(
    ("how", "expected"), [("abort", "code -6"), ("exit", "ended without reporting metrics")]
)
def test_a_step_that_crashed_before_its_result_fails(
    settings: Settings, tmp_path: Path, how, expected: str
) -> None:
    result, metrics, output = materialise(tmp_path, module="ends_badly", params={"how": how})
    assert (output / "done.txt").exists(), "its files are there, and still it has failed"
    assert not result.success
    assert metrics == {}
    assert expected in failure_text(result)


def test_a_missing_interpreter_names_make_setup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_TRAINING_PYTHON", str(tmp_path / "none" / "python"))
    get_settings.cache_clear()
    result, _, _ = materialise(tmp_path)
    assert "run `make setup`, or set RECSYS_TRAINING_PYTHON" in failure_text(result)


@needs_training
def test_build_makes_an_artifact_once(settings: Settings, tmp_path: Path) -> None:
    built = []

    @dg.asset(op_tags=compute.training_tags("CPU_LARGE"))
    def scaled(
        context: dg.AssetExecutionContext, training: TrainingClient, platform: Platform
    ) -> dg.MaterializeResult:
        with platform.store.stage("raw/numbers") as staged:
            (staged.path / "numbers.json").write_text("[4]")
            numbers = staged.publish()
        built.append(
            training.build(
                context, platform, "features/scaled", "take_numbers", inputs={"numbers": numbers}
            )
        )
        return dg.MaterializeResult()

    for _ in range(2):
        resources = {"training": TrainingClient(module_prefix=PREFIX), "platform": Platform()}
        assert dg.materialize([scaled], resources=resources).success
    assert [b.reused for b in built] == [False, True]
    assert (
        built[0].artifact.metrics == {"files": ["numbers.json"]} and built[0].artifact.seconds >= 0
    )
    assert built[0].artifact.path("copy.json").read_text() == "[4]"
    assert [b.artifact.versions for b in built] == [{"python": "3.10.made-up"}] * 2
    assert metadata_of(built[0].artifact)["library versions"] == "python 3.10.made-up"


# --- training steps, on Kubernetes ----------------------------------------------------------------


@needs_training
def test_a_step_runs_in_a_pod(kubernetes_executor: SmallKubernetes, tmp_path: Path) -> None:
    result, metrics, output = materialise(tmp_path)
    assert result.success
    assert metrics["rows"] == 3
    assert json.loads((output / "scaled.json").read_text()) == [10, 20, 30]
    ((name, pod),) = kubernetes_executor.pods.items()
    assert kubernetes_executor.deleted == [name]

    pod = {"apiVersion": "v1", "kind": "Pod", **pod}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "recsys-training:1.2.3"
    assert container["command"] == ["python", "-m", f"{PREFIX}.scale_numbers"]
    assert container["resources"]["limits"][GPU] == "1"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "AWS_REGION", "value": "eu-central-1"} in container["env"]
    assert {m["mountPath"] for m in container["volumeMounts"]} == {
        str(tmp_path),
        "/tmp",
        "/dev/shm",
    }
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["serviceAccountName"] == "recsys-training"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["nodeSelector"] == {compute.NODE_LABEL: "gpu"}
    assert spec["tolerations"] == [compute.GPU_TAINT]
    assert pod["metadata"]["annotations"] == {"karpenter.sh/do-not-disrupt": "true"}


@needs_training
@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        ("raise", "column 'price' of day 2026-01-03 is empty; materialise raw/items again"),
        ("silent", "ended without reporting metrics"),
    ],
)
def test_a_failed_pod_says_why_and_is_removed(
    kubernetes_executor: SmallKubernetes, tmp_path: Path, fail: str, expected: str
) -> None:
    result, _, _ = materialise(tmp_path, fail=fail)
    assert not result.success
    assert expected in failure_text(result)
    assert kubernetes_executor.deleted == list(kubernetes_executor.pods)


@needs_training
def test_a_retried_step_deletes_the_pod_that_its_killed_attempt_left(
    kubernetes_executor: SmallKubernetes, tmp_path: Path
) -> None:
    """A killed step pod runs no ``finally``, so its training pod keeps its GPU."""
    attempts: list[list[str]] = []

    @dg.asset(op_tags=compute.GPU_TRAIN)
    def scaled(context: dg.AssetExecutionContext, training: TrainingClient) -> dg.MaterializeResult:
        (tmp_path / "numbers.json").write_text("[1]")
        (tmp_path / "out").mkdir(exist_ok=True)
        training.run(
            context,
            "scale_numbers",
            inputs={"numbers": [str(tmp_path / "numbers.json")]},
            output=str(tmp_path / "out"),
            params={"factor": 10, "fail": ""},
        )
        attempts.append(list(kubernetes_executor.deleted))
        if len(attempts) == 1:
            kubernetes_executor.deleted.clear()  # as if the pod had not been deleted
            raise dg.RetryRequested(max_retries=1)
        return dg.MaterializeResult()

    client = TrainingClient(module_prefix=PREFIX)
    assert dg.materialize([scaled], resources={"training": client}).success
    first, second = kubernetes_executor.pods
    assert attempts == [[first], [first, second]]
    # another run of the same step is not the same work
    assert dg.materialize([scaled], resources={"training": client}).success
    assert second not in kubernetes_executor.deleted[2:]
    labels = [pod["metadata"]["labels"] for pod in kubernetes_executor.pods.values()]
    assert labels[0] == labels[1] and len({one["recsys/root-run"] for one in labels}) == 2
    pod = {"apiVersion": "v1", "kind": "Pod", **kubernetes_executor.pods[first]}
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("Warning events for pod:\nFailed: Error: ImagePullBackOff", "check RECSYS_TRAINING_IMAGE"),
        ('Failed: Reason="ErrImagePull" Message="not found"', "check RECSYS_TRAINING_IMAGE"),
        ("ModuleNotFoundError: No module named 'x'", "build its image again"),
        ("Container 'training' status: Terminated: OOMKilled", "use a larger profile"),
        ("ValueError: no clicks", "fix the error in its last lines"),
    ],
)
def test_a_failure_of_a_pod_names_its_remedy(output: str, remedy: str) -> None:
    failure = pipes._failure("training.two_tower", "its GPU_TRAIN pod failed", output, "in the log")
    assert remedy in str(failure.description)
    assert output in str(failure.description)


def test_a_path_outside_the_shared_volume_is_refused(
    kubernetes_executor: SmallKubernetes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result, _, _ = materialise(tmp_path, output=elsewhere)
    assert f"{elsewhere}: not on the shared volume {tmp_path}" in failure_text(result)
    assert kubernetes_executor.pods == {}
