"""Pretrained CLIP weights from wherever they lie: a file, a saved encoder's folder, an object
store, open_clip's hub.
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
    "of a weights file, or a "
    "hub tag such as 'ViT-B-32/openai' (open_clip.list_pretrained() names them)"
)


class CheckpointError(ValueError):
    """The configured CLIP cannot be opened; the message says why and what is accepted."""


def open_checkpoint(checkpoint: str, architecture: str = DEFAULT_ARCHITECTURE) -> ImageEncoder:
    """Open pretrained weights.

    Args:
        checkpoint: ``<architecture>/<tag>`` of open_clip's hub (needs a network), the path of a
            weights file, the folder of a saved encoder, or the ``s3://`` address of a weights file.
        architecture: of a bare weights file, as ``open_clip.list_models()`` names it. Weights that
            were trained with QuickGELU, as OpenAI's, need its ``-quickgelu`` form; a hub tag knows
            by itself.

    Raises:
        CheckpointError: it is none of these, cannot be reached, or holds another architecture's
            weights.
    """
    prepare_torch()
    import open_clip

    if Path(checkpoint).is_dir():
        try:
            return load_image_encoder(Path(checkpoint))
        except Exception as error:  # as in _create
            raise CheckpointError(
                f"{checkpoint} is no folder of a saved encoder ({_first_line(error)}); it needs "
                f"{CONFIG_FILE} and "
                f"{WEIGHTS_FILE}. {_ACCEPTED}"
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
    """What tells that other bytes lie at the same place: a digest of local files, the store's own
    tag of a remote one.
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
        f"{address} cannot be read ({type(error).__name__}: {_first_line(error)}); look at the "
        "address and the "
        f"credentials. {_ACCEPTED}"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _create(open_clip: Any, architecture: str, pretrained: str, source: str) -> ImageEncoder:
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise CheckpointError(
            f"architecture {architecture!r} is unknown to open_clip; set `architecture` of "
            "embeddings/image_encoder "
            "to one that open_clip.list_models() names, such as 'ViT-B-32'"
        )
    known = open_clip.get_pretrained_cfg(architecture, pretrained) or {}
    # OpenAI's weights were trained with QuickGELU; with the exact one they give other vectors
    quick_gelu = bool(known.get("quick_gelu", False))
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            architecture, pretrained=pretrained, force_quick_gelu=quick_gelu, weights_only=True
        )
    # each file format's reader has errors of its own; none is swallowed, all get the remedy
    except Exception as error:
        reason = (
            "could not be fetched from the hub"
            if known
            else f"does not hold weights of architecture {architecture!r}: set `architecture` of "
            "embeddings/image_encoder to its own "
            "(open_clip.list_models() names them), or give another file"
        )
        raise CheckpointError(
            f"{source} {reason} ({' '.join(str(error).split())[:300]})"
        ) from error
    if quick_gelu:
        config["quick_gelu"] = True
    return ImageEncoder(model.eval(), preprocess, config, source)
