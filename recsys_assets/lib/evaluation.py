"""Metrics of retrieval over the whole catalogue and of the ranker, and the exported models run on whole tables.

One row is one click: a query and the one item that was clicked, the *true* item. Everything about retrieval follows
from the rank of that item among all I items (1 = best). Metrics are taken per user, then averaged over users (as
RecTools does), so that heavy users do not decide alone; intervals are bootstrapped over users for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import ITEM_ID, RANKER_CATEGORICAL

RECALL_AT = (10, 100, 300)
NDCG_AT = MRR_AT = 10
BOOTSTRAP_RESAMPLES = 500
_QUERIES_PER_CHUNK = 4096
_ITEM_COLUMN = RANKER_CATEGORICAL.index(ITEM_ID)


# --- ranks ---------------------------------------------------------------------------------------------------------
def true_ranks(queries: np.ndarray, vectors: np.ndarray, true: np.ndarray,
               chunk: int = _QUERIES_PER_CHUNK) -> np.ndarray:
    """Rank of each row's true item by inner product over the whole catalogue, equal scores in item order.

    Args:
        queries: float32 [Q, D]. vectors: float32 [I, D]. true: int [Q], row of vectors.

    Returns:
        int64 [Q], from 1.
    """
    ranks = np.empty(len(queries), np.int64)
    positions = np.arange(len(vectors))
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        scores = queries[rows] @ vectors.T
        own = np.take_along_axis(scores, true[rows, None], axis=1)
        before = (scores > own) | ((scores == own) & (positions < true[rows, None]))
        ranks[rows] = 1 + before.sum(axis=1)
    return ranks


def ranks_by_order(order: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Ranks when everybody gets the same list, such as the popularity ranking.

    Args:
        order: int [I], rows of the catalogue, best first, each once. true: int [Q], row of the catalogue.

    Returns:
        int64 [Q], from 1.
    """
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise ValueError("order must name each of the catalogue's rows exactly once")
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(1, len(order) + 1)
    return position[true]


def rows_of(item_index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted Categorify index in ``item_index`` int [I]; raises ValueError naming what it lacks."""
    order = np.argsort(item_index, kind="stable")
    position = np.minimum(np.searchsorted(item_index, wanted, sorter=order), len(order) - 1)
    rows = order[position]
    if (unknown := np.unique(wanted[item_index[rows] != wanted])).size:
        raise ValueError(f"{unknown.size} item indices have no vector, such as {unknown[:5].tolist()}; leave rows of "
                         "items outside the catalogue out, or materialise retrieval/item_vectors again")
    return rows


# --- retrieval -----------------------------------------------------------------------------------------------------
def _per_row(ranks: np.ndarray) -> dict[str, np.ndarray]:
    values = {f"recall@{k}": (ranks <= k).astype(np.float64) for k in RECALL_AT}
    values[f"ndcg@{NDCG_AT}"] = np.where(ranks <= NDCG_AT, 1.0 / np.log2(1.0 + ranks), 0.0)
    values[f"mrr@{MRR_AT}"] = np.where(ranks <= MRR_AT, 1.0 / ranks, 0.0)
    return values


def retrieval_metrics(ranks: np.ndarray, users: Sequence[Any] | np.ndarray, seed: int = 7,
                      resamples: int = BOOTSTRAP_RESAMPLES) -> dict[str, dict[str, float]]:
    """recall@{10,100,300}, ndcg@10 and mrr@10, per user and then averaged.

    With one true item a row, ideal DCG is 1, recall is 0 or 1, and both follow from the rank alone (Järvelin and
    Kekäläinen 2002).

    Args:
        ranks: int [Q]. users: [Q], whoever the row belongs to.

    Returns:
        {metric: {"value", "low", "high"}}: the mean over users and its 95 % bootstrap interval.
    """
    if not len(ranks) or len(ranks) != len(users):
        raise ValueError(f"{len(ranks)} ranks and {len(users)} users: give one user a rank, and at least one")
    _, user = np.unique(np.asarray(users), return_inverse=True)
    counts = np.bincount(user)
    rng = np.random.default_rng(seed)
    of_user = {name: np.bincount(user, values) / counts for name, values in _per_row(ranks).items()}
    matrix = np.stack(list(of_user.values()))  # [metrics, users]
    # one draw at a time, the same for every metric: how often each user occurs in it
    equal = np.full(len(counts), 1 / len(counts))
    means = np.stack([matrix @ rng.multinomial(len(counts), equal) for _ in range(resamples)]) / len(counts)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {name: {"value": float(values.mean()), "low": float(low[i]), "high": float(high[i])}
            for i, (name, values) in enumerate(of_user.items())}


def random_metrics(items: int) -> dict[str, float]:
    """What a random order of I items is expected to give: exact, not simulated."""
    return {name: float(values.mean()) for name, values in _per_row(np.arange(1, items + 1)).items()}


def coverage(queries: np.ndarray, vectors: np.ndarray, k: int = 100, chunk: int = _QUERIES_PER_CHUNK) -> float:
    """Share of the catalogue that occurs in at least one query's top k."""
    k = min(k, len(vectors))
    seen = np.zeros(len(vectors), bool)
    for start in range(0, len(queries), chunk):
        scores = queries[start:start + chunk] @ vectors.T
        seen[np.argpartition(-scores, k - 1, axis=1)[:, :k].ravel()] = True
    return float(seen.mean())


# --- ranking -------------------------------------------------------------------------------------------------------
def auc(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic; ties count half.

    Raises:
        ValueError: rows are all clicked or all not, or a score is not finite.
    """
    clicks, scores = np.asarray(clicks).astype(bool), np.asarray(scores, np.float64)
    positives = int(clicks.sum())
    negatives = len(clicks) - positives
    if not positives or not negatives:
        raise ValueError(f"AUC needs clicked and unclicked rows; got {positives} and {negatives}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} scores are not finite; the model diverged")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    return float((mean_rank[group][clicks].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log likelihood; probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(np.asarray(clicks).astype(bool), np.log(p), np.log1p(-p))))


def reliability(clicks: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Predicted against observed click rate in bins of equal count, lowest first: {"predicted", "observed", "rows"}.

    Equal count, because scores of a click model crowd near the click rate.
    """
    order = np.argsort(scores, kind="stable")
    parts = [rows for rows in np.array_split(order, bins) if len(rows)]
    clicks, scores = np.asarray(clicks, np.float64), np.asarray(scores, np.float64)
    return [{"predicted": float(scores[rows].mean()), "observed": float(clicks[rows].mean()), "rows": len(rows)}
            for rows in parts]


def calibration_error(table: Sequence[Mapping[str, float]]) -> float:
    """Expected calibration error of a ``reliability`` table (Naeini et al. 2015): mean gap, weighted by rows."""
    rows = sum(row["rows"] for row in table)
    return float(sum(row["rows"] * abs(row["predicted"] - row["observed"]) for row in table) / rows)


def ranking_metrics(clicks: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """auc, log_loss, log_loss_of_mean (of always saying the click rate), calibration_error, click_rate, rows."""
    rate = float(np.mean(clicks))
    return {"auc": auc(clicks, scores), "log_loss": log_loss(clicks, scores),
            "log_loss_of_mean": log_loss(clicks, np.full(len(scores), rate)),
            "calibration_error": calibration_error(reliability(clicks, scores)), "click_rate": rate,
            "rows": len(scores)}


# --- the exported models -------------------------------------------------------------------------------------------
def _session(onnx_path: Path) -> Any:
    import onnxruntime

    if not onnx_path.is_file():
        raise FileNotFoundError(f"{onnx_path} does not exist; materialise serving/onnx_exports first")
    return onnxruntime.InferenceSession(str(onnx_path), providers=onnxruntime.get_available_providers())


def encode_queries(onnx_path: Path, cat: np.ndarray, cont: np.ndarray, batch: int = 16_384) -> np.ndarray:
    """Query tower: cat int32 [Q, 5], cont float32 [Q, 7] → float32 [Q, 64]."""
    session = _session(onnx_path)
    parts = [session.run(None, {"cat": cat[i:i + batch], "cont": cont[i:i + batch]})[0]
             for i in range(0, len(cat), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, 64), np.float32)


def score_dlrm(onnx_path: Path, cat: np.ndarray, cont: np.ndarray, table: np.ndarray,
               batch: int = 16_384) -> np.ndarray:
    """Ranker: click probabilities.

    Args:
        cat: int32 [N, 9] (RANKER_CATEGORICAL). cont: float32 [N, 9] (RANKER_CONTINUOUS).
        table: embedding table float32 [cardinality, 128]; rows are looked up batch by batch by the item's index.

    Returns:
        float32 [N].
    """
    session = _session(onnx_path)
    scores = np.empty(len(cat), np.float32)
    for start in range(0, len(cat), batch):
        rows = slice(start, start + batch)
        feed = {"cat": cat[rows], "cont": cont[rows], "embeddings": table[cat[rows, _ITEM_COLUMN]]}
        scores[rows] = session.run(None, feed)[0].reshape(-1)
    return scores


def two_stage_ranks(dlrm_path: Path, query_cat: np.ndarray, query_cont: np.ndarray, queries: np.ndarray,
                    items: Mapping[str, np.ndarray], popularity: np.ndarray, day: np.ndarray, vectors: np.ndarray,
                    table: np.ndarray, true: np.ndarray, topk: int = 300, chunk: int = 64) -> np.ndarray:
    """Ranks as served: retrieve the top k, score them with the ranker, sort; no filter of seen items.

    Args:
        query_cat: int32 [Q, 5]. query_cont: float32 [Q, 7]. queries: float32 [Q, 64], their embeddings.
        items: of ``item_tables.item_tower_inputs`` (index [I], cat [I, 4], cont [I, 1]). vectors: float32 [I, 64].
        popularity: float32 [D, I], item_popularity of every item as of each of D days. day: int [Q], row of it.
        table: float32 [cardinality, 128]. true: int [Q], row of the catalogue.

    Returns:
        int64 [Q], from 1; an item that retrieval missed has rank I + 1, beyond every cut.
    """
    topk = min(topk, len(vectors))
    ranks = np.full(len(queries), len(vectors) + 1, np.int64)
    for start in range(0, len(queries), chunk):
        rows = np.arange(start, min(start + chunk, len(queries)))
        found = np.argsort(-(queries[rows] @ vectors.T), axis=1, kind="stable")[:, :topk]
        flat, repeated = found.ravel(), np.repeat(rows, topk)
        cont = [query_cont[repeated], items["cont"][flat], popularity[day[repeated], flat][:, None]]
        scores = score_dlrm(dlrm_path, np.concatenate([query_cat[repeated], items["cat"][flat]], axis=1),
                            np.concatenate(cont, axis=1), table)
        order = np.argsort(-scores.reshape(found.shape), axis=1, kind="stable")
        hit = np.take_along_axis(found, order, axis=1) == true[rows, None]
        ranks[rows] = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, ranks[rows])
    return ranks


def parity(onnx_path: Path, parity_npz: Path) -> float:
    """Largest absolute difference of onnxruntime's outputs from TensorFlow's on the sample that training wrote.

    The sample names each array as the model names its tensor; where it holds two towers, ``query_`` or ``item_``
    goes before, as in the file name ``query_tower.onnx``.

    Raises:
        KeyError: the sample lacks a tensor. ValueError: shapes differ or a value is not finite.
    """
    session = _session(onnx_path)
    tower = onnx_path.stem.removesuffix("_tower")
    prefix = f"{tower}_" if tower != onnx_path.stem else ""
    with np.load(parity_npz, allow_pickle=False) as sample:
        tensors = [*session.get_inputs(), *session.get_outputs()]
        if lacking := [prefix + t.name for t in tensors if prefix + t.name not in sample]:
            raise KeyError(f"{parity_npz} lacks {lacking}; it holds {sorted(sample)}")
        outputs = session.run(None, {t.name: sample[prefix + t.name] for t in session.get_inputs()})
        difference = 0.0
        for tensor, output in zip(session.get_outputs(), outputs, strict=True):
            expected = sample[prefix + tensor.name]
            if output.shape != expected.shape:
                raise ValueError(f"{onnx_path.name}: {tensor.name} has shape {output.shape}, "
                                 f"TensorFlow gave {expected.shape}")
            if not np.isfinite(output).all():
                raise ValueError(f"{onnx_path.name}: {tensor.name} holds values that are not finite")
            difference = max(difference, float(np.abs(output.astype(np.float64) - expected).max()))
    return difference
