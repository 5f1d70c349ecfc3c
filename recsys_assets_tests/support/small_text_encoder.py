"""Save small Sentence-Transformers models of a random Transformer, for tests without a hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from recsys_assets.lib.embeddings.torch_setup import prepare_torch

#: Words of three languages that the small vocabularies are trained on.
WORDS = {
    "de": "Handtasche aus rotem Leder mit goldener Schnalle, wasserdichte Wanderschuhe für Herren "
    "mit griffiger Sohle, Küchenmesser aus Edelstahl, Bohrmaschine mit zwei Akkus und Koffer",
    "el": "Κόκκινη δερμάτινη τσάντα με χρυσή αγκράφα, αδιάβροχα παπούτσια πεζοπορίας για άνδρες, "
    "μαχαίρι κουζίνας από ανοξείδωτο ατσάλι, τρυπάνι με δύο μπαταρίες και βαλίτσα",
    "ja": "金色のバックルが付いた赤い革のハンドバッグ、男性用の防水ハイキングシューズ、ステンレス製の包丁、"
    "二つの電池とケースが付いたドリル",
}


def save_text_encoder(
    folder: Path,
    texts: Sequence[str],
    *,
    width: int = 32,
    kind: Literal["wordpiece", "bytes"] = "wordpiece",
    seed: int = 1,
) -> Path:
    """Save a model with a tokenizer that is trained on the texts.

    Args:
        folder: the folder to write.
        texts: the vocabulary knows their words (wordpiece), or their bytes.
        width: of the vectors.
        kind: of the tokenizer.
        seed: of the random weights.
    """
    prepare_torch(seed)
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.trainers import WordPieceTrainer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    if kind == "bytes":
        raw = ByteLevelBPETokenizer()
        raw.train_from_iterator(texts, vocab_size=300, special_tokens=["[PAD]", "[CLS]", "[SEP]"])
        fast = Tokenizer.from_str(raw.to_str())
        del special["unk_token"]
    else:
        fast = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        fast.normalizer = normalizers.BertNormalizer(lowercase=True)
        fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = WordPieceTrainer(
            vocab_size=2_000, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        )
        fast.train_from_iterator(texts, trainer)
    base = folder / "base"
    PreTrainedTokenizerFast(tokenizer_object=fast, **special).save_pretrained(base)
    config = BertConfig(
        vocab_size=fast.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(base)
    body = Transformer(str(base), max_seq_length=64)
    model = SentenceTransformer(modules=[body, Pooling(width)], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"
