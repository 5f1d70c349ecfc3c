"""Say which encoder made the vectors of texts, and how well it knows the catalogue's language."""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.embeddings import token_coverage
from recsys_assets.lib.embeddings.catalogue_vectors import item_texts
from recsys_assets.lib.embeddings.text_encoder import find_text_encoder
from recsys_assets.settings import Settings

#: Metrics and parameters that name the encoder of the texts.
TEXT_ENCODER = ("text_encoder", "text_encoder_version")


def text_params(settings: Settings) -> dict[str, str]:
    """Return the parameters of the text encoder: its name, and a version of its files.

    Raises:
        TextEncoderError: the configured encoder cannot be found.
    """
    return find_text_encoder(settings.text_encoder).params


def encoder_of_texts(artifact: Artifact) -> list[tuple[str, str | None]]:
    """Return the text encoder of an artifact, as its parameters record it."""
    return [(name, artifact.manifest["params"].get(name)) for name in TEXT_ENCODER]


def coverage_of(
    frame: pl.DataFrame, encoder: str | None, *, here: bool = False
) -> token_coverage.TokenCoverage | None:
    """Return how well a text encoder knows the words of a catalogue.

    None without a word, or if its tokenizer cannot be opened.

    Args:
        frame: RAW_ITEMS.
        encoder: as RECSYS_TEXT_ENCODER names it.
        here: ask no hub, and open only a tokenizer that needs no heavy library.

    Raises:
        TextEncoderError: the encoder cannot be found.
    """
    found = find_text_encoder(encoder, network=not here)
    tokenizer = token_coverage.open_tokenizer(found.folder, light=here)
    if tokenizer is None:
        return None
    words = token_coverage.words_of([text for text in item_texts(frame) if text])
    return token_coverage.measure(words, tokenizer, english=encoder is None)


def metrics_of(found: token_coverage.TokenCoverage) -> dict[str, Any]:
    """Return the figures for the metrics of embeddings/text."""
    return {
        "words": found.words,
        "unknown_tokens": found.unknown,
        "letters_per_token": found.letters,
        "least_letters_per_token": found.least_letters,
        "known": found.known,
        "says": "; ".join(found.sentences),
    }
