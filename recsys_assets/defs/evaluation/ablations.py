"""Define the asset of ablations: models trained without one part."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_type_hints

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.evaluation.judged import JudgedInputs
from recsys_assets.lib.evaluation.ablation_variants import VARIANTS, Variant, chosen
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import MODEL_STEPS, TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

#: The models of ``exports/onnx``.
MODELS = ("two_tower", "dlrm")


class AblationsConfig(BuildConfig):
    """Config of ``evaluation/ablations``."""

    variants: list[str] = Field(
        default=list(VARIANTS),
        description="Variants, each trained and judged on its own. "
        + "; ".join(f"{variant.name}: {variant.text}" for variant in VARIANTS.values())
        + ".",
    )


class AblationsInputs(TypedDict):
    """Inputs of ``evaluation/ablations``."""

    offline: Annotated[Artifact, Upstream("evaluation/offline", SAME)]
    train: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]


@dataclasses.dataclass
class Laboratory:
    """Builds the artifacts of the variants of one base; existing artifacts are reused.

    Attributes:
        context: of the asset.
        platform: settings and artifact store.
        training: runs the training steps.
        base: ``evaluation/offline``, whose manifest names every input of the judged models.
        unmasked: features/interactions of the training days.
        force: build again even if an artifact exists.
    """

    context: dg.AssetExecutionContext
    platform: Platform
    training: TrainingClient
    base: Artifact
    unmasked: Sequence[Artifact]
    force: bool

    def __post_init__(self) -> None:
        recorded = self._recorded(self.base)
        # without the sources of candidates: a variant is judged by its models alone
        self.inputs = {role: recorded[role] for role in get_type_hints(JudgedInputs)}
        self.models: dict[str, Artifact] = {
            model: self.platform.store.open(self.inputs["models"].manifest["inputs"][model])
            for model in MODELS
        }
        self.params = dict(self.base.manifest["params"])

    def _recorded(self, artifact: Artifact) -> dict[str, Any]:
        """Open the inputs that an artifact was made from: role → artifact, or artifacts."""
        store = self.platform.store
        return {
            role: [store.open(one) for one in value]
            if isinstance(value, list)
            else store.open(value)
            for role, value in artifact.manifest["inputs"].items()
        }

    def build(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        write: Callable[[Path], Mapping[str, Any]],
        params: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Build ``ablation/<kind>`` for the asset's partition."""
        return self.platform.build(
            self.context,
            f"ablation/{kind}",
            partition=self.context.partition_key,
            inputs=inputs,
            params=params,
            force=self.force,
            write=lambda staged: write(staged.path),
        ).artifact

    def withheld(self) -> Artifact:
        """Build the table of the newest items, which some variants withhold."""
        from recsys_assets.lib.evaluation import ablations

        asked = self._recorded(self.inputs["queries"])
        inputs = {
            "interactions": asked["interactions"],
            "items": asked["items"],
            "workflows": self.inputs["workflows"],
        }
        seed = {"seed": self.params["seed"]}
        return self.build(
            "withheld",
            inputs,
            lambda path: ablations.write_withheld(**inputs, target=path, **seed),
            params=seed,
        )

    def datasets(self, variant: Variant, withheld: Artifact | None) -> Artifact:
        """Return the data sets of a variant: the base's own if their rows are the same."""
        from recsys_assets.lib.evaluation import ablations

        rows: Artifact = self._recorded(self.models["two_tower"])["datasets"]
        kind = f"{variant.rows}/datasets"
        if not variant.masked:
            made_from = self._recorded(rows)
            made_from["train"] = self.unmasked
            own = rows.manifest["params"]
            rows = self.training.build(
                self.context,
                self.platform,
                f"ablation/{kind}",
                "features.make_datasets",
                inputs=made_from,
                partition=self.context.partition_key,
                params={
                    "train_name": "features.parquet",
                    **{name: own[name] for name in own if name == "dismissal_weight"},
                },
                force=self.force,
                profile="CPU_LARGE",
            ).artifact
        if variant.context and withheld is None:
            return rows
        inputs = {"datasets": rows, **({"withheld": withheld} if withheld else {})}
        return self.build(
            kind,
            inputs,
            lambda path: ablations.write_datasets(**inputs, target=path, context=variant.context),
            params={"context": variant.context},
        )

    def train(
        self,
        variant: Variant,
        model: str,
        changed: Mapping[str, Artifact],
        params: Mapping[str, Any],
    ) -> Artifact:
        """Train a model of a variant, or return the base's if nothing differs."""
        base = self.models[model]
        own = self._recorded(base)
        inputs = {role: changed.get(role, artifact) for role, artifact in own.items()}
        if not params and all(inputs[role].digest == own[role].digest for role in own):
            return base
        self.context.log.info(f"{variant.name}: training {model}")
        return self.training.build(
            self.context,
            self.platform,
            f"ablation/{variant.name}/{model}",
            MODEL_STEPS[model],
            inputs=inputs,
            partition=self.context.partition_key,
            params={**base.manifest["params"], **params},
            force=self.force,
            profile="GPU_TRAIN",
        ).artifact

    def aligned(self, variant: Variant, withheld: Artifact | None) -> tuple[Artifact, Artifact]:
        """Return a variant's aligned embeddings of all items, and of the known items."""
        from recsys_assets.lib.evaluation import ablations

        hidden = {"withheld": withheld} if withheld else {}
        aligned: Artifact = self.inputs["aligned"]
        if variant.without or withheld:
            inputs = {"aligned": aligned, **hidden}
            aligned = self.build(
                f"{variant.name}/aligned",
                inputs,
                params={"without": variant.without},
                write=lambda path: ablations.write_aligned(
                    **inputs, target=path, without=variant.without
                ),
            )
        if withheld is None:
            return aligned, aligned
        known = self.build(
            f"{variant.name}/known_items",
            {"aligned": aligned, **hidden},
            lambda path: ablations.write_known_items(aligned, withheld, path),
        )
        return aligned, known

    def exported(self, variant: Variant, changed: Mapping[str, Artifact]) -> dict[str, Artifact]:
        """Train both models of a variant; return their exports and item vectors by role."""
        from recsys_assets.lib.exports.exports import write_exports
        from recsys_assets.lib.retrieval import tables

        trained = {
            model: self.train(
                variant, model, changed, variant.two_tower if model == "two_tower" else {}
            )
            for model in MODELS
        }
        exports = self.build(
            f"{variant.name}/onnx_exports",
            trained,
            lambda path: write_exports(**trained, target=path),
        )
        of_tower = {"two_tower": trained["two_tower"], "aligned": changed["embeddings"]}
        vectors = self.build(
            f"{variant.name}/item_vectors",
            of_tower,
            lambda path: tables.write_item_vectors(**of_tower, target=path),
        )
        return {"models": exports, "vectors": vectors}

    def judged(self, variant: Variant) -> Artifact:
        """Train, export and evaluate a variant; return the evaluation."""
        from recsys_assets.lib.evaluation import ablations

        withheld = self.withheld() if variant.withheld else None
        aligned, known = self.aligned(variant, withheld)
        changed = {
            "datasets": self.datasets(variant, withheld),
            "embeddings": aligned,
            "item_inputs": known,
        }
        inputs = {
            **self.inputs,
            **self.exported(variant, changed),
            "aligned": aligned,
            **({"withheld": withheld} if withheld else {}),
        }
        return self.build(
            f"{variant.name}/evaluation",
            inputs,
            params={**self.params, "variant": dataclasses.asdict(variant)},
            write=lambda path: ablations.write_evaluation(
                variant, **inputs, target=path, params=self.params
            ),
        )


@dg.asset(
    key=["evaluation", "ablations"],
    kinds={"tensorflow", "onnx", "numpy"},
    partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("CPU_LARGE"),
    pool="training",
    deps=dependencies(AblationsInputs),
)
def ablations(
    context: dg.AssetExecutionContext,
    config: AblationsConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Trains and evaluates both models without one part each, per as-of day.

    Reads the generation that the offline evaluation judged, and the features of the training days.
    Writes the metrics of each variant on the same queries, and its difference to the base.
    """
    from recsys_assets.lib.evaluation import ablations as lib

    variants = chosen(config.variants)
    opened = open_inputs(AblationsInputs, platform, context.partition_key)
    laboratory = Laboratory(
        context, platform, training, opened["offline"], opened["train"], config.force
    )
    found: dict[str, Artifact] = {}
    for number, variant in enumerate(variants, 1):
        context.log.info(f"{variant.name} ({number} of {len(variants)}): {variant.text}")
        found[variant.name] = laboratory.judged(variant)
        ndcg = found[variant.name].metrics["served"]["ndcg@10"]
        interval = f"{ndcg['low']:.4f} to {ndcg['high']:.4f}"
        context.log.info(f"{variant.name}: served nDCG@10 {ndcg['value']:.4f} ({interval})")
    withheld = laboratory.withheld() if any(variant.withheld for variant in variants) else None
    inputs = {
        "queries": laboratory.inputs["queries"],
        "base": laboratory.base,
        **found,
        **({"withheld": withheld} if withheld else {}),
    }
    seed = laboratory.params["seed"]
    built = platform.build(
        context,
        "evaluation/ablations",
        partition=context.partition_key,
        inputs=inputs,
        params={"seed": seed, "variants": list(found)},
        force=config.force,
        write=lambda staged: lib.write_ablations(
            inputs["queries"], laboratory.base, found, staged.path, seed, withheld
        ),
    )
    headline = lib.headline(built.artifact.metrics)
    shown = dataclasses.replace(
        built.artifact, manifest={**built.artifact.manifest, "metrics": headline}
    )
    return reporting.result(shown, reused=built.reused)
