"""Define the assets of text and image embeddings, and of their PCAs."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets.artifacts import Artifact, Staged
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs

LANGUAGE = {
    "language": "The text encoder knows the words of the catalogue: few of its tokens are unknown, "
    "and a token has several letters. Warns otherwise: set RECSYS_TEXT_ENCODER to a model of the "
    "catalogue's language."
}
#: The raw/items that ``embeddings/training_catalogue`` chose.
TRAINING_CATALOGUE = Upstream("embeddings/training_catalogue", recorded="items")


class TrainingCatalogueConfig(BuildConfig):
    """Config of ``embeddings/training_catalogue``."""

    refit_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of new or changed products since the last fit. Above it, image encoder "
        "and PCAs are fitted again on the current catalogue. `force` fits them at once.",
    )


class ImageEncoderConfig(BuildConfig):
    """Config of ``embeddings/image_encoder``."""

    architecture: str = Field(
        default="ViT-B-32",
        description="open_clip's name of the architecture in RECSYS_CLIP_CHECKPOINT, if that is a "
        "bare weights file. OpenAI's own file is ViT-B-32-quickgelu.",
    )
    epochs: int = Field(
        default=24,
        ge=1,
        description="Passes over the catalogue's image-text pairs, if no checkpoint is configured.",
    )
    max_steps: int = Field(
        default=240,
        ge=1,
        description="Maximum number of optimizer steps; a large catalogue gets fewer passes.",
    )
    batch_size: int = Field(
        default=64,
        ge=8,
        description="Image-text pairs per step; also the number of in-batch negatives.",
    )


class CatalogueInputs(TypedDict):
    """Inputs of ``embeddings/text`` and ``embeddings/training_catalogue``."""

    items: Annotated[Artifact, Upstream("raw/items")]


class EncoderInputs(TypedDict):
    """Inputs of ``embeddings/image_encoder``."""

    items: Annotated[Artifact, TRAINING_CATALOGUE]


class ImageInputs(TypedDict):
    """Inputs of ``embeddings/image``."""

    items: Annotated[Artifact, Upstream("raw/items")]
    encoder: Annotated[Artifact, Upstream("embeddings/image_encoder")]


class PcaInputs(TypedDict):
    """Inputs of ``embeddings/pca``."""

    items: Annotated[Artifact, TRAINING_CATALOGUE]
    encoder: Annotated[Artifact, Upstream("embeddings/image_encoder")]


class ItemEmbeddingsInputs(TypedDict):
    """Inputs of ``embeddings/items``."""

    items: Annotated[Artifact, Upstream("raw/items")]
    text: Annotated[Artifact, Upstream("embeddings/text")]
    image: Annotated[Artifact, Upstream("embeddings/image")]
    fitted: Annotated[Artifact, Upstream("embeddings/pca")]


def _embed(
    context: dg.AssetExecutionContext,
    platform: Platform,
    kind: str,
    inputs: Mapping[str, Any],
    write: Callable[[Staged], Mapping[str, Any]],
    force: bool,
    params: Mapping[str, Any] | None = None,
) -> reporting.Materialized:
    built = platform.build(context, kind, inputs=inputs, write=write, params=params, force=force)
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=["embeddings", "text"],
    kinds={"sentencetransformers", "pytorch"},
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(CatalogueInputs),
    pool="embedding",
    check_specs=reporting.check_specs(["embeddings", "text"], LANGUAGE, blocking=False),
)
def text(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Embeds the texts of the catalogue with a Sentence-Transformers model.

    Reads names and descriptions of the items. Writes one vector per item, of the encoder's width
    (RECSYS_TEXT_ENCODER; 384 by default). Vectors of unchanged texts come from the cache.
    """
    from recsys_assets.lib.embeddings import language, tables

    inputs = open_inputs(CatalogueInputs, platform)
    built = platform.build(
        context,
        "embeddings/text",
        inputs=inputs,
        write=lambda staged: tables.write_text(
            inputs["items"], platform.settings, staged.path, context.log.info
        ),
        params=language.text_params(platform.settings),
        force=config.force,
    )
    checks = [_language(built.artifact)]
    return reporting.result(built.artifact, reused=built.reused, checks=checks)


def _language(text: Artifact) -> dg.AssetCheckResult:
    """Return the check ``language`` of embeddings/text."""
    from recsys_assets.lib.embeddings import token_coverage as coverage

    found = text.metrics.get("language")
    return reporting.check(
        "language",
        found is None or found["known"],
        value="no text was measured"
        if found is None
        else {name: found[name] for name in ("unknown_tokens", "letters_per_token", "words")},
        threshold={
            "unknown_tokens": coverage.MOST_UNKNOWN,
            "letters_per_token": None if found is None else found["least_letters_per_token"],
            "words": coverage.LEAST_WORDS,
        },
        blocking=False,
        says="" if found is None else found["says"],
    )


@dg.asset(
    key=["embeddings", "training_catalogue"],
    kinds={"polars"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    deps=dependencies(CatalogueInputs),
)
def training_catalogue(
    context: dg.AssetExecutionContext, config: TrainingCatalogueConfig, platform: Platform
) -> reporting.Materialized:
    """Chooses the catalogue on which image encoder and PCAs are fitted.

    Reads the current catalogue. Records the chosen one: it stays the same until too many products
    are new or changed.
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
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(EncoderInputs),
    pool="embedding",
)
def image_encoder(
    context: dg.AssetExecutionContext, config: ImageEncoderConfig, platform: Platform
) -> reporting.Materialized:
    """Provides the CLIP model that embeds images.

    Reads images and texts of the training catalogue. Writes the configured checkpoint. If none is
    configured, it trains a small CLIP on these image-text pairs.
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
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(ImageInputs),
    pool="embedding",
)
def image(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Embeds the images of the catalogue with the image encoder.

    Reads the items' images and the encoder. Writes one L2-normalised vector per item. Vectors of
    known images come from the cache. A missing image gives zeros and is counted.
    """
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


# text and image run first so that their caches are warm: the PCA reads vectors from these caches
@dg.asset(
    key=["embeddings", "pca"],
    kinds={"numpy"},
    op_tags=compute.step_tags("CPU_LARGE"),
    pool="embedding",
    deps=dependencies(PcaInputs, "embeddings/text", "embeddings/image"),
)
def fitted_pca(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Fits the PCAs that project text and image embeddings to 64 dimensions each.

    Reads the embeddings of the training catalogue. Writes one PCA for texts and one for images, and
    plots of the explained variance.
    """
    from recsys_assets.lib.embeddings import language, tables

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
        language.text_params(platform.settings),
    )


@dg.asset(
    key=["embeddings", "items"],
    kinds={"numpy"},
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(ItemEmbeddingsInputs),
)
def item_embeddings(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Projects text and image embeddings to 64 dimensions each.

    Reads both embeddings and the PCAs. Writes one row per item in each of the two tables, and a map
    of the catalogue for each.
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
