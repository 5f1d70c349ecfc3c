"""Ranks by the simulator's own click probabilities: the oracle.

No system can rank exposures better. The oracle exists where the landing zone was simulated. It
takes no account of position, as every system here. On lists it is a strong reference, not a bound:
held-out clicks are on items that the shop chose to show, and the click model does not cover that
choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import SECONDS_PER_HOUR
from recsys_assets.files import sha256_file
from recsys_assets.lib.evaluation import dismissals, list_metrics, ranker_metrics
from recsys_assets.lib.evaluation.queries import SIMULATED, VISITOR, Queries
from recsys_assets.lib.landing.zone import TRUTH_FOLDER
from recsys_assets.lib.simulator.shop import load_truth
from recsys_assets.lib.simulator.truth import Truth

_CHUNK = 512  # queries scored at once


class ExposureAuc(TypedDict):
    """Holds the oracle's AUC over exposures."""

    auc: float | None  # None where the rows have one class
    rows: int
    unknown_rows: int  # left out: visitor, item or device is not of the simulator


class Oracle:
    """Scores every item by ``Truth.click_probability`` for visitor, device and moment.

    A masked visitor, or one that is not of the simulator, gets ``Truth.cold_click_probability``. An
    unknown device gets the mean over all devices. An item that is not of the simulator is never
    shown.
    """

    name = "oracle"

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        #: (device, hour since 1970) → float64 [I_truth]
        self._cold: dict[tuple[int, int], np.ndarray] = {}

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return true click probabilities, float64 [n, I]; -inf for unknown items."""
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
        """Return the probabilities of one query on one device, float64 [n]."""
        if user >= 0:
            known: np.ndarray = self._truth.click_probability(user, item, device, at)
            return known
        key = (int(device), int(at) // SECONDS_PER_HOUR)  # the probability changes by the hour
        if key not in self._cold:
            everything = np.arange(len(self._truth.item_ids))
            self._cold[key] = self._truth.cold_click_probability(
                everything, key[0], key[1] * SECONDS_PER_HOUR
            )
        cold: np.ndarray = self._cold[key][item]
        return cold


def _known(known: np.ndarray, wanted: pl.Series) -> np.ndarray:
    """Return the position of each wanted value in ``known``, int64 [n]; -1 where absent."""
    table = (
        pl.DataFrame({"value": known.astype(str)})
        .with_row_index("position")
        .cast({"position": pl.Int64})
    )
    found = pl.DataFrame({"value": wanted.cast(pl.String)}).join(
        table, on="value", how="left", maintain_order="left"
    )
    return found["position"].fill_null(-1).to_numpy().copy()


def exposure_auc(truth: Truth, exposures: pl.DataFrame) -> ExposureAuc:
    """Return the AUC of the position-free probability over exposures.

    In expectation, no ranker exceeds it.

    exposures: INTERACTION_FEATURES.
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
        "auc": None if ranker_metrics.one_class(clicks) else ranker_metrics.auc(clicks, scores),
        "rows": len(rows),
        "unknown_rows": exposures.height - len(rows),
    }


def expected_click_rates(
    truth: Truth, queries: Queries, tops: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the mean true click probability of each list.

    It depends neither on the logged clicks nor on what the shop showed.

    Args:
        truth: of the simulated shop.
        queries: Q queries.
        tops: system → int [Q, SHOWN], catalogue rows, -1 where a list ends earlier.

    Returns:
        system → float64 [Q]: mean over the SHOWN places of the ``Oracle``'s probability at the
        query's moment. An empty place, or one with an item that is not of the simulator, counts as
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
    """Return the digest of the landing zone's truth; "none" where it was not simulated."""
    path = Path(landing) / TRUTH_FOLDER / "truth.npz"
    return sha256_file(path) if path.is_file() else "none"


def write_oracle(
    landing: str, queries: Artifact, features: Sequence[Artifact], target: Path, seed: int
) -> dict[str, Any]:
    """Write the oracle's lists.npz; return its metrics.

    Where the landing zone was not simulated, no file is written and the metrics are
    {"available": False}.

    Args:
        landing: the landing zone.
        queries: ``evaluation/queries``.
        features: ``features/interactions`` of the validation days, for the AUC.
        target: folder of lists.npz.
        seed: of the bootstrap.

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
        "list": dismissals.judge(lists, asked, seed),
        "slices": list_metrics.judge_slices(lists.ranks, asked, seed),
        **of_exposures,
    }
