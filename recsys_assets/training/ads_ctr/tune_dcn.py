"""Train the ads ranker on, from the weights of an earlier one, on newly labelled predictions.

In: ``base`` (an artifact of the network: checkpoint/, config.json), ``rows`` (arrays of both
splits in the order of settling, consumed.json).
Out: the files of ``train_dcn``, so that the next training can start from them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_assets.ads_columns import CATEGORIES
from recsys_assets.ads_parameters import TuneDcnParams
from recsys_assets.release_files import ADS_CONSUMED
from recsys_assets.training import versions
from recsys_assets.training.step import Step, StepError, run

if TYPE_CHECKING:
    import numpy as np

    from recsys_assets.training.ads_ctr.dcn_learning import AdsSplit


def tune_dcn(step: Step[TuneDcnParams]) -> None:
    """Train all weights, and report the figures of the validation rows before and after.

    A change of the truth needs a quick learning rate, at which few rows spoil a network that still
    holds. So where the base keeps half of its lift over chance, a gentle rate is tried as well, and
    the weights with the higher held-out AUC are kept.

    Raises:
        StepError: there is no training row, a row has an index that the base has no row for, or
            libraries of another version wrote the base.
    """
    versions.compare(step.input("base"), versions.CHECKPOINT, step.log)
    step.start_tensorflow()
    from recsys_assets.training import models
    from recsys_assets.training.ads_ctr import dcn, dcn_learning

    params = step.params
    config = json.loads(step.file("base", "config.json").read_text())
    consumed = json.loads(step.file("rows", ADS_CONSUMED).read_text())
    train, valid = (dcn_learning.AdsSplit.read(step, "rows", split) for split in ("train", "valid"))
    _refuse(train, valid, config["cardinality"])
    network = dcn_learning.DcnNetwork.of(dcn.DcnShape(**config["shape"]), config["cardinality"])
    network.scores(train.part(slice(1)))  # Merlin's layers build at their first call

    def restore() -> None:
        models.restore_checkpoint(step.input("base"), {"dcn": list(network.model.blocks)})

    restore()
    before = dcn_learning.figures(valid, network.scores(valid))
    step.report(**consumed, **{f"{name}_before": value for name, value in before.items()})
    pace = dcn_learning.Pace(
        params.epochs, params.batch_size, params.learning_rate, params.held_out, params.patience
    )
    holds = _holds(step.input("base"), train, network.scores(train))
    quick = network.fit(train, pace, step)
    if quick is not None and holds and params.gentle < 1:
        kept, reported = network.model.get_weights(), dict(step.metrics)
        restore()
        slow = dataclasses.replace(pace, learning_rate=params.learning_rate * params.gentle)
        gentle = network.fit(train, slow, step)
        if gentle is None or gentle <= quick:
            network.model.set_weights(kept)
            step.report(**reported)
        step.report(held_out_auc={"quick": quick, "gentle": gentle})
    network.write(step, valid)
    step.log(f"validation: {before} before, {step.metrics['auc']} and {step.metrics['log_loss']}")


def _holds(base: Path, rows: AdsSplit, scores: np.ndarray) -> bool:
    """Return whether the base keeps at least half of its lift over chance on new rows.

    Its own AUC is in its manifest. It holds where that is not known, so that both rates are tried.
    """
    from recsys_assets.training import metrics

    path = base / versions.MANIFEST
    own = json.loads(path.read_text()).get("metrics", {}).get("auc") if path.is_file() else None
    if own is None or not rows.both_classes:
        return True
    return bool(metrics.auc(rows.label, scores) - 0.5 >= (own - 0.5) / 2)


def _refuse(train: AdsSplit, valid: AdsSplit, cardinality: dict[str, int]) -> None:
    """Refuse rows that the base cannot read; the embedding lookup would give no clear error."""
    import numpy as np

    if not len(train) or not len(valid):
        raise StepError(
            f"{len(train)} training and {len(valid)} validation rows: wait for more labels, then "
            "materialise ads_ctr/feedback_rows again"
        )
    most = np.maximum(train.cat.max(axis=0), valid.cat.max(axis=0)).tolist()
    beyond = [
        f"{name} has index {index} of {cardinality[name]}"
        for name, index in zip(CATEGORIES, most, strict=True)
        if index >= cardinality[name]
    ]
    if beyond:
        raise StepError(
            f"the rows were transformed by another workflow than that of the base "
            f"({', '.join(beyond)}): materialise ads_ctr/feedback_rows again"
        )


if __name__ == "__main__":
    run(tune_dcn, TuneDcnParams)
