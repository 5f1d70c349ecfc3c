"""Pack several tensors into one, because a hop costs 50 to 90 µs per tensor.

A packed tensor is UINT8 [n]: an int64 fingerprint of the layout, the sizes that vary, then each
tensor's bytes, padded to 8. A STRING tensor is the lengths of its texts in bytes (int64), then the
texts in UTF-8.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from recsys_assets.serving.stages.stage import DTYPES, StageError, Tensors, TensorSpec

_WORD = 8


class PackedInvalid(StageError):
    """The bytes are not of this layout: cut off, or of another version of the code."""


class Layout:
    """Packs tensors of declared forms and unpacks them again, bit for bit.

    Args:
        specs: the tensors in their order; a size of -1 may vary.
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.specs = tuple(specs)
        self._varying = [sum(size == -1 for size in spec.shape) for spec in self.specs]
        self._words = 1 + sum(self._varying)
        text = ";".join(f"{spec.name}:{spec.dtype}:{spec.shape}" for spec in self.specs)
        self._fingerprint = zlib.crc32(text.encode())

    def pack(self, tensors: Tensors) -> np.ndarray:
        """Pack tensors by name, as declared → uint8 [n]."""
        header, parts = [self._fingerprint], []
        for spec in self.specs:
            values = tensors[spec.name]
            header += [
                size
                for declared, size in zip(spec.shape, values.shape, strict=True)
                if declared == -1
            ]
            data = _text_bytes(values) if spec.dtype == "STRING" else values.tobytes()
            parts.append(data)
            if len(data) % _WORD:
                parts.append(bytes(-len(data) % _WORD))
        return np.frombuffer(b"".join([np.array(header, np.int64).tobytes(), *parts]), np.uint8)

    def unpack(self, packed: np.ndarray, only: Collection[str] | None = None) -> Tensors:
        """Unpack uint8 [n] into tensors by name, all or ``only`` some.

        Numbers are views of the bytes and must not be written to.

        Raises:
            PackedInvalid: the bytes are of another layout, or cut off.
        """
        if packed.dtype != np.uint8 or packed.ndim != 1 or len(packed) < self._words * _WORD:
            raise PackedInvalid(
                f"a packed tensor must be UINT8 of at least {self._words * _WORD} bytes, got "
                f"{packed.dtype} {list(packed.shape)}"
            )
        content = packed.tobytes()
        header = np.frombuffer(content, np.int64, self._words).tolist()
        if header[0] != self._fingerprint:
            raise PackedInvalid(
                f"packed for other tensors than {', '.join(spec.name for spec in self.specs)}: the "
                "models of an answer must be of one version of the code"
            )
        sizes, at, tensors = iter(header[1:]), self._words * _WORD, {}
        try:
            for spec in self.specs:
                shape = tuple(next(sizes) if size == -1 else size for size in spec.shape)
                wanted = only is None or spec.name in only
                if spec.dtype == "STRING":
                    values, end = _texts(content, at, prod(shape), wanted)
                else:
                    kind = np.dtype(DTYPES[spec.dtype])
                    values = np.frombuffer(content, kind, prod(shape), at)
                    end = at + prod(shape) * kind.itemsize
                if wanted:
                    tensors[spec.name] = values.reshape(shape)
                at = end + -end % _WORD
        except ValueError as error:
            raise PackedInvalid(f"packed bytes end within {spec.name} ({error})") from error
        return tensors


def _text_bytes(values: np.ndarray) -> bytes:
    """Encode a STRING tensor."""
    texts = [text.encode() for text in values.reshape(-1)]
    return np.array([len(text) for text in texts], np.int64).tobytes() + b"".join(texts)


def _texts(content: bytes, at: int, count: int, wanted: bool) -> tuple[np.ndarray, int]:
    """Return the texts [count] that begin at a byte, and where they end.

    The texts are None where they are not wanted.
    """
    ends = np.cumsum(np.frombuffer(content, np.int64, count, at)) + at + count * _WORD
    starts = [at + count * _WORD, *ends.tolist()]
    if starts[-1] > len(content):
        raise ValueError("texts are cut off")
    values = np.empty(count, np.object_)
    if wanted:
        values[:] = [content[start:end].decode() for start, end in pairwise(starts)]
    return values, starts[-1]
