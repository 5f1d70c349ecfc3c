"""Install what autoscalers read: metrics-server, Prometheus and its adapter.

Prometheus has no operator here, so its scrape configs are made of the ServiceMonitors that the
charts have installed, as the operator makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.cluster import binaries
from tools.cluster.images import static
from tools.cluster.kubernetes_api import get, kubectl, load, wait_rolled_out
from tools.cluster.layout import Cluster

MANIFESTS = Path(__file__).parent / "manifests"


def scrape_config(monitor: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the scrape configs of a ServiceMonitor, one per endpoint.

    >>> monitor = {
    ...     "metadata": {"name": "m", "namespace": "shop"},
    ...     "spec": {
    ...         "selector": {"matchLabels": {"a/b": "c"}},
    ...         "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    ...     },
    ... }
    >>> scrape_config(monitor)[0]["scrape_interval"]
    '15s'
    """
    found = []
    for endpoint in monitor["spec"]["endpoints"]:
        keep = {
            f"__meta_kubernetes_service_label_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}": value
            for name, value in monitor["spec"]["selector"]["matchLabels"].items()
        }
        keep["__meta_kubernetes_endpointslice_port_name"] = endpoint["port"]
        labels = {
            "__meta_kubernetes_namespace": "namespace",
            "__meta_kubernetes_pod_name": "pod",
            "__meta_kubernetes_service_name": "service",
        }
        namespaces = {"names": [monitor["metadata"]["namespace"]]}
        found.append(
            {
                "job_name": f"{monitor['metadata']['name']}-{endpoint['port']}",
                "scrape_interval": endpoint.get("interval", "30s"),
                "scrape_timeout": "4s",
                "metrics_path": endpoint.get("path", "/metrics"),
                "kubernetes_sd_configs": [{"role": "endpointslice", "namespaces": namespaces}],
                "relabel_configs": [
                    *(
                        {"source_labels": [k], "regex": v, "action": "keep"}
                        for k, v in keep.items()
                    ),
                    *({"source_labels": [k], "target_label": v} for k, v in labels.items()),
                ],
            }
        )
    return found


def install(cluster: Cluster, rules: Sequence[dict[str, Any]], say: Callable[[str], None]) -> None:
    """Build, load and start the programs, and wait until both APIs answer.

    Args:
        cluster: that runs.
        rules: of the adapter, ``rules.custom`` of its chart's values.
        say: receives a line per program.
    """
    binaries.build(say, binaries.METRICS)
    for program in binaries.METRICS:
        load(cluster, static.write(program), cluster.nodes[:1])
    monitors = get(cluster, "servicemonitors.monitoring.coreos.com", "--all-namespaces")["items"]
    scrapes = {"scrape_configs": [one for monitor in monitors for one in scrape_config(monitor)]}
    for name, replaced in {
        "metrics-server": {},
        # JSON is YAML, and stands in one line
        "prometheus": {"SCRAPES": scrapes, "RULES": {"rules": list(rules)}},
    }.items():
        text = (MANIFESTS / f"{name}.yaml").read_text()
        for word, content in replaced.items():
            text = text.replace(f"    {word}\n", f"    {json.dumps(content)}\n")
        kubectl(cluster, "apply", "--server-side", "--filename=-", given=text)
    for namespace, name in (("kube-system", "metrics-server"), ("monitoring", "prometheus")):
        wait_rolled_out(cluster, namespace, name, 300.0)
    available = ("wait", "--for=condition=Available", "--timeout=120s")
    for api in ("v1beta1.metrics.k8s.io", "v1beta1.custom.metrics.k8s.io"):
        kubectl(cluster, *available, f"apiservice/{api}", limit=130)
