"""Compares the ONNX exports with the trained models: parity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets import columns as c
from recsys_assets.lib.exports.session import open_model


def parity(onnx_path: Path, parity_npz: Path) -> float:
    """Return the largest absolute difference of onnxruntime's outputs from TensorFlow's.

    The sample was written by the training. Its arrays are named as the model's tensors. In a sample
    of two towers the names begin with ``query_`` or ``item_``, as the file ``query_tower.onnx``
    does.

    Args:
        onnx_path: the model.
        parity_npz: the sample.

    Raises:
        KeyError: the sample lacks a tensor.
        ValueError: shapes differ, or a value is not finite.
    """
    session = open_model(onnx_path)
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
                raise ValueError(
                    f"{onnx_path.name}: {tensor.name} has shape {output.shape}, "
                    f"TensorFlow gave {expected.shape}"
                )
            if not np.isfinite(output).all():
                raise ValueError(
                    f"{onnx_path.name}: {tensor.name} holds values that are not finite"
                )
            difference = max(difference, float(np.abs(output.astype(np.float64) - expected).max()))
    return difference


def parts_parity(items: Path, lists: Path, parity_npz: Path) -> float:
    """Return the same for the ranker in its two parts (``training.ranking.factored``).

    As in serving, the parts run one after the other, with each row of the sample as a list.

    Args:
        items: the part that runs on items.
        lists: the part that runs on lists.
        parity_npz: the sample of the whole ranker.

    Raises:
        ValueError: a score is not finite.
    """
    of_items, of_lists = open_model(items), open_model(lists)
    with np.load(parity_npz, allow_pickle=False) as sample:
        cat, cont, embeddings, expected = (
            sample[name] for name in ("cat", "cont", "embeddings", "score")
        )
    visitor, numbers = len(c.QUERY_CATEGORICAL), len(c.QUERY_CONTINUOUS)
    known, vectors = of_items.run(
        ["known", "vectors"], {"cat": cat[:, visitor:], "embeddings": embeddings}
    )
    given = {
        "cat": cat[:, :visitor],
        "cont": cont[:, :numbers],
        "numbers": cont[:, numbers:],
        "known": known,
        "vectors": vectors,
    }
    rows = [
        of_lists.run(None, {name: values[row : row + 1] for name, values in given.items()})[0]
        for row in range(len(cat))
    ]
    scores = np.concatenate(rows)
    if not np.isfinite(scores).all():
        raise ValueError(f"{lists.name}: score holds values that are not finite")
    return float(np.abs(scores.astype(np.float64) - expected).max())
