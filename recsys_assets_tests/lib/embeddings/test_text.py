"""The real sentence encoder, and the cache around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_assets.lib.embeddings.text import TEXT_DIM, EmbeddingCache, embed_texts, item_text

TEXTS = [
    "A red leather handbag with a gold buckle",
    "Crimson leather purse, golden clasp",
    "Cordless electric drill with two batteries and a long, sturdy carrying case for the workshop",
    "Power drill for home improvement",
    "",
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return embed_texts(TEXTS)


def test_shape_and_length(vectors):
    assert vectors.shape == (len(TEXTS), TEXT_DIM) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_like_meanings_are_near(vectors):
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.6 and similarity[2, 3] > 0.5
    assert similarity[0, 1] > similarity[0, 2] + 0.4
    assert similarity[2, 3] > similarity[1, 3] + 0.3


def test_golden_value_of_all_minilm_l6_v2(vectors):
    # published for this model: https://sbert.net, "The weather is lovely today." against "It's so
    # sunny outside!"
    pair = embed_texts(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    similarity = pair @ pair.T
    assert similarity[0, 1] == pytest.approx(0.6660, abs=1e-3)
    assert similarity[0, 2] == pytest.approx(0.1046, abs=1e-3)


def test_order_does_not_matter(vectors):
    # sorting by length must not hand a vector to another text
    np.testing.assert_allclose(embed_texts(TEXTS[::-1])[::-1], vectors, atol=1e-5)


def test_progress_ends_at_the_total():
    seen: list[tuple[int, int]] = []
    embed_texts(TEXTS[:2], lambda done, total: seen.append((done, total)))
    assert seen == [(2, 2)]


def test_no_texts():
    assert embed_texts([]).shape == (0, TEXT_DIM)


def test_item_text_takes_what_there_is():
    whole = item_text("Blue Mug", "Holds tea.", "housewares", "coffee_mug")
    assert whole == "Blue Mug. Holds tea. coffee mug, housewares"
    assert item_text("Blue Mug", None, "housewares", "") == "Blue Mug. housewares"
    assert item_text(None, " ", None, None) == ""


class Counting:
    """Returns each text's length as its vector, and records the texts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(t), 1.0] for t in texts], np.float32)


def test_cache_computes_only_what_is_new(tmp_path: Path):
    compute = Counting()
    first, n_first = EmbeddingCache(tmp_path).get_or_compute(["a", "bb", "a"], compute)
    again, n_again = EmbeddingCache(tmp_path).get_or_compute(["bb", "ccc", "a"], compute)
    assert (n_first, n_again) == (2, 1)
    assert compute.asked == ["a", "bb", "ccc"]
    assert first.tolist() == [[1, 1], [2, 1], [1, 1]] and again.tolist() == [[2, 1], [3, 1], [1, 1]]


def test_cache_keeps_models_apart(tmp_path: Path):
    compute = Counting()
    EmbeddingCache(tmp_path, "one").get_or_compute(["a"], compute)
    _, computed = EmbeddingCache(tmp_path, "two").get_or_compute(["a"], compute)
    assert computed == 1


def test_cache_takes_bytes_and_nothing(tmp_path: Path):
    cache = EmbeddingCache(tmp_path)
    vectors, computed = cache.get_or_compute(
        [b"\x00\xff", b""], lambda new: np.ones((len(new), 3), np.float32)
    )
    assert vectors.shape == (2, 3) and computed == 2
    assert cache.get_or_compute([], Counting())[1] == 0


def test_cache_names_the_file_that_is_broken(tmp_path: Path):
    cache = EmbeddingCache(tmp_path)
    cache.get_or_compute(["a"], Counting())
    (segment,) = cache.folder.glob("*.npz")
    segment.write_bytes(segment.read_bytes()[:50])
    with pytest.raises(ValueError, match=f"{segment.name}.*delete it"):
        cache.get_or_compute(["a"], Counting())


def test_cache_refuses_a_wrong_number_of_vectors(tmp_path: Path):
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 2 contents"):
        EmbeddingCache(tmp_path).get_or_compute(
            ["a", "b"], lambda new: np.zeros((1, 2), np.float32)
        )
    assert not list(EmbeddingCache(tmp_path).folder.glob("*"))
