"""Score ads one by one as the reference does: NVTabular's workflow, then the network in TensorFlow.

In: ``workflow`` (NVTabular's own), ``dcn`` (checkpoint), ``rows`` (ads.parquet). There is no
output: the figures are the step's metrics. The reference runs both as an ensemble of Triton, which
would add its calls; here they run in one process, without a server.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass

from recsys_assets.ads_columns import CATEGORIES, FEATURES, INTEGERS
from recsys_assets.hyper_parameters import Parameters, parameter
from recsys_assets.release_files import ADS_FILE
from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class StockRequestParams(Parameters):
    """Parameters of ``bench.ads.request_stock``."""

    requests: int = parameter(200, "Ads that are scored, one per request.", ge=1)
    warm_up: int = parameter(20, "Ads before them, which are not counted.", ge=0)


def request_stock(step: Step[StockRequestParams]) -> None:
    """Score ads one by one, and report the milliseconds of each and the scores."""
    warnings.filterwarnings("ignore")
    tf = step.start_tensorflow()
    import numpy as np
    import pandas as pd

    from recsys_assets.training import models
    from recsys_assets.training.ads_ctr import ads_workflow, dcn
    from recsys_assets.training.features import workflows

    loaded = workflows.load(step.input("workflow"), ads_workflow.ADS)
    config = json.loads(step.file("dcn", "config.json").read_text())
    shape = dcn.DcnShape(**config["shape"])
    model = dcn.build_dcn(dcn.ads_schema(config["cardinality"]), shape)
    function = dcn.dcn_function(model)
    # Merlin's layers build at their first call
    function(tf.zeros([1, len(CATEGORIES)], tf.int32), tf.zeros([1, len(INTEGERS)]))
    models.restore_checkpoint(step.input("dcn"), {"dcn": list(model.blocks)})
    rows = pd.read_parquet(step.file("rows", ADS_FILE))[list(FEATURES)]
    rows[list(INTEGERS)] = rows[list(INTEGERS)].astype("float64")
    seconds, scores, skipped = [], [], step.params.warm_up
    for number in range(step.params.requests + skipped):
        frame = rows.iloc[[number]].reset_index(drop=True)
        begin = time.perf_counter()
        done = loaded.transform(frame)
        cat = np.stack([done[name].to_numpy() for name in CATEGORIES], axis=1)
        cont = np.stack([done[name].to_numpy() for name in INTEGERS], axis=1)
        score = function(tf.constant(cat, tf.int32), tf.constant(cont, tf.float32))
        scores.append(float(score["score"][0]))
        seconds.append(time.perf_counter() - begin)
    step.report(ms=[1_000 * one for one in seconds[skipped:]], scores=scores[skipped:])


if __name__ == "__main__":
    run(request_stock, StockRequestParams)
