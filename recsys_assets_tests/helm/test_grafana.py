"""The dashboard is one that Grafana takes, and every figure in it is one that Triton, the models or
the gateway give.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.operations.processes import kill_marked
from recsys_assets.operations.triton_server import TritonServer
from recsys_assets.serving.gateway.metrics import Metrics
from recsys_assets.serving.promotion import promotion
from recsys_assets.serving.triton.replicas import Replica
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.serving.promotion.test_promotion_whole import write_release
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.small_triton import quiet

DASHBOARD = json.loads(
    (PROJECT_ROOT / "helm" / "recsys-gateway" / "dashboards" / "serving.json").read_text()
)
METRIC = re.compile(r"\b(?:nv|recsys|gateway)_[a-z0-9_]+\b")
#: Labels that Prometheus gives to what it scrapes, and those of a histogram's buckets.
SCRAPED = {"namespace", "pod", "job", "instance", "le"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """(title, PromQL) of every target."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_every_panel_says_what_it_shows():
    assert DASHBOARD["uid"] and DASHBOARD["title"] and DASHBOARD["schemaVersion"] >= 39
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(identifiers) == len(set(identifiers))
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert panels()
    for panel in panels():
        assert (
            panel["type"] in ("timeseries", "stat")
            and panel["title"]
            and panel["fieldConfig"]["defaults"]["unit"]
        ), panel["title"]
        assert len(panel["description"]) > 20 and panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert METRIC.search(target["expr"]) and target["legendFormat"], panel["title"]
            used = set(
                re.findall(r"\$\{?(\w+)", json.dumps(target) + json.dumps(panel["datasource"]))
            )
            assert used <= variables | {"__rate_interval"}, panel["title"]
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles))


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_queries_are_balanced():
    for title, query in queries():
        assert all(
            query.count(opening) == query.count(closing) for opening, closing in ("()", "{}", "[]")
        ), title
        assert query.count('"') % 2 == 0, title
        # a counter is read by its rate; a gauge by its value
        for name in METRIC.findall(query):
            counted = (
                name.endswith(
                    ("_total", "_count", "_sum", "_bucket", "_us", "_success", "_failure")
                )
                and "pending" not in name
            )
            assert bool(re.search(rf"rate\({name}\{{[^}}]*\}}\[", query)) is counted, (title, name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, valkey_process) -> dict[str, set[str]]:
    """Sample name → label names, of the real fused model on a real Triton, and of the gateway's
    registry.
    """
    folder = tmp_path_factory.mktemp("metrics")
    names = ("triton_http_port", "triton_grpc_port", "triton_metrics_port")
    settings = tiny_store.settings_on(
        folder / "home",
        valkey_process,
        triton_models="fused",
        retrieval_topk=30,
        ranking_topk=tiny_payload.TOPK,
        **{name: free_port() for name in names},
    )
    tiny_store.write_users(tiny_store.apply_views(settings))
    tiny_payload.write_models(folder / "payload", settings)
    write_release(ArtifactStore(settings.artifacts), folder / "payload" / "models", 1, 1)
    server = TritonServer(settings)
    server.start()
    try:
        promotion.promote(settings, 1, log=quiet)
        replica = Replica(settings.triton_grpc[0])
        replica.ask("recommender", "user-1")
        replica.close()
        with urllib.request.urlopen(
            f"http://{settings.triton_host}:{settings.triton_metrics_port}/metrics", timeout=5
        ) as answer:
            triton = answer.read().decode()
    finally:
        kill_marked(f"{server.run}:{server.name}")
        server.stop()
    metrics = Metrics()
    # what appears with its first value alone
    metrics.requests.labels("/recommend", "200").inc()
    metrics.seconds.labels("/recommend").observe(0.01)
    metrics.degraded.labels("reason").inc()
    found: dict[str, set[str]] = {}
    # line by line: prometheus_client's own parser renames Triton's counters
    for line in (triton + generate_latest(metrics.registry).decode()).splitlines():
        if not line.startswith("#"):
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line).groups(default="")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


@pytest.mark.services
def test_every_figure_is_exported_with_the_labels_that_are_asked_for(exported):
    for title, query in queries():
        for name in METRIC.findall(re.sub(r'"[^"]*"', '""', query)):
            assert name in exported, f"{title} asks for {name}, which nobody exports"
            labels = {
                label
                for part in re.findall(rf"{name}\{{([^}}]*)\}}", query)
                for label in re.findall(r"(\w+)\s*[=!]", part)
            }
            assert labels <= exported[name] | SCRAPED, (
                f"{title}: {name} has no label {labels - exported[name] - SCRAPED}"
            )
        grouped = {
            label.strip()
            for part in re.findall(r"by \(([^)]*)\)", query)
            for label in part.split(",")
        }
        known = set().union(*(exported[name] for name in METRIC.findall(query))) | SCRAPED
        assert grouped <= known, f"{title} groups by {grouped - known}"


@pytest.mark.services
def test_what_an_operator_needs_is_there(exported):
    """Queue and compute of each model, each stage's time, what was answered without, what
    answers.
    """
    asked = {name for _, query in queries() for name in METRIC.findall(query)}
    assert asked >= {
        "nv_inference_queue_duration_us",
        "nv_inference_compute_infer_duration_us",
        "nv_inference_request_success",
        "recsys_stage_microseconds_total",
        "recsys_degraded_total",
        "recsys_item_table_refreshed_seconds",
        "gateway_requests_total",
        "gateway_request_seconds_bucket",
        "gateway_degraded_total",
        "gateway_shed_total",
        "gateway_release",
        "gateway_availability_age_seconds",
    }
    quantiles = {
        match
        for _, query in queries()
        for match in re.findall(r"histogram_quantile\(([\d.]+)", query)
    }
    assert {float(value) for value in quantiles} == {0.5, 0.95, 0.99}


def test_the_chart_hands_it_to_grafana(rendered):
    (config,) = [m for m in rendered("recsys-gateway") if m["kind"] == "ConfigMap"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"]["recsys-serving.json"]) == DASHBOARD
