"""Whether a CLIP is any good on a catalogue: does a picture find its own text, do its vectors tell
category and colour.

All of it is measured on at most SAMPLE items, evenly taken, so that a large catalogue costs no
more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_assets.lib.embeddings.image_encoder import ImageEncoder
from recsys_assets.lib.figures.colours import COLOURS

SAMPLE = 4_000
#: Fewer pictures of a label than that say nothing about it.
LEAST_OF_A_LABEL, FOLDS = 5, 5
_TEXT_BATCH = 256
_COLOUR = re.compile(r"\b(" + "|".join(COLOURS) + r")\b", re.IGNORECASE)


def sample_rows(missing: np.ndarray, most: int = SAMPLE) -> np.ndarray:
    """Rows [M] that have a picture, in order; at most ``most``, evenly taken."""
    present = np.flatnonzero(~missing)
    return (
        present
        if len(present) <= most
        else present[np.linspace(0, len(present) - 1, most).astype(int)]
    )


def image_to_text(
    encoder: ImageEncoder, vectors: np.ndarray, texts: Sequence[str]
) -> dict[str, float]:
    """How often a picture's own text is the nearest of all, or among the 10 nearest; equal texts
    count as one.

    Args:
        vectors: float32 [N, D] of pictures that exist. texts: N.

    Returns:
        {"recall@1", "recall@10", "chance@1", "chance@10", "pictures"}; the expectation of a random
        order is the chance.
    """
    import open_clip
    import torch

    distinct, own = np.unique(np.asarray(texts), return_inverse=True)
    tokenizer = open_clip.SimpleTokenizer(
        context_length=encoder.model_config["text_cfg"].get("context_length", 77)
    )
    with torch.inference_mode():
        text_vectors = np.concatenate(
            [
                encoder.model.encode_text(
                    tokenizer(distinct[i : i + _TEXT_BATCH].tolist()), normalize=True
                )
                .float()
                .numpy()
                for i in range(0, len(distinct), _TEXT_BATCH)
            ]
        )
    scores = vectors @ text_vectors.T
    rank = 1 + (scores > np.take_along_axis(scores, own[:, None], axis=1)).sum(axis=1)
    measured = {f"recall@{k}": float((rank <= k).mean()) for k in (1, 10)}
    return {
        **measured,
        **{f"chance@{k}": min(1.0, k / len(distinct)) for k in (1, 10)},
        "pictures": len(vectors),
    }


def knn_probe(vectors: np.ndarray, labels: Sequence[str], k: int = 5) -> dict[str, float]:
    """How well a picture's k nearest other pictures tell its label (leave one out, majority, ties
    to the nearest).

    Returns:
        {"knn_accuracy", "majority_share"}: the second is what always guessing the commonest label
        gives.
    """
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    if len(vectors) < 2:
        raise ValueError(
            f"a nearest-neighbour probe needs at least two images; {len(vectors)} exist"
        )
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    k = min(k, len(scores) - 1)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(scores), len(names)))
    weight = 1.0 + np.arange(k, 0, -1) * 1e-6  # so that the nearer wins a tie
    for j in range(k):
        votes[np.arange(len(scores)), codes[nearest[:, j]]] += weight[j]
    return {
        "knn_accuracy": float((votes.argmax(axis=1) == codes).mean()),
        "majority_share": float(np.bincount(codes).max() / len(codes)),
    }


def named_colours(
    names: Sequence[str | None], descriptions: Sequence[str | None]
) -> list[str | None]:
    """The colour that a name, or else a description, names first; None where neither does.

    >>> named_colours(["Bold Red Kettle", "Chair"], ["Blue inside.", None])
    ['red', None]
    """
    found = [
        _COLOUR.search(name or "") or _COLOUR.search(text or "")
        for name, text in zip(names, descriptions, strict=True)
    ]
    return [match.group(1).lower() if match else None for match in found]


def linear_probe(
    vectors: np.ndarray, labels: Sequence[str | None], seed: int = 7
) -> dict[str, Any]:
    """Accuracy of a linear classifier on the vectors, on pictures it was not fitted on (5 folds;
    Alain and Bengio 2016).

    Ridge regression on the labels' indicators: closed form, so that it costs milliseconds and
    always gives the same.

    Args:
        vectors: float32 [N, D]. labels: N; None takes no part, nor does a label of fewer than 5
            pictures.

    Returns:
        {"accuracy", "majority_share", "labels", "pictures"}; or {"not_measured": why} where fewer
        than two labels remain.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labelled = np.flatnonzero([label is not None for label in labels])
    _, codes, counts = np.unique(
        [label for label in labels if label is not None], return_inverse=True, return_counts=True
    )
    frequent = counts >= LEAST_OF_A_LABEL
    if frequent.sum() < 2:
        return {"not_measured": f"fewer than two labels have {LEAST_OF_A_LABEL} pictures"}
    kept = frequent[codes]
    rows, codes = labelled[kept], codes[kept]
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10.0))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    accuracy = cross_val_score(model, vectors[rows].astype(np.float64), codes, cv=folds).mean()
    return {
        "accuracy": float(accuracy),
        "majority_share": float(counts[frequent].max() / len(rows)),
        "labels": int(frequent.sum()),
        "pictures": len(rows),
    }
