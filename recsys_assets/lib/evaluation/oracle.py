"""The oracle: who knows the simulator's own click model ranks by it, and nobody can rank exposures
better.

It exists where the landing zone was simulated. It is free of position, as every system here is. On
lists it is a strong reference rather than a bound: held-out clicks are on what the shop chose to
show, of which the click model knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import SECONDS_PER_HOUR
from recsys_assets.files import sha256_file
from recsys_assets.lib.evaluation import list_metrics, ranker_metrics
from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries
from recsys_assets.lib.landing.zone import TRUTH_FOLDER
from recsys_assets.lib.simulator.shop import load_truth
from recsys_assets.lib.simulator.truth import Truth

_CHUNK = 512  # queries scored at once


class Oracle:
    """Scores every item by ``Truth.click_probability`` for the query's visitor, device and moment.

    A visitor that is masked, or that the simulator does not know (the shop's own visitors), is
    unknown: the probability is ``Truth.cold_click_probability``. An unknown device is the mean of
    all, an item that the simulator lacks is never shown.
    """

    name = "oracle"

    def __init__(self, truth: Truth):
        self._truth = truth
        self._cold: dict[
            tuple[int, int], np.ndarray
        ] = {}  # (device, hour since 1970) → float64 [I_truth]

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        frame = queries.frame[rows]
        user = _known(self._truth.user_ids, frame[VISITOR])
        user[frame[SIMULATED].to_numpy()] = -1
        device, item = (
            _known(np.array(c.DEVICES), frame[c.DEVICE_TYPE]),
            _known(self._truth.item_ids, pl.Series(queries.item_ids)),
        )
        at, shown = frame[c.TIMESTAMP].to_numpy(), np.flatnonzero(item >= 0)
        scores = np.full((len(rows), queries.items), -np.inf)
        plain = np.flatnonzero((user >= 0) & (device >= 0))
        scores[np.ix_(plain, shown)] = self._truth.click_probability(
            user[plain, None], item[shown], device[plain, None], at[plain, None]
        )
        for row in np.flatnonzero((user < 0) | (device < 0)):
            devices = [device[row]] if device[row] >= 0 else range(len(c.DEVICES))
            scores[row, shown] = np.mean(
                [self._one(user[row], item[shown], d, at[row]) for d in devices], axis=0
            )
        return scores

    def _one(self, user: int, item: np.ndarray, device: int, at: int) -> np.ndarray:
        if user >= 0:
            return self._truth.click_probability(user, item, device, at)
        key = (int(device), int(at) // SECONDS_PER_HOUR)  # the truth changes by the hour
        if key not in self._cold:
            everything = np.arange(len(self._truth.item_ids))
            self._cold[key] = self._truth.cold_click_probability(
                everything, key[0], key[1] * SECONDS_PER_HOUR
            )
        return self._cold[key][item]


def _known(known: np.ndarray, wanted: pl.Series) -> np.ndarray:
    """int64 [n]: position of each wanted value in ``known``, -1 where it is none of them."""
    table = (
        pl.DataFrame({"value": known.astype(str)})
        .with_row_index("position")
        .cast({"position": pl.Int64})
    )
    found = pl.DataFrame({"value": wanted.cast(pl.String)}).join(
        table, on="value", how="left", maintain_order="left"
    )
    return found["position"].fill_null(-1).to_numpy().copy()


def exposure_auc(truth: Truth, exposures: pl.DataFrame) -> dict[str, Any]:
    """AUC of the position-free probability over exposures (INTERACTION_FEATURES): what no ranker
    can beat for long.

    Returns:
        {"auc", "rows", "unknown_rows": exposures of a visitor, item or device that the simulator
        does not know, left out}.
    """
    user, item = (
        _known(truth.user_ids, exposures[c.USER_ID]),
        _known(truth.item_ids, exposures[c.ITEM_ID]),
    )
    device = _known(np.array(c.DEVICES), exposures[c.DEVICE_TYPE])
    rows = np.flatnonzero((user >= 0) & (item >= 0) & (device >= 0))
    at, clicks = exposures[c.TIMESTAMP].to_numpy()[rows], exposures[c.CLICK].to_numpy()[rows]
    scores = truth.click_probability(user[rows], item[rows], device[rows], at)
    return {
        "auc": ranker_metrics.auc(clicks, scores),
        "rows": len(rows),
        "unknown_rows": exposures.height - len(rows),
    }


def expected_click_rates(
    truth: Truth, queries: Queries, tops: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What lists are worth by the truth alone: no click that happened to be made takes part, nor
    what the shop showed.

    Args:
        tops: system → int [Q, SHOWN], catalogue rows, -1 where a list ends earlier.

    Returns:
        system → float64 [Q]: mean over the SHOWN places of the ``Oracle``'s probability at the
        query's moment. A place that is empty, or holds an item that the simulator lacks, counts as
        0.
    """
    oracle, found = Oracle(truth), {name: np.empty(len(queries)) for name in tops}
    for start in range(0, len(queries), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(queries)))
        scores = oracle.scores(queries, rows)
        for name, top in tops.items():
            shown = top[rows]
            worth = np.take_along_axis(scores, np.maximum(shown, 0), axis=1)
            found[name][rows] = np.where((shown >= 0) & (worth > -np.inf), worth, 0.0).mean(axis=1)
    return found


def truth_digest(landing: str) -> str:
    """Of the landing zone's truth, "none" where it was not simulated."""
    path = Path(landing) / TRUTH_FOLDER / "truth.npz"
    return sha256_file(path) if path.is_file() else "none"


def write_oracle(
    landing: str, queries: Artifact, features: Sequence[Artifact], target: Path, seed: int
) -> dict[str, Any]:
    """lists.npz and the metrics; {"available": False} and no file where the landing zone was not
    simulated.

    features: ``features/interactions`` of the validation days, for the AUC.

    Raises:
        TruthError: the truth is of another version than this code.
    """
    if truth_digest(landing) == "none":
        return {"available": False}
    truth, asked = load_truth(Path(landing)), Queries.read(queries)
    lists = list_metrics.run(Oracle(truth), asked)
    np.savez(target / "lists.npz", allow_pickle=False, **lists.arrays("oracle"))
    columns = [c.USER_ID, c.ITEM_ID, c.DEVICE_TYPE, c.TIMESTAMP, c.CLICK]
    exposures = pl.concat(
        [
            pl.read_parquet(artifact.path("features.parquet"), columns=columns)
            for artifact in features
        ]
    )
    of_exposures = exposure_auc(truth, exposures)
    return {
        "available": True,
        "list": list_metrics.judge(lists.ranks, asked, seed),
        "slices": list_metrics.judge_slices(lists.ranks, asked, seed),
        **of_exposures,
    }
