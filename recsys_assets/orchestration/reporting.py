"""Figures, tables and metrics → Dagster metadata."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

import dagster as dg

from recsys_assets.artifacts import Artifact

Read = TypeVar("Read")
FIGURES = "figures"  # a folder of Markdown files inside an artifact, each shown in the UI


def column_schema(columns: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(name, type_) for name, type_ in columns.items()])


def metadata_of(
    artifact: Artifact,
    *,
    reused: bool = False,
    columns: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an artifact's metadata for the UI: address, size, metrics, figures and the libraries
    that wrote it.
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
    """Nested metrics as one level of names, so that each number has a plot of its own over
    partitions.

    An estimate {"value", "low", "high"} counts as its value.

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
) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        metadata=metadata_of(artifact, reused=reused, columns=columns, extra=extra),
        data_version=dg.DataVersion(artifact.digest),
        check_results=list(checks),
    )


def check(
    name: str, passed: bool, *, value: Any, threshold: Any, blocking: bool = True, **metadata: Any
) -> dg.AssetCheckResult:
    """A check that shows its value beside its threshold; one that does not block warns."""
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


def check_specs(
    asset: Sequence[str],
    descriptions: Mapping[str, str],
    partitions_def: dg.PartitionsDefinition | None = None,
    *,
    blocking: bool = True,
) -> list[dg.AssetCheckSpec]:
    """Checks that an asset reports itself, name → description; one that does not block is reported
    with ``check``'s blocking=False.
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
    """Blocking checks of a release: ``gate``, the whole verdict, and one a group (group →
    description).
    """
    return check_specs(
        asset,
        {"gate": "Every check of the verdict: what fails one cannot be promoted.", **groups},
        partitions_def,
    )


def gate_checks(
    verdict: Mapping[str, Any], groups: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dg.AssetCheckResult]:
    """Results of ``gate_specs``: each with a table of its checks, name, value, threshold.

    groups: group → its checks, of ``gates.by_group``.
    """
    return [
        _gate_check("gate", verdict["checks"]),
        *(_gate_check(name, checks) for name, checks in groups.items()),
    ]


def _gate_check(name: str, checks: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    rows = [
        f"| {one['name']} | {_short(one['value'])} | {_short(one['threshold'])} | "
        f"{'yes' if one['passed'] else '**no**'} |"
        for one in checks
    ]
    table = dg.MetadataValue.md(
        "\n".join(["| check | value | threshold | passed |", "| --- | --- | --- | --- |", *rows])
    )
    # plotted over partitions where the group is one number
    numbers = (
        {key: checks[0][key] for key in ("value", "threshold")}
        if len(checks) == 1
        else {key: {one["name"]: one[key] for one in checks} for key in ("value", "threshold")}
    )
    return check(name, all(one["passed"] for one in checks), **numbers, checks=table)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping) and {"value", "low", "high"} <= set(value):
        return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return str(value)


def read_under_contract(read: Callable[[], Read]) -> Generator[dg.AssetCheckResult, None, Read]:
    """Run ``read``; where it breaks its contract, report the failed check ``contract`` and fail the
    step.

    The order matters: the check must be recorded before the failure ends the step, and nothing is
    materialised, so that nothing downstream can take the bad rows for good ones, not even by hand.
    """
    from recsys_assets.lib.quality.contracts import ContractViolation
    from recsys_assets.lib.quality.landing_day import LandingMissing

    try:
        return read()
    except (ContractViolation, LandingMissing) as violation:
        lines = str(violation).splitlines()
        yield check("contract", False, value=len(lines), threshold=0, failures=lines)
        raise dg.Failure(str(violation), allow_retries=False) from violation
