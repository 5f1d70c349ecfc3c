"""Test the figures of real tokenizers on texts of several languages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from recsys_assets.lib.embeddings import token_coverage as module
from recsys_assets.lib.embeddings.text_encoder import find_text_encoder
from recsys_assets.lib.embeddings.token_coverage import (
    TokenCoverage,
    Tokenizer,
    measure,
    open_tokenizer,
    words_of,
)
from recsys_assets.lib.simulator import catalogue
from recsys_assets_tests.support.small_text_encoder import WORDS, save_text_encoder

ENGLISH = (
    "Anker PowerCore 20100mAh portable charger. Levi's Men's 501 Original Fit Jeans. CeraVe "
    "Moisturizing Cream with Hyaluronic Acid. Le Creuset enameled cast iron Dutch oven. Bialetti "
    "Moka Express stovetop espresso maker. Birkenstock Arizona sandals."
)


@pytest.fixture(scope="module")
def default() -> Tokenizer:
    found = open_tokenizer(find_text_encoder(None).folder)
    assert found is not None and found.unknown is not None
    return found


def figures(text: str, tokenizer: Tokenizer, english: bool = False) -> TokenCoverage:
    found = measure(words_of([text] * 20), tokenizer, english=english)
    assert found is not None
    return found


def test_english_products_are_known(default: Tokenizer):
    frame = catalogue.synthetic_catalogue(200, seed=4)
    found = measure(words_of(frame["description"].to_list()), default, english=True)
    assert found is not None and found.known and found.unknown == 0 and found.letters > 4
    brands = figures(ENGLISH, default, english=True)
    assert brands.known and brands.letters > 3.2


@pytest.mark.parametrize(
    ("language", "unknown", "letters"),
    [("de", (0, 0), (2.3, 2.9)), ("el", (0, 0), (1, 1.2)), ("ja", (0.15, 0.3), (2.5, 3.1))],
)
def test_another_language_is_not_known_to_the_default(
    default: Tokenizer, language: str, unknown, letters
):
    found = figures(WORDS[language], default, english=True)
    assert not found.known and "RECSYS_TEXT_ENCODER" in found.sentences[-1]
    assert unknown[0] <= found.unknown <= unknown[1]
    assert letters[0] <= found.letters <= letters[1]


@pytest.mark.parametrize("language", WORDS)
def test_a_vocabulary_of_the_language_is_known(language: str, tmp_path: Path):
    folder = save_text_encoder(tmp_path, [WORDS[language]] * 9)
    tokenizer = open_tokenizer(folder)
    assert tokenizer is not None
    assert figures(WORDS[language], tokenizer).known
    other = next(one for one in WORDS if one != language)
    found = figures(WORDS[other], tokenizer)
    assert not found.known and found.unknown > 0.9


def test_a_byte_level_tokenizer_has_no_unknown_token_and_few_letters(tmp_path: Path):
    tokenizer = open_tokenizer(save_text_encoder(tmp_path, ["plain words"], kind="bytes"))
    assert tokenizer is not None and tokenizer.unknown is None
    for language in ("el", "ja"):
        found = figures(WORDS[language], tokenizer)
        assert found.unknown == 0 and found.letters < 1.6 and not found.known


def test_a_tokenizer_without_a_file_of_its_own_is_opened_by_transformers(tmp_path: Path):
    folder = save_text_encoder(tmp_path, [WORDS["el"]] * 9)
    fast = open_tokenizer(folder)
    vocabulary = tmp_path / "slow"
    vocabulary.mkdir()
    (vocabulary / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (vocabulary / "config.json").write_text('{"model_type": "bert"}')
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS["el"].lower().split()]
    (vocabulary / "vocab.txt").write_text("\n".join(words))
    assert open_tokenizer(vocabulary, light=True) is None
    slow = open_tokenizer(vocabulary)
    assert slow is not None and fast is not None
    assert slow.tokenize([" xyz"]) == [[slow.unknown]]
    assert open_tokenizer(tmp_path) is None


def test_numbers_signs_and_codes_are_no_words():
    assert words_of(["5x re-used — 256GB, USB-C 🙂!"]) == Counter(
        {"re": 1, "used": 1, "USB": 1, "C": 1}
    )
    assert list(words_of(["e\u0301t\u00e9 सुनहरी"])) == ["été", "सुनहरी"]  # marks stay with letters


def test_a_large_catalogue_is_sampled_evenly(monkeypatch: pytest.MonkeyPatch):
    texts = ["first"] * 50 + ["last"] * 50
    assert words_of(texts, most=10) == Counter({"first": 5, "last": 5})


def test_few_words_tell_nothing(default: Tokenizer):
    found = measure(words_of(["Κόκκινη τσάντα"]), default, english=True)
    assert found is not None and found.known and len(found.sentences) == 1
    assert measure(words_of(["12345"]), default, english=True) is None
    assert module.LEAST_WORDS == 100
