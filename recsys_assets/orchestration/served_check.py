"""Report whether a release serves the lists that the evaluation judges, as an asset check."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets.artifacts import Artifact
from recsys_assets.files import log_tail, read_json, write_json
from recsys_assets.lib.release.releases import SERVED_CHECK
from recsys_assets.lib.served_check.outcome import (
    OUTCOME_FILE,
    ServedOutcome,
    causes_table,
    first_difference,
    summary,
    undecided,
)
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import Platform, StepContext
from recsys_assets.settings import PROJECT_ROOT, Settings

NAME = "served_as_evaluated"
STEP = "recsys_assets.operations.served_check_step"
#: Seconds after which a check is ended: 500 queries take half a minute on two idle cores.
LIMIT = 900.0
GRACE = 60.0  # seconds to end its servers


class ServedCheckFailed(RuntimeError):
    """The check could not run; the message names the remedy."""


def served_specs(
    asset: Sequence[str], partitions_def: dg.PartitionsDefinition, *, blocking: bool = True
) -> list[dg.AssetCheckSpec]:
    """Return the spec of the check of an asset that builds releases.

    blocking: False where the gate of the asset warns too; the promotion refuses in any case.
    """
    return reporting.check_specs(
        asset,
        {
            NAME: "A gateway on the files of the release gives the lists that the evaluation's "
            "code computes for 500 held-out queries, in the same order. A release that does not "
            "is not promoted. Warns if the check cannot run."
        },
        partitions_def,
        blocking=blocking,
    )


def served_check(
    context: StepContext,
    platform: Platform,
    release: Artifact,
    *,
    force: bool = False,
    blocking: bool = True,
) -> dg.AssetCheckResult:
    """Check a release, or reuse the result of the same release, settings and code.

    blocking: as for ``served_specs``.
    """
    settings = platform.home_settings
    try:
        built = platform.build(
            context,
            SERVED_CHECK,
            partition=release.partition,
            inputs={"release": release},
            params={
                name: getattr(settings, name)
                for name in ("seed", "retrieval_topk", "look_back_days", "kept_seen_days")
            },
            force=force,
            step=STEP,
            write=lambda staged: _write(
                settings, int(str(release.partition)), staged.path, context
            ),
        )
    except ServedCheckFailed as error:
        context.log.warning(f"{NAME} did not run: {error}")
        return reporting.check(
            NAME,
            False,
            value="not checked",
            threshold="every list equal",
            blocking=False,
            reason=str(error),
        )
    return _result(read_json(built.artifact.path(OUTCOME_FILE)), blocking)


def _write(
    settings: Settings, number: int, folder: Path, context: StepContext
) -> Mapping[str, Any]:
    outcome = run_step(settings, number, context)
    if outcome["impossible"]:
        raise ServedCheckFailed(outcome["impossible"])
    found = outcome["agreement"]
    if found is not None and undecided(found["causes"]):
        raise ServedCheckFailed(
            f"a part of the gateway failed for {found['causes']['degraded']} of {found['queries']} "
            f"queries, and no other list differs; run `recsys check-served {number}` when this "
            "machine is less busy"
        )
    write_json(folder / OUTCOME_FILE, outcome)
    if found is None:
        return {"passed": True, "queries": 0}
    return {"passed": found["passed"], "queries": found["queries"], **found["causes"]}


def run_step(settings: Settings, number: int, context: StepContext) -> ServedOutcome:
    """Run the check in a process of its own.

    Raises:
        ServedCheckFailed: it ended without a result.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-served-check-") as folder:
        path, log = Path(folder) / OUTCOME_FILE, Path(folder) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", STEP, str(number), str(path)],
                cwd=PROJECT_ROOT,
                # its own home lies in the folder, and goes with it
                env={**os.environ, **settings.environment(), "TMPDIR": folder},
                stdout=stream,
                stderr=stream,
            )
            try:
                status = str(process.wait(LIMIT))
            except subprocess.TimeoutExpired:
                status = f"none after {LIMIT:g} s"
            finally:
                _end(process)
        said = log_tail(log)
        context.log.info(said)
        if not path.is_file():
            raise ServedCheckFailed(
                f"the process of the check ended with status {status}; run `recsys check-served "
                f"{number}` to see why:\n{said}"
            )
        found: ServedOutcome = read_json(path)
        return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, and let it end its servers first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _result(outcome: ServedOutcome, blocking: bool) -> dg.AssetCheckResult:
    found = outcome["agreement"]
    if found is None:
        return reporting.check(
            NAME,
            True,
            value="too few to judge: no query",
            threshold="every list equal",
            blocking=False,
            reason=outcome["nothing"],
        )
    return reporting.check(
        NAME,
        found["passed"],
        value=found["causes"]["equal"] / found["queries"],
        threshold="no list differs; near ties may change places, and the Bloom filter may change "
        f"{found['bloom_share_allowed']:.0%} of the lists",
        blocking=blocking,
        summary=summary(found),
        lists=dg.MetadataValue.md(causes_table(found)),
        first_difference=dg.MetadataValue.md(first_difference(found)),
        list_length=found["list_length"],
        not_compared=found["diversity"] or "nothing",
    )
