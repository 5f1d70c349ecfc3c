"""Opens the simple rung of a release, to compare it with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.released import released_places, released_sources
from recsys_assets.lib.evaluation.inner_products import Products, inner_products
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.list_metrics import Scorer
from recsys_assets.lib.evaluation.placed import PlacedScorer
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.ladder.fusion import FusedScorer
from recsys_assets.lib.ladder.item_to_item import ItemToItem
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.release.item_parts import item_parts
from recsys_assets.lib.release.releases import Release
from recsys_assets.lib.release.rung import FUSION


def rung_scorer(
    store: ArtifactStore,
    release: Release,
    log: Sequence[Artifact],
    retrieval_topk: int,
    first_day: str | None = None,
    products: Products = inner_products,
) -> Scorer:
    """Return what a release of a simple rung shows, as a scorer of queries.

    A query has the clicks of the release's own look-back.

    Args:
        store: of the artifacts.
        release: of a simple rung.
        log: ``raw/interactions`` of the queries' days and of those before.
        retrieval_topk: candidates of the first stage.
        first_day: of the queries, ISO; see ``released_sources``.
        products: how inner products are computed.
    """
    scorer = replace(released_rung(store, release, log), products=products)
    vocabulary = scorer.model.item_ids.tolist()
    places = released_places(store, release, first_day)
    sources = None
    if release.rung["name"] == FUSION:
        sources = released_sources(store, release, log, first_day)
    if sources is not None:
        return FusedScorer(scorer, sources, vocabulary, retrieval_topk, places=places)
    return scorer if places is None else PlacedScorer(scorer, places, vocabulary, retrieval_topk)


def released_rung(
    store: ArtifactStore, release: Release, log: Sequence[Artifact], added: Artifact | None = None
) -> RungScorer:
    """Return the simple rung of a release alone, without sources and places.

    Arguments as for ``rung_scorer`` and ``item_parts``. A fine-tune has the rung of its generation.
    """
    parts = item_parts(store, release, added)
    model = ItemToItem.read(parts.index, item_vocabulary(parts.workflows))
    return RungScorer.of(release.rung["name"], model, read_clicks(log), release.look_back_days)
