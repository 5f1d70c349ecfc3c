"""Opens the simple rung of a release, to compare it with others."""

from __future__ import annotations

import json
from collections.abc import Sequence

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.ladder.item_to_item import ItemToItem
from recsys_assets.lib.ladder.scorer import RungScorer, read_clicks
from recsys_assets.lib.release.releases import Release
from recsys_assets.release_files import ITEM_IDS_FILE


def rung_scorer(store: ArtifactStore, release: Release, log: Sequence[Artifact]) -> RungScorer:
    """Return what a release of a simple rung shows, as a scorer of queries.

    A query has the clicks of the release's own look-back.

    Args:
        store: of the artifacts.
        release: of a simple rung.
        log: ``raw/interactions`` of the queries' days and of those before.
    """
    vocabulary = json.loads(release.artifact.path(ITEM_IDS_FILE).read_text())
    rung = store.open(release.artifact.manifest["inputs"]["faiss_index"])
    model = ItemToItem.read(rung, vocabulary)
    return RungScorer.of(release.rung["name"], model, read_clicks(log), release.look_back_days)
