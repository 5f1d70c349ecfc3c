"""Text and image embeddings of the catalogue, and their common 64 + 64 dimensions."""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs

TRAINING_CATALOGUE = Upstream(
    "embeddings/training_catalogue", recorded="items"
)  # the raw/items that it chose


class TrainingCatalogueConfig(BuildConfig):
    refit_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of products that are new or changed since the last fit, "
        "above which image encoder and PCAs are fitted anew, on today's catalogue; `force` does so "
        "at once.",
    )


class ImageEncoderConfig(BuildConfig):
    architecture: str = Field(
        default="ViT-B-32",
        description="open_clip's name of the architecture that RECSYS_CLIP_CHECKPOINT holds, "
        "where it is a bare weights file; OpenAI's own file is ViT-B-32-quickgelu.",
    )
    epochs: int = Field(
        default=24,
        ge=1,
        description="Passes over the catalogue's own image-text pairs (no checkpoint configured).",
    )
    max_steps: int = Field(
        default=240,
        ge=1,
        description="Optimizer steps at most: a large catalogue gets fewer passes.",
    )
    batch_size: int = Field(
        default=64,
        ge=8,
        description="Image-text pairs a step; also the number of in-batch negatives.",
    )


class CatalogueInputs(TypedDict):
    items: Annotated[Artifact, Upstream("raw/items")]


class EncoderInputs(TypedDict):
    items: Annotated[Artifact, TRAINING_CATALOGUE]


class ImageInputs(TypedDict):
    items: Annotated[Artifact, Upstream("raw/items")]
    encoder: Annotated[Artifact, Upstream("embeddings/image_encoder")]


class PcaInputs(TypedDict):
    items: Annotated[Artifact, TRAINING_CATALOGUE]
    encoder: Annotated[Artifact, Upstream("embeddings/image_encoder")]


class ItemEmbeddingsInputs(TypedDict):
    items: Annotated[Artifact, Upstream("raw/items")]
    text: Annotated[Artifact, Upstream("embeddings/text")]
    image: Annotated[Artifact, Upstream("embeddings/image")]
    fitted: Annotated[Artifact, Upstream("embeddings/pca")]


def _embed(
    context: dg.AssetExecutionContext,
    platform: Platform,
    kind: str,
    inputs: Mapping[str, Any],
    write,
    force: bool,
    params: dict | None = None,
) -> dg.MaterializeResult:
    built = platform.build(context, kind, inputs=inputs, write=write, params=params, force=force)
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=["embeddings", "text"],
    kinds={"sentencetransformers", "pytorch"},
    op_tags=compute.op_tags("GPU_EMBED"),
    deps=dependencies(CatalogueInputs),
    pool="embedding",
)
def text(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: names and descriptions. Out: one Sentence-BERT vector (384) an item; an unchanged text is
    read from the cache.
    """
    from recsys_assets.lib.embeddings import tables

    inputs = open_inputs(CatalogueInputs, platform)
    return _embed(
        context,
        platform,
        "embeddings/text",
        inputs,
        lambda staged: tables.write_text(
            inputs["items"], platform.settings, staged.path, context.log.info
        ),
        config.force,
    )


@dg.asset(
    key=["embeddings", "training_catalogue"], kinds={"polars"}, deps=dependencies(CatalogueInputs)
)
def training_catalogue(
    context: dg.AssetExecutionContext, config: TrainingCatalogueConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: the catalogue. Out: the one that image encoder and PCAs are fitted on: kept until too
    many products are new.
    """
    from recsys_assets.lib.embeddings import training_catalogue as catalogue

    chosen = catalogue.choose(
        platform.store,
        open_inputs(CatalogueInputs, platform)["items"],
        config.refit_share,
        config.force,
    )
    built = platform.build(
        context,
        catalogue.KIND,
        inputs={"items": chosen.items},
        write=lambda staged: catalogue.write(chosen.items, staged.path),
    )
    return reporting.result(
        built.artifact,
        reused=built.reused,
        extra={
            "new products": chosen.new,
            "share of new products": chosen.share,
            "refit share": config.refit_share,
            "reason": chosen.reason,
        },
    )


@dg.asset(
    key=["embeddings", "image_encoder"],
    kinds={"openclip", "pytorch"},
    op_tags=compute.op_tags("GPU_EMBED"),
    deps=dependencies(EncoderInputs),
    pool="embedding",
)
def image_encoder(
    context: dg.AssetExecutionContext, config: ImageEncoderConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: pictures and texts of the training catalogue. Out: CLIP: the configured checkpoint, or a
    small one trained on them.
    """
    from recsys_assets.lib.embeddings import tables

    inputs, settings = open_inputs(EncoderInputs, platform), platform.settings
    params = tables.encoder_params(
        settings, config.architecture, config.model_dump(exclude={"force", "architecture"})
    )
    return _embed(
        context,
        platform,
        "embeddings/image_encoder",
        inputs,
        lambda staged: tables.write_image_encoder(
            inputs["items"], params, settings, staged.path, context.log.info
        ),
        config.force,
        params,
    )


@dg.asset(
    key=["embeddings", "image"],
    kinds={"openclip", "pytorch"},
    op_tags=compute.op_tags("GPU_EMBED"),
    deps=dependencies(ImageInputs),
    pool="embedding",
)
def image(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: pictures, the image encoder. Out: one L2-normalised vector an item, from the cache where
    the picture is known; a missing picture is zeros, and counted."""
    from recsys_assets.lib.embeddings import tables

    inputs = open_inputs(ImageInputs, platform)
    return _embed(
        context,
        platform,
        "embeddings/image",
        inputs,
        lambda staged: tables.write_image(
            **inputs, settings=platform.settings, target=staged.path, log=context.log.info
        ),
        config.force,
    )


# text and image come first only so that their caches are warm: the PCA reads the training
# catalogue's vectors there
@dg.asset(
    key=["embeddings", "pca"],
    kinds={"numpy"},
    pool="embedding",
    deps=dependencies(PcaInputs, "embeddings/text", "embeddings/image"),
)
def fitted_pca(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: vectors of the training catalogue. Out: the PCA of texts and of pictures to 64 each, with
    the explained variance.
    """
    from recsys_assets.lib.embeddings import tables

    inputs = open_inputs(PcaInputs, platform)
    return _embed(
        context,
        platform,
        "embeddings/pca",
        inputs,
        lambda staged: tables.write_pca(
            **inputs, settings=platform.settings, target=staged.path, log=context.log.info
        ),
        config.force,
    )


@dg.asset(key=["embeddings", "items"], kinds={"numpy"}, deps=dependencies(ItemEmbeddingsInputs))
def item_embeddings(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: both embeddings, the PCAs. Out: each projected to 64 dimensions, one row an item, with a
    map of the catalogue.
    """
    from recsys_assets.lib.embeddings import tables

    inputs = open_inputs(ItemEmbeddingsInputs, platform)
    return _embed(
        context,
        platform,
        "embeddings/items",
        inputs,
        lambda staged: tables.write_item_embeddings(**inputs, target=staged.path),
        config.force,
    )
