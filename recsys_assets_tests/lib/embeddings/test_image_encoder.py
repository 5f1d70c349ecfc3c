"""Test that the small CLIP learns from drawn pairs, and that saved encoders are equal."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recsys_assets.lib.embeddings import image_encoder as ie

pytestmark = pytest.mark.slow

COLOURS = {
    "red": (210, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 60, 210),
    "yellow": (240, 210, 40),
}
SHAPES = ("circle", "square")


def draw(colour: str, shape: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (64, 64), tuple(rng.integers(215, 255, 3).tolist()))
    x, y = (rng.integers(4, 20, 2)).tolist()
    getattr(ImageDraw.Draw(image), {"circle": "ellipse", "square": "rectangle"}[shape])(
        [x, y, x + 38, y + 38], fill=COLOURS[colour]
    )
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES] * 5  # 40 images
IMAGES = [draw(colour, shape, seed) for seed, (colour, shape) in enumerate(KINDS)]
TEXTS = [f"{colour} {shape}" for colour, shape in KINDS]


@pytest.fixture(scope="module")
def trained():
    return ie.train_image_encoder(IMAGES, TEXTS, steps=30, batch=16, seed=5)


@pytest.fixture(scope="module")
def encoded(trained):
    return ie.encode_images(trained[0], IMAGES)


def test_the_loss_falls(trained):
    report = trained[1]
    assert report["pairs"] == 40 and report["steps"] == 30 and len(report["loss"]) == 30
    assert report["loss_last"] < report["loss_first"] * 0.8


def test_vectors_are_normalised(encoded):
    vectors, missing = encoded
    assert vectors.shape == (40, ie.SMALL_MODEL["embed_dim"]) and vectors.dtype == np.float32
    assert not missing.any()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_saved_and_opened_it_answers_the_same(trained, encoded, tmp_path: Path):
    trained[0].save(tmp_path)
    opened = ie.load_image_encoder(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [ie.CONFIG_FILE, ie.WEIGHTS_FILE]
    assert opened.source == trained[0].source and opened.dim == trained[0].dim
    np.testing.assert_array_equal(ie.encode_images(opened, IMAGES)[0], encoded[0])


def test_the_same_seed_gives_the_same_encoder(trained):
    losses = [
        ie.train_image_encoder(IMAGES, TEXTS, steps=2, batch=8, seed=5)[1]["loss"] for _ in range(2)
    ]
    other = ie.train_image_encoder(IMAGES, TEXTS, steps=2, batch=8, seed=6)[1]["loss"]
    assert losses[0] == losses[1] != other


def test_missing_and_unreadable_images_are_zeros_and_counted(trained, encoded):
    broken = IMAGES[0][: len(IMAGES[0]) // 2]
    vectors, missing = ie.encode_images(trained[0], [IMAGES[0], None, b"", b"no image", broken])
    assert missing.tolist() == [False, True, True, True, True]
    assert not vectors[1:].any()
    np.testing.assert_allclose(vectors[0], encoded[0][0], atol=1e-5)


def test_transparency_is_white():
    stream = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(stream, "PNG")
    assert ie.decode_image(stream.getvalue()).getpixel((0, 0)) == (255, 255, 255)


def test_training_takes_no_part_of_missing_images():
    with pytest.raises(ValueError, match="only 1 of 3 images are readable"):
        ie.train_image_encoder([IMAGES[0], None, b"x"], ["a", "b", "c"], steps=1)
    with pytest.raises(ValueError, match="2 images and 1 texts"):
        ie.train_image_encoder(IMAGES[:2], ["a"], steps=1)


class Counted:
    """Encode as usual, and count the pictures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.pictures, encode = [], ie.encode_images

        def counting(encoder, images, progress=None):
            self.pictures.append(len(images))
            return encode(encoder, images, progress)

        monkeypatch.setattr(ie, "encode_images", counting)


def test_a_known_picture_is_not_encoded_again(trained, encoded, tmp_path: Path, monkeypatch):
    trained[0].save(tmp_path / "encoder")
    counted = Counted(monkeypatch)
    first, missing, computed = ie.encode_cached(
        tmp_path / "encoder", "a", [IMAGES[0], None, b"no image", IMAGES[0]], tmp_path / "cache"
    )
    assert (
        missing.tolist() == [False, True, True, False] and computed == 2 and counted.pictures == [2]
    )  # one known twice, one broken
    np.testing.assert_allclose(first[[0, 3]], encoded[0][[0, 0]], atol=1e-5)
    again, missing, computed = ie.encode_cached(
        tmp_path / "encoder", "a", [IMAGES[1], b"no image", IMAGES[0]], tmp_path / "cache"
    )
    assert missing.tolist() == [False, True, False] and computed == 1 and counted.pictures == [2, 1]
    np.testing.assert_array_equal(again[2], first[0])
    # another encoder, or another version of the encoding, gets no cached vector
    assert ie.encode_cached(tmp_path / "encoder", "b", [IMAGES[0]], tmp_path / "cache")[2] == 1
    assert ie.encoder_digest("w", "c") != ie.encoder_digest("w", "d") != ie.encoder_digest("v", "d")
    vectors, missing, computed = ie.encode_cached(
        tmp_path / "encoder", "a", [None, b""], tmp_path / "cache"
    )
    assert vectors.shape == (2, trained[0].dim) and missing.all() and computed == 0
