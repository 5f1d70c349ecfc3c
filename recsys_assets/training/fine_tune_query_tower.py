"""Fine-tune the champion's query tower on a new day; the item tower is frozen and stays equal to the bit.

In: ``champion`` (a two-tower artifact), ``rows`` (train.parquet, holdout.parquet: transformed rows and click),
``datasets`` (of the champion's generation), ``embeddings`` (embedding_table.npy of that generation).
Out: the files of a two-tower artifact, so that the next day can start from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class Params:
    """
    Attributes:
        epochs: passes over the clicked rows.
        batch_size: rows a step at most; less where data is scarce.
    """

    epochs: int = 1
    batch_size: int = 1024
    learning_rate: float = 1e-4


def fine_tune_query_tower(step: Step[Params]) -> None:
    step.start_tensorflow()
    from recsys_assets import columns as c
    from recsys_assets.training import loaders, metrics, models, towers

    params, champion = step.params, step.input("champion")
    schema = loaders.read_schema(step.input("datasets"))
    loaders.check_cardinality(step.file("champion", "config.json"), schema)
    table = loaders.read_embeddings(step.file("embeddings", "embedding_table.npy"), schema)
    rows = loaders.read_rows(step.file("rows", "train.parquet"), clicked=True)
    holdout = loaders.read_rows(step.file("rows", "holdout.parquet"))
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(f"{len(rows)} clicked rows, batches of {size}")
    shape = towers.read_shape(champion)
    inputs = schema.select_by_name(models.two_tower_columns(shape.use_context))
    loader = loaders.make_loader(rows, inputs, table, size, drop_last=True)
    model = models.build_two_tower(loader.output_schema, shape, models.item_counts(rows[c.ITEM_ID].to_numpy(), schema))
    pair = towers.Towers.of(model, shape)
    pair.build()
    models.restore_checkpoint(champion, pair.parts)

    labels = holdout[c.CLICK].to_numpy()
    step.report(auc_before=metrics.auc(labels, pair.scores(holdout, table)))
    item_before, query_before = models.weights(pair.item), models.weights(pair.query)
    model.candidate_encoder.trainable = False
    models.fit(model, loader, step, epochs=params.epochs, learning_rate=params.learning_rate)
    changed = models.changed(item_before, pair.item)
    if changed:
        raise RuntimeError(f"the frozen item tower changed in {', '.join(changed)}: its vectors no longer fit")
    moved = len(models.changed(query_before, pair.query))
    step.report(auc_after=metrics.auc(labels, pair.scores(holdout, table)), query_weights_changed=moved, rows=len(rows),
                holdout_rows=len(holdout), batch_size=size)
    step.log(f"holdout AUC {step.metrics['auc_before']:.4f} before, {step.metrics['auc_after']:.4f} after")
    towers.write(step, pair, schema, holdout, table, size, frozen_item_tower=champion / towers.ITEM_ONNX)


if __name__ == "__main__":
    run(fine_tune_query_tower, Params)
