"""Bench: extend a ranker's item_id embedding table to a synthetic catalogue.

In: ``ranker`` (folder with items.onnx), ``base`` (folder with base.npy: int [I], the real item,
from 0, of each synthetic one). Out: items.onnx, where synthetic item i has the row of real item
base[i]. A model without such a table is copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_assets import columns as c
from recsys_assets.release_files import ITEMS
from recsys_assets.training.step import Step, StepError, run


@dataclass(frozen=True)
class LargerCatalogueParams:
    """Parameters of the step.

    Attributes:
        rows: of the item_id table; no other table may have as many.
    """

    rows: int = 0


def bench_catalogue(step: Step[LargerCatalogueParams]) -> None:
    """Write the extended ranker.

    Raises:
        StepError: several tables have ``rows`` rows.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(step.file("ranker", ITEMS)))
    base = np.load(step.file("base", "base.npy"), allow_pickle=False)
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    tables = [
        table
        for table in model.graph.initializer
        if table.name in looked_up and len(table.dims) == 2 and table.dims[0] == step.params.rows
    ]
    if len(tables) > 1:
        raise StepError(
            f"{len(tables)} tables of the ranker have {step.params.rows} rows, so item_id's is "
            "ambiguous; take another release"
        )
    for table in tables:
        values = numpy_helper.to_array(table)
        start = c.VOCABULARY_START
        table.CopyFrom(
            numpy_helper.from_array(
                np.concatenate([values[:start], values[start:][base]]), table.name
            )
        )
    onnx.save(model, str(step.output / ITEMS))
    step.report(rows=int(tables[0].dims[0]) if tables else None)


if __name__ == "__main__":
    run(bench_catalogue, LargerCatalogueParams)
