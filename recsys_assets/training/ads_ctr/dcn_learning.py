"""Share what the full and the incremental training of the ads ranker have in common."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from recsys_assets.release_files import ADS_DCN_ONNX, PARITY, VALID_SCORES
from recsys_assets.training import export, loaders, metrics, models, trainer
from recsys_assets.training.ads_ctr import dcn
from recsys_assets.training.step import Step

#: Held-out rows of a judgement at most.
JUDGED_ROWS = 200_000


@dataclass(frozen=True)
class AdsSplit:
    """Holds the packed rows of a split."""

    cat: np.ndarray  # int32 [N, 26]
    cont: np.ndarray  # float32 [N, 13]
    label: np.ndarray  # int8 [N]

    @classmethod
    def read(cls, step: Step[Any], role: str, name: str) -> AdsSplit:
        """Read the arrays of a split of an input."""
        parts = (step.file(role, f"{name}_{kind}.npy") for kind in ("cat", "cont", "label"))
        return cls(*(np.load(path, allow_pickle=False) for path in parts))

    def __len__(self) -> int:
        return len(self.label)

    def part(self, rows: slice) -> AdsSplit:
        """Return some of the rows."""
        return AdsSplit(self.cat[rows], self.cont[rows], self.label[rows])

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Return the inputs of the exported function."""
        return {export.CAT: self.cat, export.CONT: self.cont}

    @property
    def both_classes(self) -> bool:
        """Return whether the rows have clicked and unclicked ones."""
        return 0 < int(self.label.sum()) < len(self)


@dataclass(frozen=True)
class Pace:
    """Sets how long and how fast to train.

    Attributes:
        held_out: share of the training rows, the last ones, by which epochs are compared.
        decay: share of the learning rate that is left at the end.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    held_out: float
    patience: int
    decay: float = 1.0


@dataclass(frozen=True)
class DcnNetwork:
    """Holds the network with its exported function and what is needed to build it again."""

    model: tf.keras.Model
    function: export.Packed
    shape: dcn.DcnShape
    cardinality: Mapping[str, int]

    @classmethod
    def of(cls, shape: dcn.DcnShape, cardinality: Mapping[str, int]) -> DcnNetwork:
        """Build a new network."""
        model = dcn.build_dcn(dcn.ads_schema(cardinality), shape)
        return cls(model, dcn.dcn_function(model), shape, cardinality)

    def scores(self, rows: AdsSplit) -> np.ndarray:
        """Return the click probabilities, float32 [N]."""
        return export.apply(self.function, rows.inputs)

    def fit(self, whole: AdsSplit, pace: Pace, step: Step[Any]) -> float | None:
        """Train on rows in order of time, and report it.

        Epochs are compared by the log loss of the last rows, which are nearest to what is served.

        Returns:
            the held-out AUC of the epoch that was kept; None: nothing was held out, or rows of one
            class.
        """
        held = int(len(whole) * pace.held_out)
        train = whole.part(slice(len(whole) - held))
        held_out = whole.part(slice(len(whole) - held, None))
        size = loaders.batch_size(len(train), pace.batch_size)
        step.log(
            f"{len(train)} rows, {train.label.mean():.1%} clicked, {len(held_out)} held out, "
            f"batches of {size}"
        )
        judge = self._judge(held_out) if held_out.both_classes else None
        plan = trainer.TrainingPlan(
            pace.epochs,
            size,
            pace.learning_rate,
            step.seed,
            pace.patience if judge else 0,
            pace.decay,
        )
        learner = trainer.Trainer(
            self._loss(train), lambda: list(self.model.trainable_variables), pace.learning_rate
        )
        outcome = learner.fit(
            len(train), plan, step, judge, higher_is_better=False, figure="log loss"
        )
        step.report(
            rows=len(train),
            batch_size=size,
            held_out_rows=len(held_out),
            epochs=outcome.epochs,
            best_epoch=outcome.best_epoch,
            losses=outcome.losses,
            held_out_log_loss=outcome.figures,
            rows_per_second=outcome.rows_per_second,
            learning_rate=pace.learning_rate,
        )
        return metrics.auc(held_out.label, self.scores(held_out)) if judge else None

    def write(self, step: Step[Any], valid: AdsSplit) -> None:
        """Write checkpoint, config, ONNX and scores, and report the figures of these rows."""
        scores = self.scores(valid)
        np.save(step.output / VALID_SCORES, scores)
        step.report(
            **figures(valid, scores),
            validation_rows=len(valid),
            validation_clicks=int(valid.label.sum()),
        )
        models.save_checkpoint(step.output, {"dcn": list(self.model.blocks)})
        config = {
            "model": "dcn",
            "shape": dataclasses.asdict(self.shape),
            "cardinality": self.cardinality,
        }
        (step.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        sample = export.sample(valid.inputs)
        expected, difference = export.export(self.function, sample, step.output / ADS_DCN_ONNX)
        export.write_arrays(step.output / PARITY, {**sample, export.SCORE: expected})
        step.report(onnx_difference=difference)

    def _judge(self, held_out: AdsSplit) -> Callable[[], float]:
        """Return a function that gives the log loss of the newest JUDGED_ROWS rows."""
        newest = held_out.part(slice(-JUDGED_ROWS, None))
        return lambda: metrics.log_loss(newest.label, self.scores(newest))

    def _loss(self, train: AdsSplit) -> trainer.Loss:
        """Return the mean cross-entropy of a batch, with the regularisation of its embeddings."""
        cat, cont = tf.constant(train.cat), tf.constant(train.cont)
        labels = tf.constant(train.label.astype(np.float32))

        def loss(rows: tf.Tensor) -> tf.Tensor:
            batch = dcn.named_columns(tf.gather(cat, rows), tf.gather(cont, rows))
            probability = tf.reshape(self.model(batch, training=True), [-1])
            entropy = tf.keras.backend.binary_crossentropy(tf.gather(labels, rows), probability)
            return tf.reduce_mean(entropy) + models.regularisation(self.model.blocks, rows)

        plain: trainer.Loss = tf.autograph.experimental.do_not_convert(loss)
        return plain


def figures(rows: AdsSplit, scores: np.ndarray) -> dict[str, float | None]:
    """Return AUC (None with one class) and log loss of the scores of some rows."""
    return {
        "auc": metrics.auc(rows.label, scores) if rows.both_classes else None,
        "log_loss": metrics.log_loss(rows.label, scores),
    }
