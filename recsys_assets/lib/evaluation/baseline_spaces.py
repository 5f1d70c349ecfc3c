"""Defines the parameters of every tuned baseline: what is tried, and the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recsys_assets.lib.evaluation.baselines import WEIGHTINGS

Params = dict[str, Any]


@dataclass(frozen=True)
class Between:
    """A number from low to high, whole where low is an int.

    log: equal factors are equally likely.
    """

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Any, name: str) -> float:
        """Return the trial's value of the parameter ``name``."""
        suggest = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        value: float = suggest(name, self.low, self.high, log=self.log)
        return value


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Return the trial's value of the parameter ``name``."""
        return trial.suggest_categorical(name, list(self.values))


#: Days. With 30, all clicks of a window of nine days weigh nearly the same; with 0.02, half an
#: hour, those of the last session count alone.
_HALF_LIFE = Between(0.02, 30.0, log=True)
_PLACE_DECAY = Between(0.2, 1.0)
#: Baselines without a profile, tuned first. The better one answers where another has no click.
POPULAR = ("recent_popularity", "streamed_popularity")
SPACES: dict[str, dict[str, Between | OneOf]] = {
    "recent_popularity": {"window": Between(1, 9), "half_life": Between(0.5, 30.0, log=True)},
    "streamed_popularity": {"half_life": Between(1.0, 720.0, log=True)},  # hours
    "own_counts": {"half_life": _HALF_LIFE, "popularity": Between(0.001, 10.0, log=True)},
    "follow_ups": {
        "reach": Between(1, 20, log=True),
        "half_life": Between(1.0, 90.0, log=True),
        "normalisation": Between(0.0, 1.0),
        "place_decay": _PLACE_DECAY,
    },
    "session_knn": {
        "pause": Between(0.25, 1_000.0, log=True),
        "neighbours": Between(20, 1_500, log=True),
        "half_life": Between(1.0, 90.0, log=True),
        "idf": Between(0.0, 2.0),
        "length": Between(0.0, 1.0),
        "place_decay": _PLACE_DECAY,
    },
    "item_knn": {
        "neighbours": Between(10, 500, log=True),
        "weighting": OneOf(WEIGHTINGS),
        "shrinkage": Between(0.05, 50.0, log=True),
        "half_life": _HALF_LIFE,
    },
    "ease": {"regularisation": Between(0.3, 300.0, log=True), "half_life": _HALF_LIFE},
    "ials": {
        "factors": Between(8, 64, log=True),
        "regularisation": Between(0.1, 20.0, log=True),
        "alpha": Between(0.5, 50.0, log=True),
        "iterations": Between(5, 15),
        "half_life": _HALF_LIFE,
    },
}
DEFAULTS: dict[str, Params] = {
    "recent_popularity": {"window": 7, "half_life": 7.0},
    "streamed_popularity": {"half_life": 48.0},
    "own_counts": {"half_life": 3.0, "popularity": 0.1},
    "follow_ups": {"reach": 5, "half_life": 30.0, "normalisation": 0.5, "place_decay": 0.7},
    "session_knn": {
        "pause": 0.5,
        "neighbours": 300,
        "half_life": 30.0,
        "idf": 1.0,
        "length": 0.0,
        "place_decay": 0.8,
    },
    "item_knn": {"neighbours": 100, "weighting": "cosine", "shrinkage": 1.0, "half_life": 3.0},
    "ease": {"regularisation": 10.0, "half_life": 3.0},
    "ials": {
        "factors": 32,
        "regularisation": 5.0,
        "alpha": 2.0,
        "iterations": 10,
        "half_life": 3.0,
    },
}
