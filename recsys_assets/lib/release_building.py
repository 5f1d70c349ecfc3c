"""Gathers what a release is made of, has the gate judge it, and builds it."""

from __future__ import annotations

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib import evaluation, evaluation_report, fine_tuning, gates, releases
from recsys_assets.settings import Settings


def full_release(store: ArtifactStore, settings: Settings, as_of: str) -> Artifact:
    """The release of a full training, the first of its generation; the same parts give the same release again."""
    report = evaluation_report.read_metrics(store.current("evaluation/offline", as_of))
    index = store.current("retrieval/faiss_index", as_of)
    verdict = gates.full_release(
        recall=report["retrieval"]["recall@100"]["value"], popularity_recall=report["popularity"]["recall@100"]["value"],
        auc=report["ranking"]["auc"], parity=store.current("serving/onnx_exports", as_of).metrics["max_abs_difference"],
        index_agreement=index.metrics["recall"])
    ranked = pl.read_parquet(store.current("retrieval/popularity", as_of).path("popularity.parquet"))
    clicks = pl.read_parquet(store.current("features/interactions", as_of).path("item_popularity.parquet"))
    return releases.build_release(
        store, settings, as_of=as_of, raw_items=store.current("raw/items"), workflows=store.current("features/workflows", as_of),
        aligned=store.current("embeddings/aligned", as_of), faiss_index=index,
        query_tower=store.current("retrieval/two_tower", as_of), ranker=store.current("ranking/dlrm", as_of),
        popularity=ranked[c.ITEM_ID].to_list(), item_clicks=dict(clicks.select(c.ITEM_ID, c.ITEM_CLICKS).iter_rows()), gate=verdict,
        metrics={"recall@100": report["retrieval"]["recall@100"], "two_stage_ndcg@10": report["two_stage"]["ndcg@10"],
                 "auc": report["ranking"]["auc"]})


def fine_tuned_release(store: ArtifactStore, day: str) -> Artifact:
    """The release of a day's fine-tune, judged beside its champion on the day's held-out rows."""
    rows = store.current("fine_tune/rows", day)
    base = store.open(rows.manifest["inputs"]["champion"])
    generation = releases.open_release(store, releases.read_release(base).generation).artifact.manifest["inputs"]
    vectors = store.open(store.open(generation["faiss_index"]).manifest["inputs"]["item_vectors"])
    catalogue = evaluation_report.Catalogue.read(vectors, store.open(generation["aligned"]))
    holdout = pl.read_parquet(rows.path("holdout.parquet"))
    tuned = {name: store.current(f"fine_tune/{name}", day) for name in fine_tuning.ROLES}
    origin = {name: fine_tuning.origin(store, rows, name) for name in fine_tuning.ROLES}
    for name, artifact in tuned.items():
        if artifact.manifest["inputs"]["rows"]["digest"] != rows.digest:
            raise releases.ReleaseError(f"fine_tune/{name} [{day}] was made from other rows; materialise it again")
    candidate, champion = (
        evaluation_report.judge(holdout, models["query_tower"].path("query_tower.onnx"), models["dlrm"].path("dlrm.onnx"), catalogue)
        for models in (tuned, origin))
    parity = {"query_tower.onnx": evaluation.parity(tuned["query_tower"].path("query_tower.onnx"), tuned["query_tower"].path("parity.npz")),
              "dlrm.onnx": evaluation.parity(tuned["dlrm"].path("dlrm.onnx"), tuned["dlrm"].path("parity.npz"))}
    verdict = gates.fine_tune(
        candidate_auc=candidate["auc"], champion_auc=champion["auc"], candidate_recall=candidate["recall@100"],
        champion_recall=champion["recall@100"], rows=holdout.height, parity=parity)
    return releases.build_fine_tune_release(store, day=day, base=base, query_tower=tuned["query_tower"], ranker=tuned["dlrm"],
                                            gate=verdict, metrics={"candidate": candidate, "champion": champion})
