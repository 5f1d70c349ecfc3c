"""Text and image embeddings of the catalogue, and their common 64 + 64 dimensions."""

import dagster as dg
from pydantic import Field

from recsys_assets import compute, reporting
from recsys_assets.resources import BuildConfig, Platform


class ImageEncoderConfig(BuildConfig):
    epochs: int = Field(default=24, ge=1, description="Passes over the catalogue's own image-text pairs.")
    max_steps: int = Field(default=240, ge=1, description="Optimizer steps at most: a large catalogue gets fewer passes.")
    batch_size: int = Field(default=64, ge=8, description="Image-text pairs a step; also the number of in-batch negatives.")


def _embed(context: dg.AssetExecutionContext, platform: Platform, kind: str, inputs: dict, code: str, write, force: bool,
           params: dict | None = None) -> dg.MaterializeResult:
    built = platform.build(context, kind, inputs=inputs, code=["recsys_assets.lib.embedding_tables", code], write=write,
                           params=params, force=force)
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(key=["embeddings", "text"], kinds={"sentencetransformers", "pytorch"}, op_tags=compute.op_tags("GPU_EMBED"),
          deps=[["raw", "items"]], pool="embedding")
def text(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: names and descriptions. Out: one Sentence-BERT vector (384) an item; an unchanged text is read from the cache."""
    from recsys_assets.lib import embedding_tables

    items = platform.store.current("raw/items")
    return _embed(context, platform, "embeddings/text", {"items": items}, "recsys_assets.lib.text_embeddings",
                  lambda staged: embedding_tables.write_text(items, platform.settings, staged.path, context.log.info),
                  config.force)


@dg.asset(key=["embeddings", "image_encoder"], kinds={"openclip", "pytorch"}, op_tags=compute.op_tags("GPU_EMBED"),
          deps=[["raw", "items"]], pool="embedding")
def image_encoder(context: dg.AssetExecutionContext, config: ImageEncoderConfig, platform: Platform) -> dg.MaterializeResult:
    """In: pictures and texts. Out: CLIP: the configured checkpoint, or a small one trained on the catalogue's own pairs."""
    from recsys_assets.lib import embedding_tables

    items, settings = platform.store.current("raw/items"), platform.settings
    params = {"checkpoint": settings.clip_checkpoint, "seed": settings.seed, **config.model_dump(exclude={"force"})}
    return _embed(context, platform, "embeddings/image_encoder", {"items": items}, "recsys_assets.lib.image_encoder",
                  lambda staged: embedding_tables.write_image_encoder(items, params, staged.path, context.log.info),
                  config.force, params)


@dg.asset(key=["embeddings", "image"], kinds={"openclip", "pytorch"}, op_tags=compute.op_tags("GPU_EMBED"),
          deps=[["raw", "items"], ["embeddings", "image_encoder"]], pool="embedding")
def image(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: pictures, the image encoder. Out: one L2-normalised vector an item; a missing picture is zeros, and counted."""
    from recsys_assets.lib import embedding_tables

    inputs = {"items": platform.store.current("raw/items"), "encoder": platform.store.current("embeddings/image_encoder")}
    return _embed(context, platform, "embeddings/image", inputs, "recsys_assets.lib.image_encoder",
                  lambda staged: embedding_tables.write_image(inputs["items"], inputs["encoder"], staged.path, context.log.info),
                  config.force)


@dg.asset(key=["embeddings", "items"], kinds={"numpy"}, deps=[["raw", "items"], ["embeddings", "text"], ["embeddings", "image"]])
def item_embeddings(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: both embeddings. Out: each by PCA to 64 dimensions, one row an item, with the explained variance and a map."""
    from recsys_assets.lib import embedding_tables

    inputs = {name: platform.store.current(f"embeddings/{name}") for name in ("text", "image")}
    inputs["items"] = platform.store.current("raw/items")
    return _embed(context, platform, "embeddings/items", inputs, "recsys_assets.lib.pca",
                  lambda staged: embedding_tables.write_item_embeddings(**inputs, target=staged.path), config.force)
