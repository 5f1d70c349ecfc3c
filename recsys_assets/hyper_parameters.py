"""Define each hyper-parameter of a training step once: name, type, default, bounds, description.

Both sides are made from these classes: a training step's parameters are the class itself, and
``step_config.py`` makes the Dagster config of the asset from it. Imports nothing outside the
standard library and stays valid Python 3.10, so that the training environment can read it too.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T", bool, int, float)


class ParameterInvalid(ValueError):
    """A parameter has a wrong type or lies outside of its bounds; the message names it and what is
    allowed.
    """


@dataclass(frozen=True)
class Bounds:
    """The range of a number; None: no limit. The names are those of pydantic."""

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
        """Return whether a number lies inside; NaN lies outside of every limit."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        """
        >>> str(Bounds(ge=0, lt=0.5))
        '≥ 0 and < 0.5'
        """
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        return " and ".join(f"{signs[name]} {limit:g}" for name, limit in self.given().items())


@dataclass(frozen=True)
class Parameter:
    """One parameter as both sides declare it."""

    name: str
    kind: type
    default: Any
    description: str
    bounds: Bounds

    def check(self, value: object) -> None:
        """Raise ParameterInvalid unless the value has the type and lies inside the bounds; a whole
        number is also a float.
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
    """Base of the parameters of a training step; refuses wrong types and values out of bounds.

    Raises:
        ParameterInvalid: naming the parameter.
    """

    def __post_init__(self) -> None:
        for one in self.declared():
            one.check(getattr(self, one.name))

    @classmethod
    def declared(cls) -> tuple[Parameter, ...]:
        """Return every parameter in the order of its declaration."""
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
        "Rows shared by user and item ids that arrive after the fit; such rows are untrained until "
        "a fine-tune meets their ids. "
        "0: these ids are out-of-vocabulary.",
        ge=0,
    )


@dataclass(frozen=True)
class TwoTowerParams(Parameters):
    """Parameters of ``training.two_tower``."""

    epochs: int = parameter(
        16, "Largest number of passes over the clicked rows of the training days.", ge=1
    )
    batch_size: int = parameter(1024, "Rows per step; less where data is scarce.", ge=16)
    learning_rate: float = parameter(2e-3, "Learning rate of Adam at the first epoch.", gt=0)
    learning_rate_decay: float = parameter(
        0.1,
        "Share of itself to which the learning rate falls, as a cosine over all epochs; 1: "
        "constant.",
        gt=0,
        le=1,
    )
    negatives: int = parameter(
        0,
        "Rows per batch whose items are the negatives of all rows of the batch; 0: all rows.",
        ge=0,
    )
    uniform_negatives: int = parameter(
        0,
        "Further negatives per batch, drawn evenly from the catalogue, so that items without "
        "clicks are negatives too.",
        ge=0,
    )
    temperature: float = parameter(
        0.1,
        "Divisor of the softmax logits; with learned_temperature, the value at the start.",
        ge=0.02,
    )
    learned_temperature: bool = parameter(False, "Train the temperature with the model.")
    use_context: bool = parameter(
        True, "Read device, hour and weekday in the query tower; off to compare."
    )
    use_history: bool = parameter(
        True, "Read the visitor's latest clicks by category in the query tower; off to compare."
    )
    use_user_id: bool = parameter(
        False, "Give the query tower a table of user ids; it memorises single visitors."
    )
    logq_correction: bool = parameter(
        True, "Correct for popular items being negatives more often (logQ)."
    )
    item_id_dropout: float = parameter(
        0.1,
        "Share of a batch's items shown without their id, so that items without clicks get a "
        "meaningful vector from their "
        "content.",
        ge=0,
        lt=1,
    )
    embedding_dim: int = parameter(32, "Width of the towers' embedding tables.", ge=4)
    dropout: float = parameter(
        0.1, "Share of the towers' hidden units left out in training.", ge=0, lt=1
    )
    embedding_l2: float = parameter(
        0.0, "Weight of the squared norm of a batch's embedding rows in the loss.", ge=0
    )
    held_out: float = parameter(
        0.05,
        "Share of the training clicks held out; their recall@100 judges the epochs. 0: train on "
        "all, keep the last epoch.",
        ge=0,
        lt=0.5,
    )
    patience: int = parameter(
        2,
        "Epochs without a better recall after which training ends; the best epoch's weights are "
        "kept. 0: never.",
        ge=0,
    )


@dataclass(frozen=True)
class DlrmParams(Parameters):
    """Parameters of ``training.dlrm``."""

    epochs: int = parameter(
        4, "Largest number of passes over the masked exposures of the training days.", ge=1
    )
    batch_size: int = parameter(
        4096,
        "Rows per step; less where data is scarce. The reference uses 16,384 for data of its size.",
        ge=64,
    )
    learning_rate: float = parameter(1e-3, "Learning rate of Adam at the first epoch.", gt=0)
    learning_rate_decay: float = parameter(
        0.1,
        "Share of itself to which the learning rate falls, as a cosine over all epochs; 1: "
        "constant.",
        gt=0,
        le=1,
    )
    negatives_per_positive: int = parameter(
        5,
        "Items drawn per click where the log holds clicks alone, by popularity^0.75, never one "
        "that the visitor clicked that day.",
        ge=1,
    )
    item_id_dropout: float = parameter(
        0.1,
        "Share of the rows shown without their item's id, so that an item that was never shown is "
        "scored by its content.",
        ge=0,
        lt=1,
    )
    use_user_id: bool = parameter(
        False, "Give the ranker a table of user ids; it memorises single visitors."
    )
    dropout: float = parameter(
        0.1, "Share of the top MLP's hidden units left out in training.", ge=0, lt=1
    )
    embedding_l2: float = parameter(
        1e-4, "Weight of the squared norm of a batch's embedding rows in the loss.", ge=0
    )
    held_out: float = parameter(
        0.05,
        "Share of the training rows held out; their log loss judges the epochs. 0: train on all, "
        "keep the last epoch.",
        ge=0,
        lt=0.5,
    )
    patience: int = parameter(
        1,
        "Epochs without a better log loss after which training ends; the best epoch's weights are "
        "kept. 0: never.",
        ge=0,
    )


@dataclass(frozen=True)
class FineTuneQueryTowerParams(Parameters):
    """Parameters of ``training.fine_tune_query_tower``."""

    epochs: int = parameter(1, "Passes over the clicked rows.", ge=1)
    batch_size: int = parameter(1024, "Rows per step; less where data is scarce.", ge=16)
    learning_rate: float = parameter(1e-4, "Learning rate of Adam.", gt=0)


@dataclass(frozen=True)
class FineTuneDlrmParams(Parameters):
    """Parameters of ``training.fine_tune_dlrm``."""

    epochs: int = parameter(1, "Passes over the exposures.", ge=1)
    batch_size: int = parameter(4096, "Rows per step; less where data is scarce.", ge=64)
    learning_rate: float = parameter(1e-4, "Learning rate of Adam.", gt=0)
