"""Train the ads ranker and export it.

In: ``datasets`` (arrays of both splits), ``workflow`` (ads_transforms.json).
Out: checkpoint/, config.json, ads_dcn.onnx, parity.npz, valid_scores.npy float32 [N].
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys_assets.ads_parameters import DcnParams
from recsys_assets.release_files import ADS_DCN_ONNX, ADS_TRANSFORMS, PARITY, VALID_SCORES
from recsys_assets.training.step import Step, run

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import tensorflow as tf

    from recsys_assets.training.export import Packed
    from recsys_assets.training.trainer import Loss

#: Held-out rows of a judgement at most.
JUDGED_ROWS = 200_000


@dataclass(frozen=True)
class AdsSplit:
    """Holds the packed rows of a split."""

    cat: np.ndarray  # int32 [N, 26]
    cont: np.ndarray  # float32 [N, 13]
    label: np.ndarray  # int8 [N]

    @classmethod
    def read(cls, step: Step[DcnParams], name: str) -> AdsSplit:
        """Read the arrays of a split."""
        import numpy as np

        parts = (step.file("datasets", f"{name}_{kind}.npy") for kind in ("cat", "cont", "label"))
        return cls(*(np.load(path, allow_pickle=False) for path in parts))

    def __len__(self) -> int:
        return len(self.label)

    def part(self, rows: slice) -> AdsSplit:
        """Return some of the rows."""
        return AdsSplit(self.cat[rows], self.cont[rows], self.label[rows])

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Return the inputs of the exported function."""
        return {"cat": self.cat, "cont": self.cont}


def train_dcn(step: Step[DcnParams]) -> None:
    """Train the network, export it and report its figures on the validation rows."""
    step.start_tensorflow()
    import numpy as np

    from recsys_assets.training import export, loaders, metrics, models, trainer
    from recsys_assets.training.ads_ctr import dcn

    params = step.params
    made_for = json.loads(step.file("workflow", ADS_TRANSFORMS).read_text())["cardinality"]
    whole, valid = AdsSplit.read(step, "train"), AdsSplit.read(step, "valid")
    # rows are in order of time: the last ones are nearest to what is served
    held = int(len(whole) * params.held_out)
    train, held_out = (
        whole.part(slice(len(whole) - held)),
        whole.part(slice(len(whole) - held, None)),
    )
    size = loaders.batch_size(len(train), params.batch_size)
    step.log(
        f"{len(train)} rows, {train.label.mean():.1%} clicked, {len(held_out)} held out, batches "
        f"of {size}"
    )
    shape = dcn.DcnShape.of(params)
    model = dcn.build_dcn(dcn.ads_schema(made_for), shape)
    function = dcn.dcn_function(model)
    judge = _judge(function, held_out) if _judgeable(held_out) else None
    plan = trainer.TrainingPlan(
        params.epochs,
        size,
        params.learning_rate,
        step.seed,
        params.patience if judge else 0,
        params.learning_rate_decay,
    )
    learner = trainer.Trainer(
        _loss(model, train), lambda: list(model.trainable_variables), params.learning_rate
    )
    outcome = learner.fit(len(train), plan, step, judge, higher_is_better=False, figure="log loss")
    scores = export.apply(function, valid.inputs)
    np.save(step.output / VALID_SCORES, scores)
    judged = _judgeable(valid)
    step.report(
        auc=metrics.auc(valid.label, scores) if judged else None,
        log_loss=metrics.log_loss(valid.label, scores),
        rows=len(train),
        validation_rows=len(valid),
        validation_clicks=int(valid.label.sum()),
        batch_size=size,
        held_out_rows=len(held_out),
        epochs=outcome.epochs,
        best_epoch=outcome.best_epoch,
        losses=outcome.losses,
        held_out_log_loss=outcome.figures,
        rows_per_second=outcome.rows_per_second,
    )
    models.save_checkpoint(step.output, {"dcn": list(model.blocks)})
    config = {"model": "dcn", "shape": dataclasses.asdict(shape), "cardinality": made_for}
    (step.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    sample = export.sample(valid.inputs)
    expected, difference = export.export(function, sample, step.output / ADS_DCN_ONNX)
    export.write_arrays(step.output / PARITY, {**sample, export.SCORE: expected})
    step.report(onnx_difference=difference)


def _judgeable(rows: AdsSplit) -> bool:
    """Return whether the rows hold both classes."""
    return len(rows) > 0 and 0 < int(rows.label.sum()) < len(rows)


def _judge(function: Packed, held_out: AdsSplit) -> Callable[[], float]:
    """Return a function that gives the log loss of the newest JUDGED_ROWS held-out rows."""
    from recsys_assets.training import export, metrics

    newest = held_out.part(slice(-JUDGED_ROWS, None))
    return lambda: metrics.log_loss(newest.label, export.apply(function, newest.inputs))


def _loss(model: tf.keras.Model, train: AdsSplit) -> Loss:
    """Return the mean cross-entropy of a batch, with the regularisation of its embeddings."""
    import numpy as np
    import tensorflow as tf

    from recsys_assets.training import models
    from recsys_assets.training.ads_ctr import dcn

    cat, cont = tf.constant(train.cat), tf.constant(train.cont)
    labels = tf.constant(train.label.astype(np.float32))

    def loss(rows: tf.Tensor) -> tf.Tensor:
        batch = dcn.named_columns(tf.gather(cat, rows), tf.gather(cont, rows))
        probability = tf.reshape(model(batch, training=True), [-1])
        entropy = tf.keras.backend.binary_crossentropy(tf.gather(labels, rows), probability)
        return tf.reduce_mean(entropy) + models.regularisation(model.blocks, rows)

    plain: Loss = tf.autograph.experimental.do_not_convert(loss)
    return plain


if __name__ == "__main__":
    run(train_dcn, DcnParams)
