"""Run training steps through Dagster Pipes, in a subprocess or in a pod.

A step is ``python -m recsys_assets.training.<module>``. It reads ``inputs``, ``output`` and
``params`` from its Pipes extras, writes its files into the directory ``output`` and reports
``{"metrics": {…}, "versions": {…}}`` as a custom message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from recsys_assets.artifacts import Artifact, Staged
from recsys_assets.files import log_tail, sha256_json
from recsys_assets.orchestration import compute
from recsys_assets.orchestration.resources import Built, Platform, StepContext
from recsys_assets.settings import Settings, get_settings

#: Model → module that trains it.
MODEL_STEPS = {"two_tower": "retrieval.two_tower", "dlrm": "ranking.dlrm"}
#: Model → module that fine-tunes it.
FINE_TUNE_STEPS = {
    "query_tower": "retrieval.fine_tune_query_tower",
    "dlrm": "ranking.fine_tune_dlrm",
}
Paths = Mapping[str, "str | Sequence[str]"]
#: What the kubelet calls an image that it does not get.
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


class Reported(NamedTuple):
    """Holds the report of a step: metrics, and library → version."""

    metrics: dict[str, Any]
    versions: dict[str, str]


class StepExtras(TypedDict):
    """The Pipes extras of a step.

    ``inputs`` maps a role to one path or several. ``output`` is the directory that the step writes
    into. ``params`` are plain JSON values.
    """

    inputs: dict[str, str | list[str]]
    output: str
    params: dict[str, Any]


class TrainingClient(dg.ConfigurableResource["TrainingClient"]):
    """Runs training steps in a subprocess or, on EKS, in a training pod."""

    module_prefix: str = "recsys_assets.training"

    @property
    def settings(self) -> Settings:
        """Return the settings of this home."""
        return get_settings()

    def run(
        self,
        context: StepContext,
        module: str,
        *,
        inputs: Paths,
        output: str,
        params: Mapping[str, Any] | None = None,
        profile: str | Mapping[str, Any] | None = None,
    ) -> Reported:
        """Run one step and return its report.

        Args:
            module: name below ``module_prefix``.
            inputs: role → path, or paths, that the step reads.
            output: directory that the step writes into.
            params: plain JSON values.
            profile: compute profile of the training pod, by name or by op tags; None: the one in
                the asset's op tags.

        Raises:
            dagster.Failure: the step failed or reported no metrics. The message holds its last log
                lines and the remedy.
        """
        settings = self.settings
        target = f"{self.module_prefix}.{module}"
        extras: StepExtras = {
            "inputs": {
                role: value if isinstance(value, str) else list(value)
                for role, value in inputs.items()
            },
            "output": output,
            "params": dict(params or {}),
        }
        if settings.executor == "k8s":
            messages = self._run_pod(
                context, settings, target, extras, _profile_name(context, profile)
            )
        else:
            messages = self._run_here(context, settings, target, extras)
        return _reported(target, messages)

    def build(
        self,
        context: StepContext,
        platform: Platform,
        kind: str,
        module: str,
        *,
        inputs: Mapping[str, Any],
        partition: str | None = None,
        params: Mapping[str, Any] | None = None,
        force: bool = False,
        profile: str | Mapping[str, Any] | None = None,
    ) -> Built:
        """Build an artifact by a training step, or reuse it if nothing has changed.

        An artifact that was built from the same inputs, parameters and code is reused. ``inputs``
        maps a role to one artifact or several. The settings' seed is a parameter of every step. For
        the other arguments, see ``run`` and ``Platform.build``.
        """
        params = {"seed": self.settings.seed, **(params or {})}
        paths: dict[str, str | list[str]] = {
            role: str(value.local)
            if isinstance(value, Artifact)
            else [str(artifact.local) for artifact in value]
            for role, value in inputs.items()
        }

        def write(staged: Staged) -> dict[str, Any]:
            metrics, staged.versions = self.run(
                context,
                module,
                inputs=paths,
                output=str(staged.path),
                params=params,
                profile=profile,
            )
            return metrics

        return platform.build(
            context,
            kind,
            inputs=inputs,
            partition=partition,
            params=params,
            force=force,
            write=write,
            step=f"{self.module_prefix}.{module}",
        )

    def _run_here(
        self, context: StepContext, settings: Settings, target: str, extras: StepExtras
    ) -> Sequence[Any]:
        if not settings.training_python.exists():
            raise dg.Failure(
                f"the training environment's interpreter {settings.training_python} does not "
                "exist; run `make setup`, or set RECSYS_TRAINING_PYTHON",
                allow_retries=False,
            )
        log = (
            settings.home
            / "logs"
            / "training"
            / f"{context.run.run_id}-{target}-{context.retry_number}.log"
        )
        log.parent.mkdir(parents=True, exist_ok=True)
        context.log.info(f"{target} runs in the training environment; its output goes to {log}")
        # the shell only redirects output; exec makes the step our child, with its own exit code
        command = [
            "/bin/sh",
            "-c",
            'exec "$@" >"$0" 2>&1',
            str(log),
            str(settings.training_python),
            "-u",
            "-m",
            target,
        ]
        try:
            completed = compute.pipes_client_for(settings).run(
                context=context, command=command, extras=dict(extras)
            )
        except DagsterPipesExecutionError as error:
            raise _failure(
                target, str(error), log_tail(log), f"the whole output is in {log}"
            ) from error
        messages: Sequence[Any] = completed.get_custom_messages()
        return messages

    def _run_pod(
        self,
        context: StepContext,
        settings: Settings,
        target: str,
        extras: StepExtras,
        profile: str,
    ) -> Sequence[Any]:
        from dagster_k8s.client import DagsterK8sError

        if not settings.training_image:
            raise dg.Failure(
                "no training image; set RECSYS_TRAINING_IMAGE to the image of this release",
                allow_retries=False,
            )
        _require_shared(settings, extras)
        labels = _step_labels(context)
        meta, spec = compute.training_pod(settings, profile, labels)
        # a step pod that was killed could not delete its training pod
        if orphans := compute.delete_pods(settings.k8s_namespace, labels):
            context.log.warning(f"deleted {', '.join(orphans)}, left by an earlier attempt")
        try:
            completed = compute.pipes_client_for(settings).run(
                context=context,
                image=settings.training_image,
                command=["python", "-m", target],
                namespace=settings.k8s_namespace,
                base_pod_meta=meta,
                base_pod_spec=spec,
                extras=dict(extras),
                pod_wait_timeout=float(spec["active_deadline_seconds"]),
            )
        except DagsterK8sError as error:
            raise _failure(
                target,
                f"its {profile} pod failed",
                str(error),
                "the whole output is in the step's log",
            ) from error
        messages: Sequence[Any] = completed.get_custom_messages()
        return messages


def _reported(target: str, messages: Sequence[Any]) -> Reported:
    """Merge the reports among a step's custom messages.

    Raises:
        dagster.Failure: no message holds metrics.
    """
    reported = [
        message for message in messages if isinstance(message, dict) and "metrics" in message
    ]
    if not reported:
        raise dg.Failure(
            f"{target} ended without reporting metrics; it must call "
            'pipes.report_custom_message({"metrics": {…}}) before it returns',
            allow_retries=False,
        )
    return Reported(
        {name: value for message in reported for name, value in message["metrics"].items()},
        {
            name: version
            for message in reported
            for name, version in message.get("versions", {}).items()
        },
    )


def _profile_name(context: StepContext, profile: str | Mapping[str, Any] | None) -> str:
    if isinstance(profile, str):
        return profile
    tags = context.op_def.tags if profile is None else profile
    if compute.PROFILE not in tags:
        raise dg.Failure(
            f"{context.op_def.name} names no compute profile; give it op_tags of "
            "recsys_assets.orchestration.compute",
            allow_retries=False,
        )
    return str(tags[compute.PROFILE])


def _step_labels(context: StepContext) -> dict[str, str]:
    """Return the labels of a step's training pods, the same for each attempt and retried run."""
    step = f"{context.op_def.name} {context.run.tags.get('dagster/partition', '')}"
    return {
        "recsys/root-run": context.run.root_run_id or context.run.run_id,
        "recsys/step": sha256_json(step)[:16],
    }


def _require_shared(settings: Settings, extras: StepExtras) -> None:
    """Check that all paths lie on the shared volume, which the training pod mounts.

    Raises:
        dagster.Failure: a path lies elsewhere.
    """
    paths = [extras["output"]]
    for value in extras["inputs"].values():
        paths += [value] if isinstance(value, str) else value
    outside = [path for path in paths if not Path(path).is_relative_to(settings.k8s_shared_dir)]
    if outside:
        raise dg.Failure(
            f"{', '.join(outside)}: not on the shared volume {settings.k8s_shared_dir}, the only "
            "folder that a training pod can read; set RECSYS_HOME and TMPDIR to folders in it",
            allow_retries=False,
        )


def _failure(target: str, what: str, output: str, where: str) -> dg.Failure:
    if "ModuleNotFoundError" in output or "No module named" in output:
        remedy = (
            "a module is missing in the training environment: run `make setup`, or build its "
            "image again"
        )
    elif any(reason in output for reason in NO_IMAGE):
        remedy = (
            "its image cannot be pulled: check RECSYS_TRAINING_IMAGE, that the registry has this "
            "tag, and that the nodes may pull from it"
        )
    elif "code -9" in what or "OOMKilled" in output:
        remedy = (
            "it was killed, most likely because it ran out of memory: use a larger profile, a "
            "smaller scale or a smaller batch"
        )
    else:
        remedy = "fix the error in its last lines, then materialise again"
    return dg.Failure(
        f"{target} failed ({what}); {remedy}; {where}. Last lines:\n{output}",
        metadata={"last_lines": dg.MetadataValue.md(f"```\n{output}\n```")},
    )
