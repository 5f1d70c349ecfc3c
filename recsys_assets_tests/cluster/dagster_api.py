"""Talk to Dagster's web server on a cluster over GraphQL, as its UI does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from recsys_assets_tests.cluster.shop import Shop
from tools.cluster.commands import wait_until

LOCATION = {"repositoryLocationName": "recsys_assets", "repositoryName": "__repository__"}
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
LAUNCH = """mutation($given: ExecutionParams!) { launchRun(executionParams: $given) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUNS = """{ runsOrError { ... on Runs { results { runId jobName status startTime rootRunId
  tags { key value } } } } }"""
FAILED = """query($run: ID!) { logsForRun(runId: $run, limit: 5000) {
  ... on EventConnection { events { __typename
  ... on ExecutionStepFailureEvent { stepKey error { message } }
  ... on RunFailureEvent { message error { message } } ... on EngineEvent { message } } } } }"""


@dataclass
class Dagster:
    """The web server of a shop."""

    shop: Shop

    def ask(self, query: str, variables: Mapping[str, Any] = {}) -> dict[str, Any]:
        """Return the data of a query. What changes nothing is asked again after a time-out."""
        tries = 1 if query.lstrip().startswith("mutation") else 4
        for left in reversed(range(tries)):
            try:
                answer = httpx.post(
                    f"http://{self.shop.address('dagster-webserver')}:8080/graphql",
                    json={"query": query, "variables": dict(variables)},
                    timeout=60,
                    trust_env=False,
                )
                break
            except (httpx.TransportError, StopIteration):
                if not left:
                    raise
                time.sleep(2)
        found = answer.json()
        assert "errors" not in found, found["errors"]
        data: dict[str, Any] = found["data"]
        return data

    def launch(self, job: str, partition: str | None = None) -> str:
        """Launch a run of a job; return its id."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        given = {
            "selector": {**LOCATION, "jobName": job},
            "runConfigData": "{}",
            "mode": "default",
            "executionMetadata": {"tags": tags},
        }
        launched = self.ask(LAUNCH, {"given": given})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def start(self, kind: str, name: str) -> None:
        """Switch a sensor or a schedule on."""
        query = (
            f"mutation($given: {kind}Selector!) {{ start{kind}({kind.lower()}Selector: $given) "
            "{ __typename ... on PythonError { message } } }"
        )
        given = {**LOCATION, f"{kind.lower()}Name": name}
        started = self.ask(query, {"given": given})[f"start{kind}"]
        assert "Error" not in started["__typename"], started

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Return the runs of a job, the newest first; tags as a mapping."""
        found = self.ask(RUNS)["runsOrError"]["results"]
        return [
            {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
            for run in found
            if run["jobName"] == job
        ]

    def run(self, identifier: str) -> dict[str, Any]:
        """Return a run."""
        query = "query($run: ID!) { runOrError(runId: $run) { ... on Run { runId status } } }"
        found: dict[str, Any] = self.ask(query, {"run": identifier})["runOrError"]
        return found

    def wait(self, identifier: str, limit: float = 1800.0) -> str:
        """Wait until a run has ended; return its status."""
        wait_until(
            lambda: self.run(identifier)["status"] in ENDED,
            f"the end of run {identifier}",
            limit,
            every=2,
        )
        return str(self.run(identifier)["status"])

    def why(self, identifier: str) -> str:
        """Return what failed in a run, and what the engine said."""
        events = self.ask(FAILED, {"run": identifier})["logsForRun"]["events"]
        return "\n".join(
            f"{one.get('stepKey', '')} {one.get('message', '')} "
            f"{(one.get('error') or {}).get('message', '')}"
            for one in events
            if one["__typename"] in ("ExecutionStepFailureEvent", "RunFailureEvent", "EngineEvent")
        )
