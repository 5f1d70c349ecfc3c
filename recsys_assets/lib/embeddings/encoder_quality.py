"""Measure the quality of a CLIP on a catalogue.

The measures are retrieval of a picture's own text, and probes of category and colour. They use at
most SAMPLE items, evenly spaced, so that the cost does not grow with the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_assets.lib.embeddings.image_encoder import ImageEncoder
from recsys_assets.lib.figures.colours import COLOURS

SAMPLE = 4_000
#: Fewest pictures that a label must have; number of folds of the linear probe.
LEAST_OF_A_LABEL, FOLDS = 5, 5
_TEXT_BATCH = 256
_COLOUR = re.compile(r"\b(" + "|".join(COLOURS) + r")\b", re.IGNORECASE)


def sample_rows(missing: np.ndarray, most: int = SAMPLE) -> np.ndarray:
    """Return the rows [M] that have a picture; at most ``most``, evenly spaced."""
    present = np.flatnonzero(~missing)
    return (
        present
        if len(present) <= most
        else present[np.linspace(0, len(present) - 1, most).astype(int)]
    )


def image_to_text(
    encoder: ImageEncoder, vectors: np.ndarray, texts: Sequence[str]
) -> dict[str, float]:
    """Return how often a picture's own text is nearest, or among the 10 nearest.

    Equal texts count as one.

    Args:
        encoder: gives the vectors of the texts.
        vectors: float32 [N, D], of existing pictures.
        texts: N texts.

    Returns:
        {"recall@1", "recall@10", "chance@1", "chance@10", "pictures"}. The chance is the expected
        recall of a random order.
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
    """Return how well a picture's k nearest other pictures predict its label.

    The prediction is the majority of the k labels; the nearest wins a tie.

    Args:
        vectors: float32 [N, D].
        labels: N labels.
        k: number of neighbours.

    Returns:
        {"knn_accuracy", "majority_share"}. The majority share is the accuracy of always predicting
        the most frequent label.

    Raises:
        ValueError: there are fewer than two pictures.
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
    weight = 1.0 + np.arange(k, 0, -1) * 1e-6  # the nearer neighbour wins a tie
    for j in range(k):
        votes[np.arange(len(scores)), codes[nearest[:, j]]] += weight[j]
    return {
        "knn_accuracy": float((votes.argmax(axis=1) == codes).mean()),
        "majority_share": float(np.bincount(codes).max() / len(codes)),
    }


def named_colours(
    names: Sequence[str | None], descriptions: Sequence[str | None]
) -> list[str | None]:
    """Return the first colour word of each name, or else of its description, or None.

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
    """Return the cross-validated accuracy of a linear classifier on the vectors.

    A linear probe as in Alain and Bengio 2016, with 5 folds. Ridge regression on label indicators
    has a closed form, so it takes milliseconds and is deterministic.

    Args:
        vectors: float32 [N, D].
        labels: N labels; None and labels with fewer than LEAST_OF_A_LABEL pictures are left out.
        seed: random seed of the folds.

    Returns:
        {"accuracy", "majority_share", "labels", "pictures"}, or {"not_measured": reason} if fewer
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
