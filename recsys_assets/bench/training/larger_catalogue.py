"""Bench: extend the tables by item of a release's models to a synthetic catalogue.

In: ``models`` (folder of a release's models), ``base`` (folder with base.npy: int [I], the real
item, from 0, of each synthetic one). Out: <model>/<file> of BY_ITEM, where synthetic item i has the
row of real item base[i]. A model without such a table is copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_assets import columns as c
from recsys_assets.release_files import ITEMS, MODEL, QUERY_TOWER, RANKER
from recsys_assets.training.step import Step, StepError, run

#: Model → its file that may look items up by their Categorify index.
BY_ITEM = {QUERY_TOWER: MODEL, RANKER: ITEMS}


@dataclass(frozen=True)
class LargerCatalogueParams:
    """Parameters of the step.

    Attributes:
        rows: of a table by item_id; no other table may have as many.
    """

    rows: int = 0


def bench_catalogue(step: Step[LargerCatalogueParams]) -> None:
    """Write the extended models.

    Raises:
        StepError: several tables of a model have ``rows`` rows.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    base = np.load(step.file("base", "base.npy"), allow_pickle=False)
    extended: dict[str, int | None] = {}
    for name, file in BY_ITEM.items():
        model = onnx.load(str(step.file("models", f"{name}/{file}")))
        looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
        tables = [
            table
            for table in model.graph.initializer
            if table.name in looked_up
            and len(table.dims) == 2
            and table.dims[0] == step.params.rows
        ]
        if len(tables) > 1:
            raise StepError(
                f"{len(tables)} tables of {name} have {step.params.rows} rows, so item_id's is "
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
        (step.output / name).mkdir()
        onnx.save(model, str(step.output / name / file))
        extended[name] = int(tables[0].dims[0]) if tables else None
    step.report(rows=extended)


if __name__ == "__main__":
    run(bench_catalogue, LargerCatalogueParams)
