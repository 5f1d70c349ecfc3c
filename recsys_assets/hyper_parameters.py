"""Define the hyper-parameters of training steps, with defaults and bounds.

A training step reads its parameters as one of these classes, and ``step_config.py`` makes the
Dagster config of the asset from the same class. This module imports only the standard library and
stays valid Python 3.10, so that the training environment can import it.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T", bool, int, float)

#: ``columns.EMBEDDING_DIM``; a test compares them.
VECTOR_WIDTH = 64


class ParameterInvalid(ValueError):
    """A parameter has a wrong type or lies outside of its bounds.

    The message names the parameter and the allowed values.
    """


@dataclass(frozen=True)
class Bounds:
    """The range of a number; None: no limit. The names are pydantic's."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def given(self) -> dict[str, float]:
        """Return the limits that are set."""
        return {
            name: limit for name, limit in dataclasses.asdict(self).items() if limit is not None
        }

    def allow(self, value: float) -> bool:
        """Return whether a number lies inside the bounds; NaN is outside of every limit."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        """Return the bounds as text.

        >>> str(Bounds(ge=0, lt=0.5))
        '≥ 0 and < 0.5'
        """
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        return " and ".join(f"{signs[name]} {limit:g}" for name, limit in self.given().items())


@dataclass(frozen=True)
class Parameter:
    """One declared parameter."""

    name: str
    kind: type
    default: Any
    description: str
    bounds: Bounds

    def check(self, value: object) -> None:
        """Check type and bounds of a value; an int is accepted as a float.

        Raises:
            ParameterInvalid: the type is wrong, or the value is out of bounds.
        """
        fits = (
            isinstance(value, bool)
            if self.kind is bool
            else (
                isinstance(value, (int, float) if self.kind is float else int)
                and not isinstance(value, bool)
            )
        )
        if not fits:
            raise ParameterInvalid(
                f"{self.name} must be of type {self.kind.__name__}, got {value!r}"
            )
        if not self.bounds.allow(typing.cast(float, value)):
            raise ParameterInvalid(f"{self.name} must be {self.bounds}, got {value!r}")


def parameter(
    default: T,
    description: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> T:
    """Declare a field of a ``Parameters`` class."""
    declared: T = field(
        default=default, metadata={"description": description, "bounds": Bounds(ge, gt, le, lt)}
    )
    return declared


@dataclass(frozen=True)
class Parameters:
    """Base class of the parameters of a training step.

    Raises:
        ParameterInvalid: a value has a wrong type or is out of bounds.
    """

    def __post_init__(self) -> None:
        for one in self.declared():
            one.check(getattr(self, one.name))

    @classmethod
    def declared(cls) -> tuple[Parameter, ...]:
        """Return all parameters in order of declaration."""
        kinds = typing.get_type_hints(cls)
        return tuple(
            Parameter(
                one.name,
                kinds[one.name],
                one.default,
                one.metadata["description"],
                one.metadata["bounds"],
            )
            for one in dataclasses.fields(cls)
        )


@dataclass(frozen=True)
class WorkflowsParams(Parameters):
    """Parameters of ``training.fit_workflows``."""

    hashed_buckets: int = parameter(
        0,
        "Embedding rows, shared by hash, for user and item ids that first appear after the fit. "
        "They are untrained until a fine-tune sees the ids. 0: such ids are out-of-vocabulary.",
        ge=0,
    )


@dataclass(frozen=True)
class TwoTowerParams(Parameters):
    """Parameters of ``training.two_tower``."""

    epochs: int = parameter(
        25,
        "Maximum number of passes over the clicked rows of the training days; see patience.",
        ge=1,
    )
    batch_size: int = parameter(1024, "Rows per step; fewer if data is scarce.", ge=16)
    learning_rate: float = parameter(2e-3, "Learning rate of Adam in the first epoch.", gt=0)
    learning_rate_decay: float = parameter(
        0.1,
        "Final learning rate as a share of the initial one, reached by cosine decay over all "
        "epochs. 1: constant.",
        gt=0,
        le=1,
    )
    negatives: int = parameter(
        0, "Rows per batch whose items are negatives for all rows of the batch; 0: all rows.", ge=0
    )
    uniform_negatives: int = parameter(
        0,
        "Additional negatives per batch, drawn uniformly from the catalogue, so that items without "
        "clicks are negatives too.",
        ge=0,
    )
    temperature: float = parameter(
        0.1,
        "Divisor of the softmax logits; the initial value if learned_temperature is on.",
        ge=0.02,
    )
    learned_temperature: bool = parameter(False, "Train the temperature with the model.")
    use_context: bool = parameter(
        True, "Use device, hour and weekday in the query tower; off for comparison."
    )
    use_history: bool = parameter(
        True, "Use the visitor's recent clicks per category in the query tower; off for comparison."
    )
    use_items: bool = parameter(
        True, "Use the visitor's latest clicked items in the query tower; off for comparison."
    )
    history_heads: int = parameter(
        4,
        "Weightings of the visitor's latest items by rank and age, each for its own part of the "
        "pooled vector; a divisor of 64.",
        ge=1,
        le=VECTOR_WIDTH,
    )
    history_dropout: float = parameter(
        0.0,
        "Share of the visitor's latest items that are hidden in training, so that the query tower "
        "does not depend on single clicks.",
        ge=0,
        lt=1,
    )
    last_item_share: float = parameter(
        0.5,
        "Share of the last clicked item's vector in the query vector; that of the pooled one is 1. "
        "A higher share follows a session faster.",
        ge=0,
    )
    use_user_id: bool = parameter(
        False, "Add a user id embedding to the query tower; it memorises single visitors."
    )
    logq_correction: bool = parameter(
        True, "Correct the logits for popular items being negatives more often (logQ)."
    )
    item_id_dropout: float = parameter(
        0.1,
        "Share of a batch's items whose id is hidden, so that items without clicks get a "
        "meaningful vector from their content.",
        ge=0,
        lt=1,
    )
    embedding_dim: int = parameter(32, "Width of the towers' embedding tables.", ge=4)
    dropout: float = parameter(
        0.3, "Dropout rate of the towers' hidden units in training.", ge=0, lt=1
    )
    embedding_l2: float = parameter(
        0.0, "Weight of the squared norm of a batch's embedding rows in the loss.", ge=0
    )
    held_out: float = parameter(
        0.05,
        "Share of the training clicks held out to compare epochs by log loss over the catalogue. "
        "0: train on all clicks and keep the last epoch.",
        ge=0,
        lt=0.5,
    )
    patience: int = parameter(
        2,
        "Epochs without a better log loss after which training stops. The best epoch's weights are "
        "kept. 0: never stop early.",
        ge=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if VECTOR_WIDTH % self.history_heads:
            raise ParameterInvalid(
                f"history_heads must be a divisor of {VECTOR_WIDTH}, got {self.history_heads!r}"
            )


@dataclass(frozen=True)
class DlrmParams(Parameters):
    """Parameters of ``training.dlrm``."""

    epochs: int = parameter(
        4, "Maximum number of passes over the masked exposures of the training days.", ge=1
    )
    batch_size: int = parameter(
        4096,
        "Rows per step; fewer if data is scarce. The reference uses 16,384 for data of its size.",
        ge=64,
    )
    learning_rate: float = parameter(1e-3, "Learning rate of Adam in the first epoch.", gt=0)
    learning_rate_decay: float = parameter(
        0.1,
        "Final learning rate as a share of the initial one, reached by cosine decay over all "
        "epochs. 1: constant.",
        gt=0,
        le=1,
    )
    negatives_per_positive: int = parameter(
        5,
        "Negative items drawn per click if the log holds only clicks. They are drawn by "
        "popularity^0.75 and exclude items that the visitor clicked that day.",
        ge=1,
    )
    item_id_dropout: float = parameter(
        0.1,
        "Share of the rows whose item id is hidden, so that an item without exposures is scored by "
        "its content.",
        ge=0,
        lt=1,
    )
    use_user_id: bool = parameter(
        False, "Add a user id embedding to the ranker; it memorises single visitors."
    )
    dropout: float = parameter(
        0.1, "Dropout rate of the top MLP's hidden units in training.", ge=0, lt=1
    )
    embedding_l2: float = parameter(
        1e-4, "Weight of the squared norm of a batch's embedding rows in the loss.", ge=0
    )
    held_out: float = parameter(
        0.05,
        "Share of the training rows held out to compare epochs by log loss. 0: train on all rows "
        "and keep the last epoch.",
        ge=0,
        lt=0.5,
    )
    patience: int = parameter(
        1,
        "Epochs without a better log loss after which training stops. The best epoch's weights are "
        "kept. 0: never stop early.",
        ge=0,
    )


@dataclass(frozen=True)
class FineTuneQueryTowerParams(Parameters):
    """Parameters of ``training.fine_tune_query_tower``."""

    epochs: int = parameter(1, "Passes over the clicked rows.", ge=1)
    batch_size: int = parameter(1024, "Rows per step; fewer if data is scarce.", ge=16)
    learning_rate: float = parameter(1e-4, "Learning rate of Adam.", gt=0)


@dataclass(frozen=True)
class FineTuneDlrmParams(Parameters):
    """Parameters of ``training.fine_tune_dlrm``."""

    epochs: int = parameter(1, "Passes over the exposures.", ge=1)
    batch_size: int = parameter(4096, "Rows per step; fewer if data is scarce.", ge=64)
    learning_rate: float = parameter(1e-4, "Learning rate of Adam.", gt=0)
