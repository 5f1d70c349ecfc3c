"""The models trained again, less a part each, and judged on the same queries."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation.ablation_variants import VARIANTS, Variant, chosen
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import MODEL_STEPS, TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

#: Which step trains which model, in exports/onnx.
MODELS = ("two_tower", "dlrm")


class AblationsConfig(BuildConfig):
    variants: list[str] = Field(
        default=list(VARIANTS),
        description="What is taken away, each trained and judged on its own: "
        + "; ".join(f"{variant.name}: {variant.text}" for variant in VARIANTS.values())
        + ".",
    )


class AblationsInputs(TypedDict):
    offline: Annotated[Artifact, Upstream("evaluation/offline", SAME)]
    train: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]


@dataclasses.dataclass
class Laboratory:
    """Builds what the variants of one base need; whatever was built before is reused.

    Attributes:
        base: ``evaluation/offline``, whose manifest names every input of the models that it judged.
        unmasked: features/interactions of the training days.
    """

    context: dg.AssetExecutionContext
    platform: Platform
    training: TrainingClient
    base: Artifact
    unmasked: Sequence[Artifact]
    force: bool

    def __post_init__(self) -> None:
        self.inputs = self._recorded(self.base)
        self.models = {
            model: self.platform.store.open(self.inputs["models"].manifest["inputs"][model])
            for model in MODELS
        }
        self.params = dict(self.base.manifest["params"])

    def _recorded(self, artifact: Artifact) -> dict[str, Any]:
        """The very versions that an artifact was made from: role → artifact, or artifacts."""
        store = self.platform.store
        return {
            role: [store.open(one) for one in value]
            if isinstance(value, list)
            else store.open(value)
            for role, value in artifact.manifest["inputs"].items()
        }

    def build(
        self, kind: str, inputs: Mapping[str, Any], write: Any, params: Any = None
    ) -> Artifact:
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
        """What both models learn from: the base's own where the variant's rows are the base's."""
        from recsys_assets.lib.evaluation import ablations

        rows, kind = (
            self._recorded(self.models["two_tower"])["datasets"],
            f"{variant.rows}/datasets",
        )
        if not variant.masked:
            made_from = self._recorded(rows)
            made_from["train"] = self.unmasked
            rows = self.training.build(
                self.context,
                self.platform,
                f"ablation/{kind}",
                "features.make_datasets",
                inputs=made_from,
                partition=self.context.partition_key,
                params={"train_name": "features.parquet"},
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
        """The base's model where nothing that it is made from differs."""
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

    def judged(self, variant: Variant) -> Artifact:
        """Data, both models, their export and their lists."""
        from recsys_assets.lib.evaluation import ablations
        from recsys_assets.lib.exports.exports import write_exports
        from recsys_assets.lib.retrieval import tables

        withheld = self.withheld() if variant.withheld else None
        hidden = {"withheld": withheld} if withheld else {}
        aligned = known = self.inputs["aligned"]
        if variant.without or withheld:
            inputs = {"aligned": aligned, **hidden}
            aligned = known = self.build(
                f"{variant.name}/aligned",
                inputs,
                params={"without": variant.without},
                write=lambda path: ablations.write_aligned(
                    **inputs, target=path, without=variant.without
                ),
            )
        if withheld:
            known = self.build(
                f"{variant.name}/known_items",
                {"aligned": aligned, **hidden},
                lambda path: ablations.write_known_items(aligned, withheld, path),
            )
        changed = {
            "datasets": self.datasets(variant, withheld),
            "embeddings": aligned,
            "item_inputs": known,
        }
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
        of_tower = {"two_tower": trained["two_tower"], "aligned": aligned}
        vectors = self.build(
            f"{variant.name}/item_vectors",
            of_tower,
            lambda path: tables.write_item_vectors(**of_tower, target=path),
        )
        inputs = {
            **self.inputs,
            "models": exports,
            "vectors": vectors,
            "aligned": aligned,
            **hidden,
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
) -> dg.MaterializeResult:
    """In: the generation that evaluation/offline judged. Out: both models without a part, a variant
    each, on the same queries.
    """
    from recsys_assets.lib.evaluation import ablations as lib

    variants = chosen(config.variants)
    opened = open_inputs(AblationsInputs, platform, context.partition_key)
    laboratory = Laboratory(
        context, platform, training, opened["offline"], opened["train"], config.force
    )
    found = {}
    for number, variant in enumerate(variants, 1):
        context.log.info(f"{variant.name} ({number} of {len(variants)}): {variant.text}")
        found[variant.name] = laboratory.judged(variant)
        served = found[variant.name].metrics["served"]["ndcg@10"]
        context.log.info(
            f"{variant.name}: served nDCG@10 {served['value']:.4f} ({served['low']:.4f} to "
            f"{served['high']:.4f})"
        )
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
    shown = dataclasses.replace(
        built.artifact,
        manifest={**built.artifact.manifest, "metrics": lib.headline(built.artifact.metrics)},
    )
    return reporting.result(shown, reused=built.reused)
