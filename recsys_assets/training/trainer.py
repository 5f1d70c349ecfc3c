"""The training loop: a whole epoch in one graph, row-wise updates of embedding tables, early
stopping with the best weights.

Keras' own loop leaves the graph after every step and its Adam reads and writes whole embedding
tables; both cost more than the step of a small model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import merlin.models.tf as mm
import numpy as np
import tensorflow as tf

from recsys_assets.training import batches
from recsys_assets.training.step import Step

#: Loss of the rows of a batch, by their numbers; a scalar. It may add what its layers ask for
#: (``layer.losses``).
Loss = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes:
        epochs: passes at most.
        patience: epochs without a better figure after which training ends; 0: never, and the last
            weights stay.
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


@dataclass(frozen=True)
class TrainingOutcome:
    """What training came to.

    Attributes:
        epochs: passes made. best_epoch: from 1, the one whose weights the model has now.
        figures: of every epoch, where a judge was given.
        rows_per_second: of the training alone, without building the graph and without judging.
    """

    epochs: int
    best_epoch: int
    losses: list[float]
    figures: list[float]
    rows_per_second: float


class RowwiseAdam(mm.LazyAdam):
    """Adam whose embedding rows move only with a batch that holds them, and then all the way.

    Keras' Adam goes on moving a row by its momentum for some ten steps after the batch that held
    it, by ten times the first step in all; a lazy Adam, which stops after the first, leaves rare
    rows nearly where they began. Without momentum a row makes the whole way at once, and the first
    moment need not be kept for it.
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
    """Trains the variables with Adam; embedding rows that a batch does not hold are not touched."""

    def __init__(
        self, loss: Loss, variables: Callable[[], Sequence[tf.Variable]], learning_rate: float
    ):
        """variables: called once the loss was traced, since Merlin's layers build at their first
        call.
        """
        self._loss, self._variables = loss, variables
        self.optimizer = RowwiseAdam(learning_rate)

    def build(self, size: int) -> None:
        """Create the model's and the optimizer's variables by one traced call, outside of the
        loop's graph.
        """
        tf.function(self._loss).get_concrete_function(tf.TensorSpec([None], tf.int32))
        self.variables = list(self._variables())
        self.optimizer._create_all_weights(self.variables)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
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

        self.epoch = epoch
        epoch(tf.zeros([0], tf.int32))  # no row: only makes the graph and optimises it

    @tf.autograph.experimental.do_not_convert
    def _apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices | None]) -> None:
        pairs = zip(gradients, self.variables, strict=True)
        self.optimizer.apply_gradients(
            [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        )

    def fit(
        self,
        rows: int,
        plan: TrainingPlan,
        step: Step,
        judge: Callable[[], float] | None = None,
        *,
        higher_is_better: bool = True,
        figure: str = "figure",
    ) -> TrainingOutcome:
        """Train on rows 0 … rows-1.

        Args:
            judge: gives the figure that early stopping looks at, after every epoch; the best
                epoch's weights are restored at the end.
        """
        self.build(min(plan.batch_size, rows))
        losses: list[float] = []
        figures: list[float] = []
        best, best_epoch, kept, busy, seen = -np.inf, 0, None, 0.0, 0
        for epoch in range(plan.epochs):
            progress = epoch / max(plan.epochs - 1, 1)
            self.optimizer.learning_rate = plan.learning_rate * (
                plan.decay + (1 - plan.decay) * 0.5 * (1 + np.cos(np.pi * progress))
            )
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
