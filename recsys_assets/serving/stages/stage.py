"""Define a serving stage: tensors, files verified at load, and one pure ``run``.

A stage is plain numpy without Triton. So the same class runs inside a thin Triton model
(``triton_model.py``) and in one process (``pipeline.py``, ``fused_model.py``), with the same answer
to the bit. It serves B visitors at once: what belongs to a visitor is [B, …], their candidates lie
flat (``stages/candidates.py``). Each visitor's answer is the same to the bit as alone. What depends
on the size of a batch, such as a matrix product, therefore runs visitor by visitor.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from recsys_assets.files import FileCorrupt, read_json, sha256_file
from recsys_assets.lib.features.transforms import TransformsInvalid
from recsys_assets.release_files import CODE, FILES
from recsys_assets.settings import Settings

Tensors = dict[str, np.ndarray]
T = TypeVar("T")

#: Files of a version directory that ``files.json`` does not list. The empty file ``__pycache__``
#: keeps Python from writing bytecode there, because Triton reloads a version that has changed.
UNLISTED = frozenset({FILES, CODE, "__pycache__"})

#: Triton's type name → numpy dtype. A STRING tensor is an object array of ``str``.
DTYPES: Mapping[str, Any] = {
    "STRING": np.object_,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
    "UINT8": np.uint8,
}


class StageError(RuntimeError):
    """Base of every error of a stage; its message may go to a client."""


class StageInputInvalid(StageError):
    """An input tensor is absent, or has another type or shape than declared.

    The message names the tensor.
    """


#: Errors whose message may go to a client.
FIT_FOR_CLIENTS = (StageError, FileCorrupt, TransformsInvalid)


@dataclass(frozen=True)
class TensorSpec:
    """A declared tensor: Triton's type name, and its shape; -1 is a size that varies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"{self.name}: dtype {self.dtype!r} is not one of {sorted(DTYPES)}")

    def check(self, value: np.ndarray) -> None:
        """Raise StageInputInvalid unless type and shape are the declared ones."""
        fits = value.ndim == len(self.shape) and all(
            w in (-1, g) for w, g in zip(self.shape, value.shape, strict=True)
        )
        if not fits or value.dtype != DTYPES[self.dtype]:
            raise StageInputInvalid(
                f"{self.name} must be {self.dtype}{list(self.shape)}, got {value.dtype} "
                f"{list(value.shape)}"
            )


class Stage(ABC):
    """One step of an answer.

    Subclasses declare ``name``, tensors and files, and implement ``open`` and ``run``.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[TensorSpec, ...]]
    outputs: ClassVar[tuple[TensorSpec, ...]]
    files: ClassVar[tuple[str, ...]] = ()
    #: Tensors of ``explain``, which only a trace has.
    explains: ClassVar[tuple[TensorSpec, ...]] = ()

    @classmethod
    def load(cls, directory: Path, settings: Settings, version: int) -> Stage:
        """Verify the version directory's digests, then open the stage.

        Raises:
            FileCorrupt: a file is missing, not listed or changed.
        """
        verify_files(directory, cls.files)
        return cls.open(directory, settings, version)

    @classmethod
    @abstractmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> Stage:
        """Read the (already verified) files."""

    @abstractmethod
    def run(self, inputs: Tensors) -> Tensors:
        """Compute the declared outputs; optional inputs may be absent."""

    def explain(self, tensors: Tensors) -> Tensors:
        """Compute the tensors of ``explains`` from the inputs and outputs of ``run``."""
        return {}

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Return figures of the stage's own state: metric name → (help text, value)."""
        return {}

    def close(self) -> None:  # noqa: B027 - most stages hold nothing
        """Release connections; called once, when the version is unloaded."""

    @classmethod
    def check_inputs(cls, inputs: Tensors) -> None:
        """Raise StageInputInvalid naming the first tensor that is absent or wrong."""
        check_tensors(cls.name, cls.inputs, inputs)


class Begun(Protocol):
    """Reads that ``begin`` has started."""

    def drop(self) -> None:
        """Give up what ``finish`` has not taken; no effect if it took everything."""


B = TypeVar("B", bound=Begun)


class TwoPartStage(Stage, Generic[B]):
    """A stage that waits for a store: ``begin`` asks, ``finish`` reads.

    Other stages may run in between. ``run`` does both.
    """

    begins_with: ClassVar[tuple[TensorSpec, ...]]  # of ``inputs``

    @abstractmethod
    def begin(self, inputs: Tensors) -> B:
        """Start the read. Store failures do not raise.

        The caller calls ``drop`` in the end, after ``finish`` or instead of it.
        """

    @abstractmethod
    def finish(self, inputs: Tensors, begun: B) -> Tensors:
        """Compute the declared outputs; if ``begin`` had other inputs, ask again."""

    def run(self, inputs: Tensors) -> Tensors:
        """Ask and read."""
        begun = self.begin(inputs)
        try:
            return self.finish(inputs, begun)
        finally:
            begun.drop()


def check_tensors(who: str, specs: Sequence[TensorSpec], tensors: Tensors) -> None:
    """Raise StageInputInvalid for the first tensor that is absent or wrong.

    Args:
        who: needs the tensors, for the message.
        specs: the declared tensors.
        tensors: by name.
    """
    for spec in specs:
        if spec.name in tensors:
            spec.check(tensors[spec.name])
        elif not spec.optional:
            raise StageInputInvalid(f"{who} needs the tensor {spec.name}")


def verify_files(directory: Path, needed: Sequence[str]) -> None:
    """Compare every file of a version directory with ``files.json`` ({name: sha256}).

    Raises:
        FileCorrupt: naming the file, when it is missing, unlisted or changed.
    """
    listing = directory / FILES
    if not listing.is_file():
        raise FileCorrupt(f"{listing} is missing; publish the release again")
    digests = read_json(listing)
    for name in needed:
        if name not in digests:
            raise FileCorrupt(f"{listing} does not list {name}; publish the release again")
    for path in sorted(directory.iterdir()):
        if path.name not in digests and path.name not in UNLISTED:
            raise FileCorrupt(
                f"{path} is not listed in {FILES}; remove it or publish the release again"
            )
    for name, digest in digests.items():
        path = directory / name
        if not path.is_file():
            raise FileCorrupt(
                f"{path} is missing though {FILES} lists it; publish the release again"
            )
        if sha256_file(path) != digest:
            raise FileCorrupt(
                f"{path} differs from its digest in {FILES}; publish the release again"
            )


_opened: weakref.WeakValueDictionary[tuple[Any, str], Any] = weakref.WeakValueDictionary()


def shared(path: Path, read: Callable[[Path], T]) -> T:
    """Return ``read(path)``, once for all stages of a process with the same file.

    Files are the same if their bytes are. The result is kept as long as a stage holds it. Several
    stages need the same tables, and in the fused model they are all in one process.
    """
    key = (read, sha256_file(path))
    found = _opened.get(key)
    if found is None:
        found = _opened[key] = read(path)
    return found


def read_matrix(path: Path, columns: int) -> np.ndarray:
    """Map a float32 matrix [R, columns] of a .npy file into memory.

    Pickled arrays are refused (``allow_pickle=False``).

    Raises:
        FileCorrupt: it is not such a matrix; the message names the file.
    """
    try:
        matrix: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise FileCorrupt(
            f"{path} is not a plain .npy array ({error}); publish the release again"
        ) from error
    if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape[1] != columns:
        raise FileCorrupt(
            f"{path} must be float32 [rows, {columns}], got {matrix.dtype} {list(matrix.shape)}"
        )
    return matrix
