"""Opens the simple rung of a release, to compare it with others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.released import released_places, released_sources
from recsys_assets.lib.evaluation.inner_products import Products, inner_products
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.list_metrics import Scorer
from recsys_assets.lib.evaluation.placed import PlacedScorer
from recsys_assets.lib.ladder.fusion import FusedScorer
from recsys_assets.lib.ladder.item_to_item import ItemToItem
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.lib.release.rung import FUSION
from recsys_assets.release_files import ITEM_IDS_FILE


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


def released_rung(store: ArtifactStore, release: Release, log: Sequence[Artifact]) -> RungScorer:
    """Return the simple rung of a release alone, without sources and places.

    Arguments as for ``rung_scorer``. A fine-tune has the rung of its generation.
    """
    vocabulary = json.loads(release.artifact.path(ITEM_IDS_FILE).read_text())
    made_from = open_release(store, release.generation).artifact.manifest["inputs"]
    model = ItemToItem.read(store.open(made_from["faiss_index"]), vocabulary)
    return RungScorer.of(release.rung["name"], model, read_clicks(log), release.look_back_days)
