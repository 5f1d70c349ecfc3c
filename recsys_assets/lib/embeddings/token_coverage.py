"""Measure how well the tokenizer of a text encoder knows the words of a catalogue.

Two figures, because tokenizers fail in two ways:

- *Unknown tokens*: WordPiece maps a word with a sign that its vocabulary lacks to one [UNK], so
  its meaning is lost. all-MiniLM-L6-v2 does so with 0.22 of Japanese and 0.64 of Chinese tokens.
- *Letters per token*: the same tokenizer has the Greek and the Russian alphabet, so it knows every
  token of a Greek text, and reads it letter by letter. Byte-level tokenizers never have an unknown
  token. A token of few letters carries no meaning that the encoder has learnt.

Letters per token is used, and not tokens per word (fertility), for two reasons: Japanese, Chinese
and Thai write no blanks between words; and on short samples it told English product titles with
brands (3.3 to 3.4) from German, French, Italian, Dutch and Swedish ones (2.4 to 2.8), where tokens
per word overlapped (English wines 1.96, French 1.63). A letter of a dense script (Han, kana,
Hangul) says about as much as three of an alphabet, and counts so.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = 4_000
#: With fewer words a share says nothing of the language.
LEAST_WORDS = 100
#: Most unknown tokens, as a share.
MOST_UNKNOWN = 0.05
#: Fewest letters per token: of the default encoder, which is known to be an English one, and of any
#: other, whose languages are not known. A multilingual encoder has about 2.5 on Arabic.
LEAST_LETTERS, LEAST_LETTERS_OF_ANY = 3.0, 2.0
#: Letters of an alphabet that one letter of a dense script stands for.
_DENSE_LETTERS = 3
_DENSE = re.compile(
    "[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)
#: Scripts without blanks between words: each letter is tokenized as a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")

#: Words → the token ids of each.
Tokenize = Callable[[list[str]], list[list[int]]]


@dataclass(frozen=True)
class Tokenizer:
    """Holds a tokenizer; ``unknown`` is the id of its unknown token, None if it has none."""

    tokenize: Tokenize
    unknown: int | None


@dataclass(frozen=True)
class TokenCoverage:
    """Holds the figures of a catalogue's texts.

    Attributes:
        words: of letters, in a sample of the texts.
        unknown: share of their tokens that are unknown.
        letters: letters per known token.
        least_letters: the threshold for ``letters``.
    """

    words: int
    unknown: float
    letters: float
    least_letters: float

    @property
    def known(self) -> bool:
        """Return whether the encoder knows the texts, or there are too few words to say."""
        return self.words < LEAST_WORDS or (
            self.unknown <= MOST_UNKNOWN and self.letters >= self.least_letters
        )

    @property
    def sentences(self) -> list[str]:
        """Return the figures and, where they are poor, the remedy."""
        said = [
            f"{100 * self.unknown:.1f} % of the tokens of {self.words:,} words are unknown to the "
            f"text encoder, and a token has {self.letters:.1f} letters"
        ]
        if not self.known:
            said.append(
                "the text encoder does not know the language of the catalogue, so texts tell items "
                "apart poorly (at most "
                f"{100 * MOST_UNKNOWN:.0f} % unknown tokens and at least {self.least_letters:.1f} "
                "letters per token are expected): set RECSYS_TEXT_ENCODER to a model that knows "
                "it, such as paraphrase-multilingual-MiniLM-L12-v2, or to the folder of one"
            )
        return said


def words_of(texts: Sequence[str], most: int = SAMPLE) -> Counter[str]:
    """Return the words of letters of at most ``most`` texts, evenly spaced, with their counts.

    Numbers, signs and words with digits tell nothing about the language and are left out.
    """
    rows = range(len(texts))
    if len(texts) > most:
        rows = np.linspace(0, len(texts) - 1, most).astype(int)  # type: ignore[assignment]
    found: Counter[str] = Counter()
    for row in rows:
        for word in re.findall(r"\S+", unicodedata.normalize("NFC", texts[row])):
            found.update(_parts(word))
    return found


def _parts(word: str) -> Iterable[str]:
    """Yield the runs of letters and their marks; a letter of an unspaced script is one of its own.

    >>> list(_parts("re-used,")), list(_parts("赤い")), list(_parts("256GB"))
    (['re', 'used'], ['赤', 'い'], [])
    """
    if any(sign.isdigit() for sign in word):
        return
    run = ""
    for sign in word:
        kind = unicodedata.category(sign)[0]
        if kind not in "LM" or (kind == "L" and run and _UNSPACED.match(sign)):
            if run:
                yield run
            run = sign if kind == "L" else ""
        elif kind == "L" and run and _UNSPACED.match(run[0]):
            yield run
            run = sign
        elif run or kind == "L":
            run += sign
    if run:
        yield run


def measure(words: Counter[str], tokenizer: Tokenizer, *, english: bool) -> TokenCoverage | None:
    """Return the figures of words; None without a word.

    Args:
        words: word → its count.
        tokenizer: of the encoder.
        english: whether the encoder is known to be an English one.
    """
    if not words:
        return None
    # with a blank before it, a word has the tokens that it has inside a text
    tokens = tokenizer.tokenize([f" {word}" for word in words])
    every = unknown = known_letters = 0
    for (word, count), ids in zip(words.items(), tokens, strict=True):
        lost = sum(one == tokenizer.unknown for one in ids)
        every += count * len(ids)
        unknown += count * lost
        if not lost:
            known_letters += count * _letters(word)
    least = LEAST_LETTERS if english else LEAST_LETTERS_OF_ANY
    known = every - unknown
    return TokenCoverage(
        sum(words.values()), unknown / max(every, 1), known_letters / max(known, 1), least
    )


def _letters(word: str) -> int:
    dense = len(_DENSE.findall(word))
    return sum(sign.isalpha() for sign in word) + (_DENSE_LETTERS - 1) * dense


def open_tokenizer(folder: Path, *, light: bool = False) -> Tokenizer | None:
    """Open the tokenizer of a saved model without its weights; None if it cannot be opened.

    Args:
        folder: of the model.
        light: open a tokenizer.json only, which needs no heavy library.
    """
    from tokenizers import Tokenizer as FastTokenizer

    places = [folder, *sorted(path for path in folder.glob("*_*/") if path.is_dir())]
    file = next((p for place in places if (p := place / "tokenizer.json").is_file()), None)
    if file is None:
        return None if light else _slow_tokenizer(places)
    fast = FastTokenizer.from_file(str(file))
    fast.no_padding()
    fast.no_truncation()

    def tokenize(words: list[str]) -> list[list[int]]:
        return [one.ids for one in fast.encode_batch(words, add_special_tokens=False)]

    return Tokenizer(tokenize, _unknown_of(json.loads(file.read_text("utf-8")), fast.token_to_id))


def _slow_tokenizer(places: Sequence[Path]) -> Tokenizer | None:
    """Open a tokenizer that only transformers can read."""
    place = next((p for p in places if (p / "tokenizer_config.json").is_file()), None)
    if place is None:
        return None
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    except (OSError, ValueError, ImportError):  # some need a package for their language
        return None
    return Tokenizer(
        lambda words: slow(words, add_special_tokens=False)["input_ids"], slow.unk_token_id
    )


def _unknown_of(content: dict[str, Any], id_of: Callable[[str], int | None]) -> int | None:
    model = content["model"]
    if model.get("unk_id") is not None:  # Unigram
        return int(model["unk_id"])
    unknown = model.get("unk_token")
    return None if unknown is None else id_of(unknown)
