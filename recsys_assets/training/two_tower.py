"""Train the two towers on clicked rows and export both.

In: ``datasets``, ``workflows`` (transforms.json), ``embeddings`` (embedding_table.npy), ``item_inputs``
(item_tower_inputs.npz: index int32 [I], cat int32 [I, 4], cont float32 [I, 1] of the whole catalogue).
Out: checkpoint/, config.json, query_tower.onnx, item_tower.onnx, parity.npz.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class Params:
    """
    Attributes:
        epochs: passes over the clicked rows.
        batch_size: rows a step at most, which is also the number of in-batch negatives; less where data is scarce.
        temperature: divides the logits of the in-batch softmax.
        use_context: device, hour and weekday in the query tower.
        logq_correction: correct for popular items being drawn more often as negatives.
    """

    epochs: int = 6
    batch_size: int = 1024
    learning_rate: float = 2e-3
    temperature: float = 0.1
    use_context: bool = True
    logq_correction: bool = True


def train_two_tower(step: Step[Params]) -> None:
    step.start_tensorflow()
    import numpy as np

    from recsys_assets import columns as c
    from recsys_assets.training import loaders, metrics, models, towers

    params, datasets = step.params, step.input("datasets")
    schema = loaders.read_schema(datasets)
    loaders.check_cardinality(step.file("workflows", "transforms.json"), schema)
    table = loaders.read_embeddings(step.file("embeddings", "embedding_table.npy"), schema)
    rows = loaders.read_rows(datasets / "train", clicked=True)
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(f"{len(rows)} clicked rows, batches of {size}")
    shape = models.TwoTowerShape(params.use_context, params.temperature, params.logq_correction)
    inputs = schema.select_by_name(models.two_tower_columns(shape.use_context))
    loader = loaders.make_loader(rows, inputs, table, size, drop_last=True)
    counts = models.item_counts(rows[c.ITEM_ID].to_numpy(), schema)
    model = models.build_two_tower(loader.output_schema, shape, counts)
    models.fit(model, loader, step, epochs=params.epochs, learning_rate=params.learning_rate)

    pair = towers.Towers.of(model, shape)
    clicks = loaders.read_rows(datasets / "valid", clicked=True)
    catalogue = np.load(step.file("item_inputs", "item_tower_inputs.npz"), allow_pickle=False)
    index, clicked = catalogue["index"], clicks[c.ITEM_ID].to_numpy()
    vectors = pair.item_vectors(catalogue["cat"], catalogue["cont"], table[index])
    ranks = metrics.clicked_ranks(pair.query_vectors(clicks), vectors, index, clicked)
    baseline = metrics.popularity_ranks(counts, index, clicked)
    for k in (10, 100):
        step.report(**{f"recall@{k}": metrics.recall(ranks, k), f"popularity_recall@{k}": metrics.recall(baseline, k),
                       f"random_recall@{k}": min(1.0, k / len(index))})
    step.report(rows=len(rows), validation_clicks=len(clicks), items=len(index), batch_size=size)
    step.log(f"recall@100 {step.metrics['recall@100']:.4f}, popularity's {step.metrics['popularity_recall@100']:.4f}")
    towers.write(step, pair, schema, clicks, table, size)


if __name__ == "__main__":
    run(train_two_tower, Params)
