"""Train the ads ranker by Merlin's own way: its loader, Keras' Adam and Keras' fit.

In: ``datasets`` (arrays of both splits), ``workflow`` (ads_transforms.json). There is no output:
the figures are the step's metrics. Network, loss, batch and learning rate are those of
``train_dcn``.
"""

from __future__ import annotations

import json
import time
from typing import Any

from recsys_assets.ads_parameters import DcnParams
from recsys_assets.release_files import ADS_TRANSFORMS
from recsys_assets.training.step import Step, run

#: Steps before the clock starts.
WARM_UP_STEPS = 10


def train_stock(step: Step[DcnParams]) -> None:
    """Train with Merlin's loader and report rows per second and the AUC."""
    tf = step.start_tensorflow()
    import merlin.models.tf as mm
    import pandas as pd
    from merlin.io import Dataset

    from recsys_assets.ads_columns import CATEGORIES, INTEGERS, LABEL
    from recsys_assets.training import export, loaders, metrics
    from recsys_assets.training.ads_ctr import dcn
    from recsys_assets.training.ads_ctr.dcn_learning import AdsSplit

    params = step.params
    made_for = json.loads(step.file("workflow", ADS_TRANSFORMS).read_text())["cardinality"]
    whole, valid = (AdsSplit.read(step, "datasets", split) for split in ("train", "valid"))
    train = whole.part(slice(len(whole) - int(len(whole) * params.held_out)))
    size = loaders.batch_size(len(train), params.batch_size)
    schema = dcn.ads_schema(made_for)
    rows = pd.DataFrame(train.cat, columns=list(CATEGORIES))
    for place, name in enumerate(INTEGERS):
        rows[name] = train.cont[:, place]
    rows[LABEL] = train.label.astype("float32")
    loader = mm.Loader(Dataset(rows, cpu=True, schema=schema), batch_size=size, shuffle=True)
    model = dcn.build_dcn(schema, dcn.DcnShape.of(params))
    model.compile(
        optimizer=tf.keras.optimizers.Adam(params.learning_rate), run_eagerly=False, metrics=[]
    )
    clock: list[float] = []
    seen = [0]

    def batch_done(batch: int, logs: dict[str, Any]) -> None:
        seen[0] += 1
        if seen[0] == WARM_UP_STEPS:
            clock.append(time.perf_counter())

    model.fit(
        loader,
        epochs=params.epochs,
        verbose=0,
        callbacks=[tf.keras.callbacks.LambdaCallback(on_batch_end=batch_done)],
    )
    rate = (seen[0] - WARM_UP_STEPS) * size / (time.perf_counter() - clock[0])
    scores = export.apply(dcn.dcn_function(model), valid.inputs)
    step.report(rows_per_second=round(rate, 1), auc=metrics.auc(valid.label, scores))


if __name__ == "__main__":
    run(train_stock, DcnParams)
