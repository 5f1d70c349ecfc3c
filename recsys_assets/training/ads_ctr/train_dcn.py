"""Train the ads ranker and export it.

In: ``datasets`` (arrays of both splits), ``workflow`` (ads_transforms.json).
Out: checkpoint/, config.json, ads_dcn.onnx, parity.npz, valid_scores.npy float32 [N].
"""

from __future__ import annotations

import json

from recsys_assets.ads_parameters import DcnParams
from recsys_assets.release_files import ADS_TRANSFORMS
from recsys_assets.training.step import Step, run


def train_dcn(step: Step[DcnParams]) -> None:
    """Train the network, export it and report its figures on the validation rows."""
    step.start_tensorflow()
    from recsys_assets.training.ads_ctr import dcn, dcn_learning

    params = step.params
    cardinality = json.loads(step.file("workflow", ADS_TRANSFORMS).read_text())["cardinality"]
    train, valid = (
        dcn_learning.AdsSplit.read(step, "datasets", split) for split in ("train", "valid")
    )
    network = dcn_learning.DcnNetwork.of(dcn.DcnShape.of(params), cardinality)
    pace = dcn_learning.Pace(
        params.epochs,
        params.batch_size,
        params.learning_rate,
        params.held_out,
        params.patience,
        params.learning_rate_decay,
    )
    network.fit(train, pace, step)
    network.write(step, valid)


if __name__ == "__main__":
    run(train_dcn, DcnParams)
