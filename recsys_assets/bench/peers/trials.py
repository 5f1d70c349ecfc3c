"""List the settings of each peer that are tried on the inner split.

Each peer has as many trials as a baseline of `recsys bench shops`. The first one is the package's
own default, or what its documentation uses.
"""

from __future__ import annotations

from typing import Any

from recsys_assets.bench.peers.process.models import POPULAR, PeerSettings


def _als(factors: int, regularization: float, alpha: float, iterations: int = 15) -> PeerSettings:
    return {
        "factors": factors,
        "regularization": regularization,
        "alpha": alpha,
        "iterations": iterations,
    }


def _sasrec(factors: int, epochs: int, **more: Any) -> PeerSettings:
    return {
        **{"n_factors": factors, "epochs": epochs, "n_blocks": 2, "n_heads": 4},
        **{"session_max_len": 50, "lr": 0.001, "dropout_rate": 0.2},
        # the whole softmax costs minutes per fit where a shop has thousands of items
        **{"loss": "sampled_softmax", "n_negatives": 128, **more},
    }


TRIALS: dict[str, tuple[PeerSettings, ...]] = {
    POPULAR: tuple(
        {"popularity": counted, "days": days}
        for counted in ("n_users", "n_interactions")
        for days in (None, 1, 3, 7)
    ),
    "implicit_als": (
        _als(100, 0.01, 1.0),
        _als(64, 5.0, 2.0),
        _als(32, 10.0, 2.0),
        _als(32, 50.0, 10.0),
        _als(16, 5.0, 5.0),
        _als(64, 1.0, 20.0),
        _als(128, 20.0, 5.0),
        _als(8, 2.0, 1.0),
    ),
    "rectools_ease": tuple(
        {"regularization": value} for value in (500.0, 5.0, 20.0, 60.0, 150.0, 1e3, 3e3, 1e4)
    ),
    "rectools_sasrec": (
        _sasrec(256, 3, loss="softmax", session_max_len=100),
        _sasrec(64, 10),
        _sasrec(64, 30),
        _sasrec(128, 20),
        _sasrec(128, 20, dropout_rate=0.5),
        _sasrec(64, 30, n_blocks=1, dropout_rate=0.5),
        _sasrec(64, 20, lr=0.003),
        _sasrec(64, 20, loss="gBCE", gbce_t=0.75),
    ),
}
