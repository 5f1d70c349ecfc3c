"""Measures of an encoder, by hand and on the small CLIP trained on drawn pictures."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.embeddings import encoder_quality as quality
from recsys_assets.lib.embeddings import image_encoder as ie
from recsys_assets_tests.lib.embeddings.test_image_encoder import IMAGES, KINDS, TEXTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained():
    encoder, _ = ie.train_image_encoder(IMAGES, TEXTS, steps=30, batch=16, seed=5)
    return encoder, ie.encode_images(encoder, IMAGES)[0]


def test_a_trained_clip_tells_colours(trained):
    encoder, vectors = trained
    colours = [colour for colour, _ in KINDS]
    probe = quality.knn_probe(vectors, colours)
    assert probe["majority_share"] == 0.25 and probe["knn_accuracy"] > 0.8
    linear = quality.linear_probe(vectors, colours)
    assert (
        linear["accuracy"] > 0.8
        and linear["majority_share"] == 0.25
        and (linear["labels"], linear["pictures"]) == (4, 40)
    )
    found = quality.image_to_text(encoder, vectors, TEXTS)
    assert found["chance@1"] == 1 / 8 and found["chance@10"] == 1.0 and found["pictures"] == 40
    assert found["recall@10"] == 1.0 > found["recall@1"] > 0.25


def test_an_encoder_that_has_seen_nothing_finds_no_text():
    encoder = ie.untrained_image_encoder(3)
    vectors = ie.encode_images(encoder, IMAGES)[0]
    # eight distinct texts: a picture's own is first about one time in eight
    assert quality.image_to_text(encoder, vectors, TEXTS)["recall@1"] <= 0.3


def test_noise_tells_no_label():
    noise = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    probe = quality.linear_probe(noise, ["a", "b"] * 100)
    assert 0.35 < probe["accuracy"] < 0.65


def test_rare_and_absent_labels_take_no_part():
    vectors = np.eye(20, dtype=np.float32)
    probe = quality.linear_probe(vectors, ["a"] * 8 + ["b"] * 6 + ["rare"] * 4 + [None] * 2)
    assert (probe["labels"], probe["pictures"], probe["majority_share"]) == (2, 14, 8 / 14)
    assert "not_measured" in quality.linear_probe(vectors, ["a"] * 16 + ["b"] * 4)
    assert "not_measured" in quality.linear_probe(vectors, [None] * 20)


def test_knn_probe_by_hand():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    # nearest of each: 1, 0, 3, 2; the labels of the second pair disagree
    assert quality.knn_probe(vectors, ["a", "a", "b", "c"], k=1) == {
        "knn_accuracy": 0.5,
        "majority_share": 0.5,
    }
    with pytest.raises(ValueError, match="needs at least two images; 1 exist"):
        quality.knn_probe(vectors[:1], ["a"])


def test_a_sample_is_even_and_of_what_exists():
    missing = np.zeros(100, bool)
    missing[::2] = True
    assert quality.sample_rows(missing).tolist() == list(range(1, 100, 2))
    few = quality.sample_rows(missing, 5)
    assert len(few) == 5 and not missing[few].any() and few[0] == 1 and few[-1] == 99


def test_colours_are_read_from_the_name_first():
    assert quality.named_colours(
        ["Bold RED Kettle", "Chair", "Reddish Mug", None], ["blue", "Blue inside", "", None]
    ) == ["red", "blue", None, None]
