"""Train DLRM on all exposures and export it.

In: ``datasets``, ``workflows`` (transforms.json), ``embeddings`` (embedding_table.npy).
Out: checkpoint/, config.json, dlrm.onnx, parity.npz.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class Params:
    """
    Attributes:
        epochs: passes over the exposures.
        batch_size: rows a step at most; less where data is scarce.
    """

    epochs: int = 2
    batch_size: int = 16_384
    learning_rate: float = 1e-3


def train_dlrm(step: Step[Params]) -> None:
    step.start_tensorflow()
    from recsys_assets import columns as c
    from recsys_assets.training import loaders, metrics, models, ranker

    params, datasets = step.params, step.input("datasets")
    schema = loaders.read_schema(datasets)
    loaders.check_cardinality(step.file("workflows", "transforms.json"), schema)
    table = loaders.read_embeddings(step.file("embeddings", "embedding_table.npy"), schema)
    rows = loaders.read_rows(datasets / "train")
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(f"{len(rows)} rows, {rows[c.CLICK].mean():.1%} clicked, batches of {size}")
    loader = loaders.make_loader(rows, schema, table, size)
    shape = models.DlrmShape()
    model = models.build_dlrm(loader.output_schema, shape)
    models.fit(model, loader, step, epochs=params.epochs, learning_rate=params.learning_rate)

    trained = ranker.Ranker.of(model, shape)
    valid = loaders.read_rows(datasets / "valid")
    labels, scores = valid[c.CLICK].to_numpy(), trained.scores(valid, table)
    step.report(auc=metrics.auc(labels, scores), log_loss=metrics.log_loss(labels, scores), rows=len(rows),
                validation_rows=len(valid), batch_size=size)
    step.log(f"AUC {step.metrics['auc']:.4f}, log loss {step.metrics['log_loss']:.4f}")
    ranker.write(step, trained, schema, valid, table, size)


if __name__ == "__main__":
    run(train_dlrm, Params)
