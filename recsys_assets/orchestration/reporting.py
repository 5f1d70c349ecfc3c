"""Convert artifacts and checks to Dagster's results, with metadata for the UI."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import dagster as dg

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.release import learnt
from recsys_assets.lib.release.verdict import blocks, stops

if TYPE_CHECKING:
    from recsys_assets.lib.release.verdict import Check, Verdict

    Materialized: TypeAlias = dg.MaterializeResult[None]
else:
    # Dagster recognises only the plain class as the return type of an asset
    Materialized = dg.MaterializeResult

Read = TypeVar("Read")
#: What an asset yields that reports its checks itself.
Events: TypeAlias = Generator[Materialized | dg.AssetCheckResult, None, None]
FIGURES = "figures"  # folder of Markdown files inside an artifact; the UI shows each file


def column_schema(columns: Mapping[str, str]) -> dg.TableSchema:
    """Return a column schema for the UI from column → type name."""
    return dg.TableSchema(columns=[dg.TableColumn(name, type_) for name, type_ in columns.items()])


def metadata_of(
    artifact: Artifact,
    *,
    reused: bool = False,
    columns: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an artifact's metadata for the UI.

    It holds address, size, metrics, figures and the versions of the libraries that wrote it.
    """
    metadata: dict[str, Any] = {}
    for name in sorted(artifact.manifest["files"]):
        if name.startswith(f"{FIGURES}/"):
            title = name.removeprefix(f"{FIGURES}/").removesuffix(".md").replace("_", " ")
            metadata[title] = dg.MetadataValue.md(artifact.path(name).read_text())
    if "rows" in artifact.metrics:
        metadata["dagster/row_count"] = int(artifact.metrics["rows"])
    if columns:
        metadata["dagster/column_schema"] = column_schema(columns)
    metadata.update(
        {name: _metadata_value(value) for name, value in flatten(artifact.metrics).items()}
    )
    if artifact.seconds is not None:
        metadata["build seconds"] = artifact.seconds
    if artifact.versions:
        metadata["library versions"] = ", ".join(
            f"{name} {version}" for name, version in sorted(artifact.versions.items())
        )
    metadata.update(extra or {})
    return metadata | {
        "reused": reused,
        "uri": artifact.uri,
        "digest": artifact.digest[:16],
        "bytes": sum(entry["bytes"] for entry in artifact.manifest["files"].values()),
    }


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested metrics to one level of names, so that the UI plots each number.

    An estimate {"value", "low", "high"} becomes its value.

    >>> flatten({"retrieval": {"recall@10": {"value": 0.3, "low": 0.2, "high": 0.4}}, "rows": 7})
    {'retrieval recall@10': 0.3, 'rows': 7}
    """
    flat: dict[str, Any] = {}
    for name, value in metrics.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping) and "value" in value and "low" in value:
            flat[label] = value["value"]
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{label} ")
        else:
            flat[label] = value
    return flat


def _metadata_value(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str, dg.MetadataValue)):
        return value
    return dg.MetadataValue.json(value)


def result(
    artifact: Artifact,
    *,
    reused: bool = False,
    columns: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    checks: Sequence[dg.AssetCheckResult] = (),
) -> Materialized:
    """Return the materialisation of an artifact, with its digest as data version."""
    return dg.MaterializeResult(
        metadata=metadata_of(artifact, reused=reused, columns=columns, extra=extra),
        data_version=dg.DataVersion(artifact.digest),
        check_results=list(checks),
    )


def released(artifact: Artifact, *, checks: Sequence[dg.AssetCheckResult] = ()) -> Materialized:
    """Return the materialisation of a release, with a table of the days that it has learnt."""
    days = dg.MetadataValue.md(learnt.table(artifact.metrics.get("learnt_days")))
    return result(artifact, extra={"days that it has learnt": days}, checks=checks)


def check(
    name: str, passed: bool, *, value: Any, threshold: Any, blocking: bool = True, **metadata: Any
) -> dg.AssetCheckResult:
    """Return a check result with value and threshold; a warning if not blocking."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=bool(passed),
        severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
        metadata={
            "value": _metadata_value(value),
            "threshold": _metadata_value(threshold),
            **{k: _metadata_value(v) for k, v in metadata.items()},
        },
    )


def of_verdict(name: str, one: Check) -> dg.AssetCheckResult:
    """Return a check of the gates as the result ``name``; a warning if it does not block."""
    return check(
        name, one["passed"], value=one["value"], threshold=one["threshold"], blocking=one["blocks"]
    )


def contract_kept(
    files: Mapping[str, int], extra_columns: Mapping[str, int]
) -> dg.AssetCheckResult:
    """Return the passed check ``contract`` of landed files.

    ``files`` maps file → rows, ``extra_columns`` maps a column without a contract → files.
    """
    return check(
        "contract",
        True,
        value=0,
        threshold="no failure",
        files=dict(files),
        extra_columns=dict(extra_columns),
    )


def check_specs(
    asset: Sequence[str],
    descriptions: Mapping[str, str],
    partitions_def: dg.PartitionsDefinition | None = None,
    *,
    blocking: bool = True,
) -> list[dg.AssetCheckSpec]:
    """Return the specs of checks that an asset reports itself.

    Args:
        asset: key of the asset.
        descriptions: name → description.
        partitions_def: partitions of the asset; None: it has none.
        blocking: False if the asset reports them with ``check(…, blocking=False)``.
    """
    return [
        dg.AssetCheckSpec(
            name,
            asset=dg.AssetKey(list(asset)),
            description=text,
            blocking=blocking,
            partitions_def=partitions_def,
        )
        for name, text in descriptions.items()
    ]


def gate_specs(
    asset: Sequence[str], partitions_def: dg.PartitionsDefinition, groups: Mapping[str, str]
) -> list[dg.AssetCheckSpec]:
    """Return the blocking checks of a release: ``gate`` and one per group.

    ``gate`` is the whole verdict. ``groups`` maps group → description.
    """
    return check_specs(
        asset,
        {
            "gate": "All checks of the verdict that block pass, so the release may be promoted. "
            "Others warn.",
            **groups,
        },
        partitions_def,
    )


def gate_checks(
    verdict: Verdict, groups: Mapping[str, Sequence[Check]]
) -> list[dg.AssetCheckResult]:
    """Return the results of ``gate_specs``, each with a table of its checks.

    ``groups`` maps group → its checks, as ``gates.by_group`` returns them.
    """
    return [
        _gate_check("gate", verdict["checks"], verdict["passed"]),
        *(
            _gate_check(name, checks, all(one["passed"] for one in checks))
            for name, checks in groups.items()
        ),
    ]


def _gate_check(name: str, checks: Sequence[Check], passed: bool) -> dg.AssetCheckResult:
    rows = [
        f"| {one['name']} | {_short(one['value'])} | {_short(one['threshold'])} | "
        f"{'yes' if one['passed'] else '**no**'} | {'blocks' if blocks(one) else 'warns'} |"
        for one in checks
    ]
    head = ["| check | value | threshold | passed | if not |", "| --- | --- | --- | --- | --- |"]
    table = dg.MetadataValue.md("\n".join([*head, *rows]))
    # the UI plots a single number over partitions
    values: dict[str, Any] = {one["name"]: one["value"] for one in checks}
    thresholds: dict[str, Any] = {one["name"]: one["threshold"] for one in checks}
    single = len(checks) == 1
    return check(
        name,
        passed,
        value=checks[0]["value"] if single else values,
        threshold=checks[0]["threshold"] if single else thresholds,
        # where the simple rung is better, its release serves: that is a choice, no fault
        blocking=any(stops(one) and not one["name"].startswith("rung:") for one in checks),
        checks=table,
    )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping) and {"value", "low", "high"} <= set(value):
        return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return str(value)


def read_under_contract(read: Callable[[], Read]) -> Generator[dg.AssetCheckResult, None, Read]:
    """Run ``read``; yield the failed check ``contract`` if the data breaks it.

    The failed check is yielded before the step fails, so that Dagster records it. Nothing is
    materialised, so that no downstream asset can read the bad rows. Otherwise, return the result.

    Raises:
        dagster.Failure: the data breaks its contract, or has not landed.
    """
    from recsys_assets.lib.quality.contracts import ContractViolation
    from recsys_assets.lib.quality.landing_day import LandingMissing

    try:
        return read()
    except (ContractViolation, LandingMissing) as violation:
        lines = str(violation).splitlines()
        yield check("contract", False, value=len(lines), threshold=0, failures=lines)
        raise dg.Failure(str(violation), allow_retries=False) from violation
