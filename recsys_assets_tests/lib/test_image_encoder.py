"""The small CLIP learns from drawn pairs, and any encoder survives being saved."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recsys_assets.lib import image_encoder as ie

COLOURS = {"red": (210, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 210), "yellow": (240, 210, 40)}
SHAPES = ("circle", "square")


def draw(colour: str, shape: str, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (64, 64), tuple(rng.integers(215, 255, 3).tolist()))
    x, y = (rng.integers(4, 20, 2)).tolist()
    getattr(ImageDraw.Draw(image), {"circle": "ellipse", "square": "rectangle"}[shape])(
        [x, y, x + 38, y + 38], fill=COLOURS[colour])
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


def test_it_tells_colours(trained, encoded):
    probe = ie.knn_probe(*encoded, [colour for colour, _ in KINDS])
    assert probe["majority_share"] == 0.25 and probe["knn_accuracy"] > 0.8
    accuracy = ie.retrieval_accuracy(trained[0], *encoded, TEXTS)
    assert accuracy["chance_top1"] == 1 / 8
    assert accuracy["image_to_text_top5"] >= accuracy["image_to_text_top1"] > 0.25


def test_saved_and_opened_it_answers_the_same(trained, encoded, tmp_path: Path):
    trained[0].save(tmp_path)
    opened = ie.load_image_encoder(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [ie.CONFIG_FILE, ie.WEIGHTS_FILE]
    assert opened.source == trained[0].source and opened.dim == trained[0].dim
    np.testing.assert_array_equal(ie.encode_images(opened, IMAGES)[0], encoded[0])


def test_a_folder_is_a_checkpoint_and_open_clip_opens_it(trained, encoded, tmp_path: Path):
    import open_clip

    trained[0].save(tmp_path)
    np.testing.assert_array_equal(ie.encode_images(ie.open_checkpoint(str(tmp_path)), IMAGES[:3])[0], encoded[0][:3])
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    assert model.visual.image_size == (96, 96)


def test_the_same_seed_gives_the_same_encoder(trained):
    losses = [ie.train_image_encoder(IMAGES, TEXTS, steps=2, batch=8, seed=5)[1]["loss"] for _ in range(2)]
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


def test_an_unknown_checkpoint_says_what_is_accepted():
    with pytest.raises(ValueError, match=r"'ViT-B-99/nobody' is neither a file.*ViT-B-32/openai"):
        ie.open_checkpoint("ViT-B-99/nobody")


def test_a_bare_weights_file_and_a_remote_one(trained, encoded, tmp_path: Path):
    import fsspec
    import open_clip

    trained[0].save(tmp_path)
    weights = tmp_path / ie.WEIGHTS_FILE
    (tmp_path / "small-catalogue-clip.json").write_text(json.dumps(ie.SMALL_MODEL))
    open_clip.add_model_config(tmp_path / "small-catalogue-clip.json")
    # the file holds no preprocessing: a bare file is read with open_clip's default, which crops rather than squashes
    local = ie.open_checkpoint(str(weights), "small-catalogue-clip")
    assert local.dim == trained[0].dim and local.source == str(weights)
    np.testing.assert_allclose(ie.encode_images(local, IMAGES[:2])[0], encoded[0][:2], atol=1e-5)
    with fsspec.open("memory://clip/weights.safetensors", "wb") as stream:
        stream.write(weights.read_bytes())
    remote = ie.open_checkpoint("memory://clip/weights.safetensors", "small-catalogue-clip")
    np.testing.assert_array_equal(ie.encode_images(remote, IMAGES[:2])[0], ie.encode_images(local, IMAGES[:2])[0])
    fsspec.filesystem("memory").rm("/clip", recursive=True)


def test_knn_probe_by_hand():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [0, 0]], np.float32)
    missing = np.array([False, False, False, False, True])
    # nearest of each: 1, 0, 3, 2; the labels of the second pair disagree
    probe = ie.knn_probe(vectors, missing, ["a", "a", "b", "c", "z"], k=1)
    assert probe == {"knn_accuracy": 0.5, "majority_share": 0.5}
