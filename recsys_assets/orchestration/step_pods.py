"""Fail a step if Kubernetes refuses to create its pod.

Dagster's step handler calls a job healthy as long as it has not failed. The job of a pod that a
quota, Pod Security or a webhook refuses never starts and never fails: the step would wait for the
job's deadline, and nothing would say why.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepHandler,
    StepHandlerContext,
)
from dagster_k8s import k8s_job_executor

#: Wait this long for a refused pod: a quota may become free, or a webhook may answer again.
PATIENCE = timedelta(minutes=1)


def refusal(batch: Any, core: Any, namespace: str, job: str) -> str | None:
    """Return why Kubernetes refuses the pod of a job; None if it does not, or not yet for sure.

    Args:
        batch: ``kubernetes.client.BatchV1Api``.
        core: ``kubernetes.client.CoreV1Api``.
        namespace: of the job.
        job: its name.
    """
    found = batch.read_namespaced_job(job, namespace)
    if found.status.active or found.status.succeeded or found.status.failed:
        return None
    if datetime.now(timezone.utc) - found.metadata.creation_timestamp < PATIENCE:
        return None
    selector = f"involvedObject.kind=Job,involvedObject.name={job},reason=FailedCreate"
    events = core.list_namespaced_event(namespace, field_selector=selector).items
    messages = [str(event.message) for event in events if event.message]
    return messages[-1] if messages else None


class RefusalsSeen(StepHandler):
    """Delegates to another step handler, and fails a step whose pod is refused."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    @property
    def name(self) -> str:
        """Return the name of the other handler."""
        return str(self._inner.name)

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Launch a step."""
        yield from self._inner.launch_step(step_handler_context)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """End a step."""
        yield from self._inner.terminate_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Return whether a step can still end."""
        health: CheckStepHealthResult = self._inner.check_step_health(step_handler_context)
        if not health.is_healthy:
            return health
        client = self._inner._api_client
        namespace = self._inner._get_container_context(step_handler_context).namespace
        job = self._inner._get_k8s_step_job_name(step_handler_context)
        why = refusal(client.batch_api, client.core_api, namespace, job)
        if why is None:
            return health
        return CheckStepHealthResult.unhealthy(
            f"Kubernetes refuses the pod of job {job}: {why}. Free what it names, or change it "
            "(RECSYS_K8S_PROFILES says what a pod asks for), then run the step again"
        )


def _create(context: InitExecutorContext) -> Executor:
    create = k8s_job_executor.executor_creation_fn
    assert create is not None
    made: Any = create(context)
    made._step_handler = RefusalsSeen(made._step_handler)
    return made  # type: ignore[no-any-return]


step_pod_executor = dg.ExecutorDefinition(
    name="k8s",
    config_schema=k8s_job_executor.config_schema.as_field(),
    requirements=multiple_process_executor_requirements(),
    executor_creation_fn=_create,
    description="Runs each step as a Kubernetes job; a step whose pod is refused fails.",
)
