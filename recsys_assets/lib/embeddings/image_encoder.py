"""Encode pictures by open_clip, and train a small CLIP on a catalogue's pairs.

A saved encoder is a folder in open_clip's own form (``open_clip_config.json`` and
``open_clip_model.safetensors``), which
``open_clip.create_model_and_transforms("local-dir:<folder>")`` opens anywhere.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.files import sha256_json
from recsys_assets.lib.embeddings.text import EmbeddingCache
from recsys_assets.lib.embeddings.torch_setup import prepare_torch

CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "open_clip_model.safetensors"
ENCODE_BATCH = 64
#: Version of the encoding. Raise it if the same file would get another vector: cached vectors of
#: older versions are then ignored.
ENCODING = 1

#: The small CLIP: 36 patches of 16 x 16 pixels, and texts of at most 24 tokens. With short texts,
#: the text tower, which only training needs, costs less than the vision tower.
SMALL_MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 96, "patch_size": 16, "width": 128, "head_width": 32, "layers": 4},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}

#: Called with (done, total).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageEncoder:
    """Holds an open_clip model in evaluation mode, with its preprocessing."""

    model: Any
    preprocess: Any  # PIL image → float32 tensor [3, H, W]
    model_config: dict[str, Any]
    source: str

    @property
    def dim(self) -> int:
        """Return D, the width of the vectors."""
        return int(self.model_config["embed_dim"])

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and configuration."""
        from open_clip.model import get_model_preprocess_cfg
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        # safetensors refuses views and shared storage
        weights = {
            name: tensor.detach().clone().contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        save_file(weights, str(folder / WEIGHTS_FILE))
        config = {
            "model_cfg": self.model_config,
            "preprocess_cfg": get_model_preprocess_cfg(self.model),
            "source": self.source,
        }
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_image_encoder(folder: Path) -> ImageEncoder:
    """Open an encoder that ``ImageEncoder.save`` wrote.

    Raises:
        FileNotFoundError: a file is missing; names it.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; materialise embeddings/image_encoder again"
            )
    prepare_torch()
    import open_clip

    config = json.loads((folder / CONFIG_FILE).read_text())
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return ImageEncoder(model.eval(), preprocess, config["model_cfg"], config["source"])


def decode_image(content: bytes | None) -> Any | None:
    """Return a PIL image in RGB (transparency on white), or None if it is unreadable."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        return None
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def encode_images(
    encoder: ImageEncoder, images: Sequence[bytes | None], progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Embed N image files.

    Returns:
        vectors float32 [N, D], L2-normalised, zeros for a missing image.
        missing bool [N]: the image is absent or unreadable.
    """
    import torch

    vectors = np.zeros((len(images), encoder.dim), np.float32)
    missing = np.zeros(len(images), bool)
    for start in range(0, len(images), ENCODE_BATCH):
        rows, tensors = [], []
        for row in range(start, min(start + ENCODE_BATCH, len(images))):
            image = decode_image(images[row])
            if image is None:
                missing[row] = True
            else:
                rows.append(row)
                tensors.append(encoder.preprocess(image))
        if rows:
            with torch.inference_mode():
                vectors[rows] = (
                    encoder.model.encode_image(torch.stack(tensors), normalize=True).float().numpy()
                )
        if progress is not None:
            progress(min(start + ENCODE_BATCH, len(images)), len(images))
    return vectors, missing


def encoder_digest(weights: str, config: str) -> str:
    """Return the digest of everything a vector depends on, except the picture.

    Args:
        weights: SHA-256 of WEIGHTS_FILE.
        config: SHA-256 of CONFIG_FILE.
    """
    return sha256_json([ENCODING, weights, config])


def encode_cached(
    folder: Path,
    digest: str,
    images: Sequence[bytes | None],
    cache: Path,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Embed N image files, and encode only pictures that the cache lacks.

    Args:
        folder: of the saved encoder.
        digest: of the encoder (``encoder_digest``); the cache's key is this digest and the SHA-256
            of a picture's bytes.
        images: N files.
        cache: folder of all picture caches.
        progress: called after each batch.

    Returns:
        vectors float32 [N, D], missing bool [N] (see ``encode_images``), and the number of pictures
        that were encoded.
    """
    encoder = load_image_encoder(folder)
    present = [row for row, image in enumerate(images) if image]
    found, computed = EmbeddingCache(cache, f"open_clip {digest}").get_or_compute(
        [image for image in images if image], lambda new: encode_images(encoder, new, progress)[0]
    )
    vectors = np.zeros((len(images), encoder.dim), np.float32)
    if present:
        vectors[present] = found
    # A readable picture's vector has length 1, so a vector of zeros is a missing picture.
    return vectors, np.logical_not(vectors.any(axis=1)), computed


def _small_encoder() -> ImageEncoder:
    import open_clip
    from open_clip.model import set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    size = SMALL_MODEL["vision_cfg"]["image_size"]
    preprocess_config = PreprocessCfg(size=size, resize_mode="squash")
    model = open_clip.CLIP(**SMALL_MODEL)
    set_model_preprocess_cfg(model, asdict(preprocess_config))
    preprocess = image_transform_v2(preprocess_config, is_train=False)
    return ImageEncoder(
        model, preprocess, SMALL_MODEL, "trained on the catalogue's own image-text pairs"
    )


def untrained_image_encoder(seed: int = 7) -> ImageEncoder:
    """Return the small CLIP with random weights, for a catalogue without pictures."""
    prepare_torch(seed)
    encoder = _small_encoder()
    encoder.model.eval()
    return encoder


def train_image_encoder(
    images: Sequence[bytes | None],
    texts: Sequence[str],
    *,
    steps: int = 250,
    batch: int = 64,
    learning_rate: float = 7e-4,
    seed: int = 7,
    progress: Progress | None = None,
) -> tuple[ImageEncoder, dict[str, Any]]:
    """Train a small CLIP on the catalogue's own image-text pairs.

    The loss is the symmetric InfoNCE of Radford et al. 2021. Items that share a text are positives
    of each other: the target is uniform over them. The number of steps is fixed, so that the time
    does not depend on the size of the catalogue.

    Args:
        images: N files; unreadable ones are left out.
        texts: N short texts with the important words first, because 24 tokens are read.
        steps: number of optimizer steps.
        batch: pairs per step.
        learning_rate: the highest learning rate.
        seed: random seed.
        progress: called after each step.

    Returns:
        The encoder, and {"steps", "pairs", "loss_first", "loss_last", "loss": [mean of each
        twentieth of the steps]}.

    Raises:
        ValueError: fewer than two images are readable, or the lengths differ.
    """
    torch = prepare_torch(seed)

    if len(images) != len(texts):
        raise ValueError(f"{len(images)} images and {len(texts)} texts: give one text per image")
    encoder = _small_encoder()
    pixels, tokens, same = _training_pairs(encoder, images, texts)
    model = encoder.model.train()
    optimizer, schedule = _optimizer(model, steps, learning_rate)
    losses: list[float] = []
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < min(batch, len(same)):
            order = torch.randperm(len(same))
        rows, order = order[:batch], order[batch:]
        image_features = model.encode_image(pixels[rows].float(), normalize=True)
        text_features = model.encode_text(tokens[rows], normalize=True)
        logits = model.logit_scale.exp() * image_features @ text_features.T
        target = (same[rows][:, None] == same[rows][None, :]).float()
        target /= target.sum(dim=1, keepdim=True)
        cross_entropy = torch.nn.functional.cross_entropy
        loss = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():  # as in the paper: a temperature below 1/100 is unstable
            model.logit_scale.clamp_(0.0, math.log(100))
        losses.append(loss.item())
        if progress is not None:
            progress(step + 1, steps)
    window = max(1, steps // 20)
    curve = [round(float(np.mean(losses[i : i + window])), 4) for i in range(0, steps, window)]
    model.eval()
    return encoder, {
        "steps": steps,
        "pairs": len(same),
        "loss_first": curve[0],
        "loss_last": curve[-1],
        "loss": curve,
    }


def _training_pairs(
    encoder: ImageEncoder, images: Sequence[bytes | None], texts: Sequence[str]
) -> tuple[Any, Any, Any]:
    """Return the readable image-text pairs as tensors.

    Returns:
        Pixels float16 [P, 3, H, W], tokens [P, 24], and text numbers [P], equal for equal texts.

    Raises:
        ValueError: fewer than two images are readable.
    """
    import open_clip
    import torch

    decoded = [
        (row, image) for row, image in enumerate(map(decode_image, images)) if image is not None
    ]
    if len(decoded) < 2:
        raise ValueError(
            f"only {len(decoded)} of {len(images)} images are readable; contrastive training needs "
            "two. Check the catalogue's image folder or set RECSYS_CLIP_CHECKPOINT"
        )
    # In half precision, the prepared pixels of a large catalogue fit into memory.
    pixels = torch.stack([encoder.preprocess(image).half() for _, image in decoded])
    kept = [texts[row] for row, _ in decoded]
    tokens = open_clip.SimpleTokenizer(context_length=SMALL_MODEL["text_cfg"]["context_length"])(
        kept
    )
    return pixels, tokens, torch.tensor(np.unique(kept, return_inverse=True)[1])


def _optimizer(model: Any, steps: int, learning_rate: float) -> tuple[Any, Any]:
    """Return AdamW, without weight decay on vectors, and its schedule.

    The learning rate rises over a tenth of the steps, then follows a cosine to 0.
    """
    import torch

    matrices = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=True,
    )
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        ),
    )
    return optimizer, schedule
