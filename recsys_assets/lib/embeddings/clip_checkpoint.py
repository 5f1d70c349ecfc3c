"""Open pretrained CLIP weights.

They may be a file, the folder of a saved encoder, an object in a store, or a tag of open_clip's
hub.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from recsys_assets.files import sha256_file, sha256_json
from recsys_assets.lib.embeddings.image_encoder import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ImageEncoder,
    load_image_encoder,
)
from recsys_assets.lib.embeddings.torch_setup import prepare_torch

#: Architecture of a checkpoint that is a bare weights file.
DEFAULT_ARCHITECTURE = "ViT-B-32"
_ACCEPTED = (
    "RECSYS_CLIP_CHECKPOINT takes a weights file, the folder of a saved encoder, the s3:// address "
    "of a weights file, or a hub tag such as 'ViT-B-32/openai' (open_clip.list_pretrained() lists "
    "them)"
)


class CheckpointError(ValueError):
    """Raised if the configured CLIP cannot be opened; names cause and accepted forms."""


def open_checkpoint(checkpoint: str, architecture: str = DEFAULT_ARCHITECTURE) -> ImageEncoder:
    """Open pretrained weights.

    Args:
        checkpoint: ``<architecture>/<tag>`` of open_clip's hub (needs a network), the path of a
            weights file, the folder of a saved encoder, or the ``s3://`` address of a weights file.
        architecture: of a bare weights file, as ``open_clip.list_models()`` names it. Weights that
            were trained with QuickGELU, such as OpenAI's, need the ``-quickgelu`` form; a hub tag
            does not.

    Raises:
        CheckpointError: the checkpoint is none of these, cannot be reached, or holds the weights of
            another architecture.
    """
    prepare_torch()
    import open_clip

    if Path(checkpoint).is_dir():
        try:
            return load_image_encoder(Path(checkpoint))
        except Exception as error:  # as in _create
            raise CheckpointError(
                f"{checkpoint} is no folder of a saved encoder ({_first_line(error)}); it needs "
                f"{CONFIG_FILE} and {WEIGHTS_FILE}. {_ACCEPTED}"
            ) from error
    name, _, tag = checkpoint.rpartition("/")
    if open_clip.get_pretrained_cfg(name, tag):
        return _create(open_clip, name, tag, checkpoint)
    if Path(checkpoint).is_file():
        return _create(open_clip, architecture, checkpoint, checkpoint)
    if "://" in checkpoint:
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / checkpoint.rsplit("/", 1)[-1]
            _download(checkpoint, local)
            return _create(open_clip, architecture, str(local), checkpoint)
    raise CheckpointError(f"{checkpoint!r} does not exist. {_ACCEPTED}")


def checkpoint_version(checkpoint: str) -> str:
    """Return a value that changes with the checkpoint's bytes.

    It is the digest of local files, the store's checksum of a remote file, or "hub".

    Raises:
        CheckpointError: a remote file cannot be reached.
    """
    path = Path(checkpoint)
    if path.is_dir():
        return sha256_json({p.name: sha256_file(p) for p in sorted(path.iterdir()) if p.is_file()})
    if path.is_file():
        return sha256_file(path)
    if "://" in checkpoint:
        import fsspec

        files, address = fsspec.core.url_to_fs(checkpoint)
        try:
            return str(files.checksum(address))
        except OSError as error:
            raise _unreachable(checkpoint, error) from error
    return "hub"


def _download(address: str, target: Path) -> None:
    import fsspec

    try:
        with fsspec.open(address, "rb") as source, open(target, "wb") as stream:
            shutil.copyfileobj(source, stream)
    except (OSError, ImportError, ValueError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{address} cannot be read ({type(error).__name__}: {_first_line(error)}); check the "
        f"address and the credentials. {_ACCEPTED}"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _create(open_clip: Any, architecture: str, pretrained: str, source: str) -> ImageEncoder:
    """Create the model and load its weights.

    Raises:
        CheckpointError: the architecture is unknown, or the weights do not fit it.
    """
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise CheckpointError(
            f"architecture {architecture!r} is unknown to open_clip; set `architecture` of "
            "embeddings/image_encoder to one that open_clip.list_models() lists, such as 'ViT-B-32'"
        )
    known = open_clip.get_pretrained_cfg(architecture, pretrained) or {}
    # OpenAI's weights were trained with QuickGELU; the exact GELU would give other vectors.
    quick_gelu = bool(known.get("quick_gelu", False))
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            architecture, pretrained=pretrained, force_quick_gelu=quick_gelu, weights_only=True
        )
    # Each file format's reader has its own errors; each of them gets the remedy.
    except Exception as error:
        reason = (
            "could not be fetched from the hub"
            if known
            else f"does not hold weights of architecture {architecture!r}: set `architecture` of "
            "embeddings/image_encoder to the file's own (open_clip.list_models() lists them), or "
            "give another file"
        )
        raise CheckpointError(
            f"{source} {reason} ({' '.join(str(error).split())[:300]})"
        ) from error
    if quick_gelu:
        config["quick_gelu"] = True
    return ImageEncoder(model.eval(), preprocess, config, source)
