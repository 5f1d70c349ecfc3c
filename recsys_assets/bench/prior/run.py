"""Run ``recsys bench prior``: fit the net of other shops on the shops that the bench kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.newest import Newest
from recsys_assets.bench.harness.part import BenchFailed, refuse_unknown
from recsys_assets.bench.peers.run import kept_shops
from recsys_assets.lib.blend import shipped_prior
from recsys_assets.lib.blend.blend_artifacts import LABELS, sampled
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.prior import PriorFigures, write_prior
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.ladder.fusion import HeldOutClicks
from recsys_assets.settings import Settings

FUSION = "ladder/fusion"

Say = Callable[[str], None]


def bench_prior(
    settings: Settings, target: Path, say: Say, only: Collection[str] = ()
) -> PriorFigures:
    """Fit the net on the kept shops, write it with its figures, and return these.

    Args:
        settings: of the home.
        target: folder of the files; made where it does not exist.
        say: receives a line per shop.
        only: names of shops; empty: all.

    Raises:
        BenchFailed: a name is unknown, or fewer than two shops have a fusion.
    """
    kept = kept_shops(settings)
    refuse_unknown("shop", only, list(kept))
    shops: dict[str, ClickLabels] = {}
    for name, home in kept.items():
        if only and name not in only:
            continue
        labels = held_out_clicks(ArtifactStore(home.artifacts))
        if labels is not None:
            shops[name] = labels
            say(f"{name}: {len(labels):,} held-out clicks, {', '.join(labels.names)}")
    if len(shops) < 2:
        raise BenchFailed(
            f"{settings.home} has a fusion of {len(shops)} shops, and two are needed: run "
            "`recsys bench shops --keep` first"
        )
    target.mkdir(parents=True, exist_ok=True)
    return write_prior(target, shops, settings.seed)


def held_out_clicks(store: ArtifactStore) -> ClickLabels | None:
    """Return the clicks by which the newest fusion of a home was chosen; None: it has none."""
    fusion = Newest.of(store, FUSION)
    if fusion is None:
        return None
    opened, params = fusion.inputs, fusion.params
    return HeldOutClicks.of(
        fusion.blend_parts(),
        rung=opened["rung"],
        fitted=opened["fitted"],
        asked=sampled(Queries.read(opened["queries"]), LABELS, params["seed"]),
        history=opened["history"],
        look_back_days=params["look_back_days"],
        retrieval_topk=params["retrieval_topk"],
    ).labels


def shipped(target: Path, package: Path = shipped_prior.FOLDER) -> Path:
    """Copy what ``bench_prior`` wrote into the package; return that folder."""
    for name in (shipped_prior.NET, shipped_prior.FIGURES):
        shutil.copyfile(target / name, package / name)
    return package


def table_rows(figures: PriorFigures) -> Sequence[tuple[str, ...]]:
    """Return the printed table: shop, clicks, nDCG@10 by quality, and what the net adds.

    A shop has a row for each number of its first clicks.
    """
    return [
        (
            name,
            f"{one['clicks']:,}",
            f"{one['default']:.4f}",
            f"{one['difference']['value']:+.4f} "
            f"[{one['difference']['low']:+.4f}, {one['difference']['high']:+.4f}]",
        )
        for name, found in figures["shops"].items()
        for one in found
    ]
