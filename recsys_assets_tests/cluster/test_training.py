"""Test on a real Kubernetes that Dagster trains: from its chart to a release that is served.

The tests of this file are steps of one walk and run in order, on a shop that serves already.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from recsys_assets_tests.cluster import outside
from recsys_assets_tests.cluster.conftest import say
from recsys_assets_tests.cluster.dagster_api import ENDED, Dagster
from recsys_assets_tests.cluster.shop import LIMIT, NAMESPACE, SMALL, Shop
from recsys_assets_tests.cluster.test_serving import BAD_TAG, connects, recommend
from recsys_assets_tests.cluster.walk import after_the_last as after_the_last
from recsys_assets_tests.cluster.walk import essential
from recsys_assets_tests.support import commands
from tools.cluster.commands import ClusterError, wait_until
from tools.cluster.images.build import Built
from tools.cluster.kubernetes_api import get

PARTS = ("dagster-webserver", "dagster-daemon", "dagster-code")
GPU = "nvidia.com/gpu"
TRAINING = {"app.kubernetes.io/component": "training"}
TWO_TOWER, RUN = "retrieval__two_tower", "run_worker"
#: Another seed than that of the release that serves: every model is trained again.
SEED = "8"


@pytest.fixture(scope="module")
def dagster(serving: Shop, training_image: Built, database: outside.Postgres) -> Dagster:
    """Return Dagster's web server, of which nothing is installed yet."""
    return Dagster(serving)


def ingested_days(shop: Shop) -> list[str]:
    """Return the days that the home has learned; events of another walk may have landed since."""
    days = (shop.volumes / "recsys-shared/home/artifacts/features/masked_train").glob("*-*-*")
    return sorted(day.name for day in days)


def pods_with(shop: Shop, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Return the pods with some labels, the newest last."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    pods = get(shop.cluster, "pods", f"--namespace={NAMESPACE}", f"--selector={selector}")
    return sorted(pods["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def running(shop: Shop, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Return the pods with some labels that run."""
    return [pod for pod in pods_with(shop, labels) if pod["status"]["phase"] == "Running"]


def names(pods: list[dict[str, Any]]) -> set[str]:
    return {str(pod["metadata"]["name"]) for pod in pods}


def kill(pod: dict[str, Any]) -> None:
    """Kill the processes of a pod's container, as a lost node does: no handler of theirs runs."""
    (status,) = pod["status"]["containerStatuses"]
    container = status["containerID"].rpartition("/")[2]
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if container in (process / "cgroup").read_text():
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
        except OSError:
            continue
    assert killed, f"{pod['metadata']['name']} has no process"


@essential
def test_dagster_is_installed_and_loads_the_graph(dagster: Dagster) -> None:
    shop = dagster.shop
    own = {"RECSYS_START_DAY": ingested_days(shop)[0], "RECSYS_SEED": SEED}
    shop.install("recsys-base", settings={**shop.values("recsys-base")["settings"], **own})
    shop.install("recsys-dagster")
    for part in PARTS:
        assert len(shop.ready(part)) == 1, part
    loaded = dagster.ask(
        "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { "
        "assetNodes { id } } } ... on PythonError { message } } }"
    )["repositoriesOrError"]
    assert loaded["__typename"] == "RepositoryConnection", loaded
    (repository,) = loaded["nodes"]
    assert len(repository["assetNodes"]) > 40


def two_towers(shop: Shop) -> list[dict[str, Any]]:
    """Return the training pods of the two-tower that run."""
    return [pod for pod in running(shop, TRAINING) if "--two-tower-" in pod["metadata"]["name"]]


@essential
def test_a_training_pod_runs_on_the_gpu_node(dagster: Dagster) -> None:
    shop, begin = dagster.shop, time.monotonic()
    dagster.launch("full_training", ingested_days(shop)[-1])
    wait_until(lambda: bool(two_towers(shop)), "a training pod of the two-tower", LIMIT, every=0.5)
    say(f"the two-tower trains {time.monotonic() - begin:.0f} s after the launch")
    (pod,) = two_towers(shop)
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["nodeName"] == "gpu0"
    assert container["resources"]["limits"][GPU] == "1"
    assert {"key": GPU, "value": "present", "operator": "Equal", "effect": "NoSchedule"} in (
        pod["spec"]["tolerations"]
    )
    assert pod["spec"]["serviceAccountName"] == "recsys-training"
    (step,) = running(shop, {"dagster/op": TWO_TOWER})
    assert step["spec"]["nodeName"] == "cpu0"
    assert GPU not in step["spec"]["containers"][0]["resources"].get("limits", {})
    assert step["metadata"]["ownerReferences"][0]["kind"] == "Job"


@essential
def test_a_killed_step_is_tried_again_and_leaves_no_training_pod(dagster: Dagster) -> None:
    shop = dagster.shop
    (orphan,), (step,) = two_towers(shop), running(shop, {"dagster/op": TWO_TOWER})
    kill(step)
    wait_until(lambda: len(dagster.runs("full_training")) == 2, "a retried run", LIMIT, every=1)
    wait_until(lambda: bool(running(shop, {"dagster/op": TWO_TOWER})), "its step", LIMIT, every=1)
    wait_until(
        lambda: bool(two_towers(shop)) and names([orphan]).isdisjoint(names(two_towers(shop))),
        "its training pod in the place of the first",
        LIMIT,
        every=0.5,
    )
    retried, first = dagster.runs("full_training")
    assert first["status"] == "FAILURE"
    assert TWO_TOWER in dagster.why(first["runId"])
    assert retried["tags"]["dagster/parent_run_id"] == first["runId"]
    # what the first run finished is not done again
    assert not pods_with(
        shop, {"dagster/op": "features__workflows", "dagster/run-id": retried["runId"]}
    )


@essential
def test_a_killed_run_is_tried_again_and_no_step_runs_twice_at_once(dagster: Dagster) -> None:
    shop = dagster.shop
    lost, _ = dagster.runs("full_training")
    (pod,) = running(shop, {"dagster/run-id": lost["runId"], "app.kubernetes.io/component": RUN})
    kill(pod)
    wait_until(lambda: len(dagster.runs("full_training")) == 3, "a retried run", LIMIT, every=1)
    assert dagster.run(lost["runId"])["status"] == "FAILURE"
    last = dagster.runs("full_training")[0]["runId"]
    # at no time do two pods do the same step
    seen: list[tuple[str, int]] = []

    def ended() -> bool:
        steps = [
            pod["metadata"]["labels"]["dagster/op"]
            for pod in running(shop, {"app.kubernetes.io/component": "step_worker"})
        ]
        seen.extend((one, steps.count(one)) for one in set(steps) if steps.count(one) > 1)
        return dagster.run(last)["status"] in ENDED

    wait_until(ended, "the end of the last run", 1800.0, every=2)
    assert dagster.run(last)["status"] == "SUCCESS", dagster.why(last)
    assert seen == []
    assert two_towers(shop) == []


@essential
def test_the_sensor_promotes_the_release_that_passed(dagster: Dagster) -> None:
    shop = dagster.shop
    before = recommend(shop)["release"]
    dagster.start("Sensor", "passed_release")
    unready = 0

    def promoted() -> bool:
        nonlocal unready
        unready += not (shop.ready("gateway") and shop.ready("triton"))
        return any(run["status"] == "SUCCESS" for run in dagster.runs("promote"))

    wait_until(promoted, "a promotion by the sensor", LIMIT, every=2)
    assert unready == 0  # the release before serves until the new one does
    (run,) = dagster.runs("promote")
    assert run["tags"]["dagster/sensor_name"] == "passed_release"
    answer = recommend(shop)
    assert answer["release"] != before
    assert len(answer["items"]) == 10
    assert not answer["degraded"], answer["degraded"]


def test_a_rollback_by_a_job(dagster: Dagster) -> None:
    shop = dagster.shop
    new = recommend(shop)["release"]
    shop.kubectl("create", "job", "rollback-1", "--from=cronjob/recsys-rollback")
    ended = ("wait", "--for=condition=Complete", "job/rollback-1", f"--timeout={LIMIT:.0f}s")
    shop.kubectl(*ended, limit=LIMIT + 10)
    answer = recommend(shop)
    assert answer["release"] != new
    assert not answer["degraded"], answer["degraded"]


def test_the_daily_schedule_ingests_the_day_that_is_due(dagster: Dagster) -> None:
    """The clock is not moved: the schedule's time is set to the next minutes."""
    shop = dagster.shop
    day = ingested_days(shop)[-1]
    features = shop.volumes / "recsys-shared/home/artifacts/features"
    for name in ("interactions", "masked_train"):
        shutil.rmtree(features / name / day)
    due = datetime.now(timezone.utc) + timedelta(minutes=2, seconds=30)
    own = {"RECSYS_START_DAY": ingested_days(shop)[0], "RECSYS_SCHEDULE_INGEST": f"{due:%H:%M}"}
    shop.install("recsys-base", settings={**shop.values("recsys-base")["settings"], **own})
    shop.install("recsys-dagster")  # replaces the pods, because the settings have changed
    dagster.start("Schedule", "ingest_daily")
    wait_until(lambda: bool(dagster.runs("daily_ingest")), "the schedule's run", LIMIT, every=2)
    (run,) = dagster.runs("daily_ingest")
    assert run["tags"]["dagster/schedule_name"] == "ingest_daily"
    assert dagster.wait(run["runId"]) == "SUCCESS", dagster.why(run["runId"])
    for name in ("interactions", "masked_train"):
        assert (features / name / day / "CURRENT").exists()


def test_a_step_whose_pod_is_refused_says_why(dagster: Dagster) -> None:
    shop = dagster.shop
    run = dagster.launch("monitor", ingested_days(shop)[-1])
    own = {"dagster/run-id": run, "app.kubernetes.io/component": RUN}
    wait_until(lambda: bool(running(shop, own)), "the run's own pod", LIMIT, every=0.2)
    # more pods than that exist already: no other is created
    shop.kubectl("create", "quota", "no-more-pods", "--hard=pods=1")
    try:
        assert dagster.wait(run, 400) == "FAILURE"
        assert "Kubernetes refuses the pod of job dagster-step-" in dagster.why(run)
        assert "exceeded quota: no-more-pods" in dagster.why(run)
    finally:
        shop.kubectl("delete", "quota", "no-more-pods")


def test_the_policies_of_dagster_are_open_and_shut(dagster: Dagster) -> None:
    shop = dagster.shop
    ways = {
        ("dagster-webserver", "dagster-code", 3030): True,
        ("dagster-daemon", "dagster-code", 3030): True,
        ("gateway", "dagster-code", 3030): False,
        ("gateway", "dagster-webserver", 8080): False,
        ("dagster-daemon", "dagster-webserver", 8080): False,
        ("dagster-code", "triton", 8001): False,
        ("dagster-webserver", "gateway", 8080): False,
    }
    found = {
        (who, to, port): connects(shop, (NAMESPACE, shop.ready(who)[0]), shop.address(to), port)
        for who, to, port in ways
    }
    assert found == ways


def test_the_accounts_of_dagster_may_do_their_work_and_nothing_else(dagster: Dagster) -> None:
    shop = dagster.shop
    may = {
        ("recsys-dagster", "create", "jobs"): True,
        ("recsys-dagster", "create", "pods"): False,
        ("recsys-platform", "create", "pods"): True,
        ("recsys-platform", "get", "secrets"): False,
        ("recsys-dagster", "get", "secrets"): False,
        ("recsys-platform", "create", "deployments"): False,
        ("recsys-training", "get", "pods"): False,
    }
    found = {}
    for account, verb, resource in may:
        who = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
        try:
            said = shop.kubectl("auth", "can-i", verb, resource, who)
        except ClusterError as error:
            said = str(error)
        found[account, verb, resource] = "yes" in said.split()
    assert found == may


def test_an_upgrade_of_dagster_to_a_bad_tag_takes_nothing_away(dagster: Dagster) -> None:
    shop = dagster.shop
    before = {part: shop.ready(part) for part in PARTS}
    image = {**shop.values("recsys-dagster")["image"], "tag": BAD_TAG}
    with pytest.raises(ClusterError):
        shop.install(
            "recsys-dagster",
            "--wait",
            "--timeout=3m",
            image=image,
            preparation={"resources": SMALL, "deadlineSeconds": 30},
        )
    assert {part: shop.ready(part) for part in PARTS} == before
    shop.helm("rollback", "recsys-dagster", "--wait", "--timeout=5m")
    assert {part: shop.ready(part) for part in PARTS} == before
    shop.install("recsys-dagster")


def test_one_chart_takes_the_place_of_four(dagster: Dagster) -> None:
    shop = dagster.shop
    before = recommend(shop)["release"]
    for chart in ("recsys-gateway", "recsys-dagster", "recsys-triton", "recsys-base"):
        shop.helm("uninstall", chart, "--wait", "--timeout=3m")
    shop.install("recsys", "--take-ownership", "--timeout=5m")
    for part in (*PARTS, "triton", "consumer", "gateway"):
        wait_until(lambda part=part: bool(shop.ready(part)), part, LIMIT, every=1)  # type: ignore[misc]
    answer = recommend(shop)
    assert answer["release"] == before
    assert not answer["degraded"], answer["degraded"]


def test_the_check_of_an_installation_passes(dagster: Dagster) -> None:
    environment = commands.environment_with(
        {"KUBECONFIG": str(dagster.shop.cluster.kubeconfig()), "COLUMNS": "200"}
    )
    for name in [name for name in environment if name.lower().endswith("_proxy")]:
        del environment[name]
    done = commands.recsys(environment, "check", "eks", f"--namespace={NAMESPACE}", limit=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" ok ") == 16
    assert "retrieval/two_tower" in done.stdout
