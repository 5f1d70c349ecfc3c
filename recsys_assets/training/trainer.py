"""Train with a whole epoch in one graph and row-wise updates of embedding tables.

Early stopping restores the best weights. Keras' own loop leaves the graph after every step, and its
Adam reads and writes whole embedding tables. Both cost more than the step of a small model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf

from recsys_assets.training import batches
from recsys_assets.training.step import Step

#: Scalar loss of a batch, given its row numbers. It may include the layers' own losses
#: (``layer.losses``).
Loss = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class TrainingPlan:
    """Sets how long and how fast to train.

    Attributes:
        epochs: largest number of passes.
        patience: epochs without a better figure after which training stops; 0: train all epochs
            and keep the last weights.
        decay: the learning rate falls to this share of itself over all epochs, as a cosine; 1:
            constant.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    patience: int = 0
    decay: float = 1.0
    drop_last: bool = False

    def learning_rate_of(self, epoch: int) -> float:
        """Return the learning rate of an epoch, from 0, by the cosine of ``decay``."""
        progress = epoch / max(self.epochs - 1, 1)
        share = self.decay + (1 - self.decay) * 0.5 * (1 + np.cos(np.pi * progress))
        return float(self.learning_rate * share)


@dataclass(frozen=True)
class TrainingOutcome:
    """Holds the result of a training.

    Attributes:
        epochs: passes made.
        best_epoch: from 1, the epoch whose weights the model has now.
        losses: mean loss of every epoch.
        figures: the judge's figure of every epoch; empty without a judge.
        rows_per_second: of the training alone, without building the graph and without judging.
    """

    epochs: int
    best_epoch: int
    losses: list[float]
    figures: list[float]
    rows_per_second: float


class RowwiseAdam(mm.LazyAdam):  # type: ignore[misc]  # Merlin has no types
    """Adam that updates an embedding row only in batches that hold it.

    Keras' Adam moves a row by its momentum for some ten steps after the batch that held it, by ten
    times the first step in all. A lazy Adam stops after the first step and leaves rare rows nearly
    where they began. Without momentum a row moves the whole way at once, and its first moment need
    not be stored.
    """

    def _resource_apply_sparse(
        self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor
    ) -> tf.Operation:
        beta_2 = self._get_hyper("beta_2", var.dtype)
        rate = self._decayed_lr(var.dtype) * tf.sqrt(
            1 - tf.pow(beta_2, tf.cast(self.iterations + 1, var.dtype))
        )
        second = self.get_slot(var, "v")
        moment = beta_2 * tf.gather(second, indices) + (1 - beta_2) * tf.square(grad)
        return tf.group(
            self._resource_scatter_update(second, indices, moment),
            self._resource_scatter_sub(
                var, indices, rate * grad / (tf.sqrt(moment) + self.epsilon)
            ),
        )


class Trainer:
    """Trains variables with Adam; rows outside of a batch do not change.

    Args:
        loss: scalar loss of a batch, given its row numbers.
        variables: called after the loss is traced, because Merlin's layers build at their first
            call.
        learning_rate: of the first epoch.
    """

    def __init__(
        self, loss: Loss, variables: Callable[[], Sequence[tf.Variable]], learning_rate: float
    ) -> None:
        self._loss, self._variables = loss, variables
        self.optimizer = RowwiseAdam(learning_rate)

    def build(self, size: int) -> None:
        """Create the variables of model and optimizer by one traced call.

        This happens outside of the loop's graph.
        """
        tf.function(self._loss).get_concrete_function(tf.TensorSpec([None], tf.int32))
        self.variables = list(self._variables())
        self.optimizer._create_all_weights(self.variables)

        def epoch(order: tf.Tensor) -> tf.Tensor:
            total, start = tf.constant(0.0), tf.constant(0)
            while start < tf.shape(order)[0]:
                rows = order[start : start + size]
                with tf.GradientTape() as tape:
                    loss = self._loss(rows)
                self._apply(tape.gradient(loss, self.variables))
                total += loss * tf.cast(tf.shape(rows)[0], tf.float32)
                start += size
            return total / tf.cast(tf.shape(order)[0], tf.float32)

        self.epoch = tf.function(epoch, input_signature=[tf.TensorSpec([None], tf.int32)])
        self.epoch(tf.zeros([0], tf.int32))  # without rows it only builds and optimises the graph

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def _apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> None:
        pairs = zip(gradients, self.variables, strict=True)
        self.optimizer.apply_gradients(
            [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        )

    def fit(
        self,
        rows: int,
        plan: TrainingPlan,
        step: Step[Any],
        judge: Callable[[], float] | None = None,
        *,
        higher_is_better: bool = True,
        figure: str = "figure",
    ) -> TrainingOutcome:
        """Train on rows 0 … rows-1.

        Args:
            rows: number of rows.
            plan: how long and how fast to train.
            step: logs one line per epoch.
            judge: returns the figure for early stopping after every epoch; the best epoch's
                weights are restored at the end.
            higher_is_better: whether a higher figure is better.
            figure: name of the figure, for the log.

        Raises:
            FloatingPointError: the loss of an epoch is not finite.
        """
        self.build(min(plan.batch_size, rows))
        losses: list[float] = []
        figures: list[float] = []
        best, best_epoch, kept, busy, seen = -np.inf, 0, None, 0.0, 0
        for epoch in range(plan.epochs):
            self.optimizer.learning_rate = plan.learning_rate_of(epoch)
            order = batches.order(rows, plan.batch_size, plan.seed, epoch, drop_last=plan.drop_last)
            started = time.perf_counter()
            loss = float(self.epoch(tf.constant(order)))
            busy, seen = busy + time.perf_counter() - started, seen + len(order)
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {loss} in epoch {epoch + 1}: lower the learning rate "
                    f"({plan.learning_rate}), or raise the temperature of a two-tower"
                )
            losses.append(loss)
            line = (
                f"epoch {epoch + 1}/{plan.epochs}: loss {loss:.4f}, "
                f"{len(order) / (time.perf_counter() - started):,.0f} rows/s"
            )
            if judge is None:
                step.log(line)
                best_epoch = epoch + 1
                continue
            figures.append(judge())
            step.log(f"{line}, held-out {figure} {figures[-1]:.4f}")
            value = figures[-1] if higher_is_better else -figures[-1]
            if value > best or not plan.patience:
                best, best_epoch = value, epoch + 1
                kept = [variable.numpy() for variable in self.variables]
            elif epoch + 1 - best_epoch >= plan.patience:
                break
        if kept is not None and best_epoch != len(losses):
            for variable, value in zip(self.variables, kept, strict=True):
                variable.assign(value)
        return TrainingOutcome(
            len(losses), best_epoch, losses, figures, round(seen / max(busy, 1e-9), 1)
        )
