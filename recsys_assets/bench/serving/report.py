"""Build ``serving.json``: percentiles, stages, and ratios with their bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from recsys_assets.bench.serving.million import RECALL
from recsys_assets.bench.serving.without_sources import COMPARED
from recsys_assets.serving.triton.fused_model import FUSED
from recsys_assets.serving.triton.served import ENSEMBLE, RECOMMENDER

if TYPE_CHECKING:
    from recsys_assets.bench.serving.measured import MeasuredSystem

PERCENTILES = (50, 95, 99)
#: Memory of a million items with the sources, minus that of the same release without them.
SOURCES_GIB = "million items, sources GiB"
#: Ratio → (whether the bar is the "most" or the "least" allowed, bar).
BARS: dict[str, tuple[str, float]] = {
    "fused p50 / floor p50": ("most", 2.5),
    "reference p50 / fused p50": ("least", 50.0),
    "ensemble p50 / fused p50": ("most", 4.0),
    "fused p99 / fused p50": ("most", 5.0),
    "gateway p50 / fused p50": ("most", 3.0),
    "throughput of 4, fused / reference": ("least", 40.0),
    f"million items, {RECALL}": ("least", 0.95),
    "million items p50 / small p50": ("most", 2.0),
    SOURCES_GIB: ("most", 1.0),
    **{f"{name} p50 / without sources": ("most", 1.3) for name in COMPARED},
}


class Ratio(TypedDict):
    """A ratio and its bar; ``at`` is "most" or "least"."""

    value: float
    bar: float
    at: str
    met: bool


def milliseconds(seconds: Sequence[float], q: float = 50) -> float:
    """Return a percentile in milliseconds."""
    return round(float(np.percentile(seconds, q)) * 1e3, 4)


def add_stages(
    measured: Mapping[str, MeasuredSystem],
    replaced: Collection[str],
    reference_parts: Sequence[str],
    requests: int,
    in_fused: Mapping[str, float],
    ensemble: Mapping[str, Mapping[str, float]],
    calls: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]],
) -> None:
    """Fill each system's ``stages``, and sum the reference's parts per request.

    Args:
        measured: the systems by name.
        replaced: stages that the reference does not share.
        reference_parts: the reference's parts in their place.
        requests: per round.
        in_fused: stages by the fused model's own clock.
        ensemble: model → its milliseconds by phase.
        calls: "fused", "gateway" → of each round, FUSED's and RECOMMENDER's milliseconds by phase.
    """
    floor, reference = measured["floor"], measured["reference"]
    floor.stages = {f"{name}_ms": milliseconds(seconds) for name, seconds in floor.parts.items()}
    kept = [name for name in floor.parts if name not in replaced]
    rounds = np.sum([floor.parts[name] for name in kept], axis=0).reshape(-1, requests)
    rest = np.median(rounds, axis=0)  # [requests]
    own = np.sum([reference.parts[name] for name in reference_parts], axis=0)
    reference.laps = (own + rest[: len(own)]).tolist()
    reference.stages = {
        **{f"{name}_ms": milliseconds(reference.parts[name]) for name in reference_parts},
        **{f"{name}_ms": floor.stages[f"{name}_ms"] for name in kept},
    }
    measured["ensemble"].stages = {
        **{
            f"{model}_ms": round(ms["total"] - ms["queue"], 4)
            for model, ms in ensemble.items()
            if model != ENSEMBLE
        },
        "queue_ms": round(
            sum(ms["queue"] for model, ms in ensemble.items() if model != ENSEMBLE), 4
        ),
        "client_ms": _outside("ensemble", measured, ensemble[ENSEMBLE]["total"]),
    }
    total = {
        name: float(np.mean([of_round[RECOMMENDER]["total"] for of_round in of_rounds]))
        for name, of_rounds in calls.items()
    }
    phases = {
        name: [float(of_round[FUSED][name]) for of_round in calls["fused"]]
        for name in calls["fused"][0][FUSED]
    }
    measured["fused"].stages = {
        **in_fused,
        **{
            f"triton_{name}_ms": round(float(np.mean(values)), 4) for name, values in phases.items()
        },
        "client_ms": _outside("fused", measured, total["fused"]),
    }
    measured["gateway"].stages = {
        "triton_ms": round(total["gateway"], 4),
        "gateway_ms": _outside("gateway", measured, total["gateway"]),
    }


def _outside(name: str, measured: Mapping[str, MeasuredSystem], inside: float) -> float:
    """Return the mean milliseconds of a request outside of Triton's models.

    That is the time of client, network and gateway.
    """
    return round(float(np.mean(measured[name].laps)) * 1e3 - inside, 4)


def report(measured: Mapping[str, MeasuredSystem], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping per system, and the facts."""
    systems = {
        name: {
            **{f"p{q}_ms": milliseconds(system.laps, q) for q in PERCENTILES},
            "samples": len(system.laps),
            "throughput": {str(clients): round(rate, 2) for clients, rate in system.rates.items()},
            "stages": system.stages,
        }
        for name, system in measured.items()
    }
    return {**systems, **facts}


def ratios(report: Mapping[str, Any]) -> dict[str, Ratio]:
    """Return the ratios with their bars; ratios that were not measured are left out."""
    p50 = {
        name: report[name]["p50_ms"]
        for name in ("reference", "ensemble", "fused", "floor", "gateway")
    }
    values = {
        "fused p50 / floor p50": p50["fused"] / p50["floor"],
        "reference p50 / fused p50": p50["reference"] / p50["fused"],
        "ensemble p50 / fused p50": p50["ensemble"] / p50["fused"],
        "fused p99 / fused p50": report["fused"]["p99_ms"] / p50["fused"],
        "gateway p50 / fused p50": p50["gateway"] / p50["fused"],
    }
    if "4" in report["fused"]["throughput"]:
        values["throughput of 4, fused / reference"] = (
            report["fused"]["throughput"]["4"] / report["reference"]["throughput"]["4"]
        )
    if "million_items" in report:
        million = report["million_items"]
        values[f"million items, {RECALL}"] = million[RECALL]
        values["million items p50 / small p50"] = million["ratio"]
        values[SOURCES_GIB] = million["sources_gib"]
    for name, one in report["without_sources"].items():
        values[f"{name} p50 / without sources"] = one["ratio"]
    return {
        name: {
            "value": round(value, 3),
            "bar": BARS[name][1],
            "at": BARS[name][0],
            "met": value <= BARS[name][1] if BARS[name][0] == "most" else value >= BARS[name][1],
        }
        for name, value in values.items()
    }


def table_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the printed table: system, percentiles, throughput by concurrency."""
    return [
        (
            name,
            *(f"{system[f'p{q}_ms']:.2f}" for q in PERCENTILES),
            *(f"{rate:,.0f}" for rate in system["throughput"].values()),
        )
        for name in ("reference", "ensemble", "fused", "gateway", "floor")
        for system in (report[name],)
    ]


def stage_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the printed table: stage, milliseconds in each system.

    The cell is empty where a system has no such stage.
    """
    names = ("reference", "ensemble", "fused", "floor", "gateway")
    stages = dict.fromkeys(stage for name in ("floor", *names) for stage in report[name]["stages"])
    return [
        (
            stage.removesuffix("_ms"),
            *(
                f"{report[name]['stages'][stage]:.3f}" if stage in report[name]["stages"] else ""
                for name in names
            ),
        )
        for stage in stages
    ]


def source_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the printed table: source, milliseconds and MiB, and both in the large catalogue.

    A cell is empty where the source does not serve a catalogue as large.
    """
    large = report.get("million_items", {}).get("sources", {})
    return [
        (name, *_cells(report["sources"].get(name)), *_cells(large.get(name)))
        for name in report["sources"]
    ]


def _cells(one: Mapping[str, float] | None) -> tuple[str, str]:
    return ("", "") if one is None else (f"{one['p50_ms']:.3f}", f"{one['mib']:,.1f}")


def memory_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the printed table: the large catalogue with and without sources, and the difference.

    Columns: milliseconds, private MiB, mapped MiB, and their sum. The last row is the difference
    with every page of the sources' files resident. Nothing where the large catalogue was not
    measured.
    """
    if "million_items" not in report:
        return []
    large = report["million_items"]
    columns = ("p50_ms", "private_mib", "mapped_mib")
    given, without = ([one[name] for name in columns] for one in (large, large["without_sources"]))
    less = [a - b for a, b in zip(given, without, strict=True)]
    return [
        (name, f"{p50:.2f}", f"{private:,.1f}", f"{mapped:,.1f}", f"{private + mapped:,.1f}")
        for name, (p50, private, mapped) in (
            ("with sources", given),
            ("without", without),
            ("difference", less),
            ("difference, all pages", (*less[:2], large["sources_files_mib"])),
        )
    ]


def ratio_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the printed table: ratio, value, bar, met."""
    return [
        (
            name,
            f"{one['value']:,.2f}",
            f"at {one['at']} {one['bar']:g}",
            "yes" if one["met"] else "no",
        )
        for name, one in report["ratios"].items()
    ]
