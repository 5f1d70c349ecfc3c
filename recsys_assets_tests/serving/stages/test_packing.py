"""Packed tensors: what comes out is what went in, to the bit, and bytes of another layout are
refused.
"""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.serving.stages.packing import Layout, PackedInvalid
from recsys_assets.serving.stages.pipeline import trace_layout
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.serving.stages.stage import DTYPES, TensorSpec
from recsys_assets.serving.triton.wiring import layout

MIXED = Layout(
    [
        TensorSpec("ids", "STRING", (-1,)),
        TensorSpec("cat", "INT32", (-1, 3)),
        TensorSpec("raw", "STRING", (-1, 2)),
        TensorSpec("near", "FP32", (-1,)),
        TensorSpec("release", "INT64", (1,)),
        TensorSpec("history", "FP32", (-1, -1)),
    ]
)


def random_tensors(layout: Layout, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    made = {}
    for spec in layout.specs:
        shape = tuple(int(random.integers(0, 6)) if size == -1 else size for size in spec.shape)
        if spec.dtype == "STRING":
            texts = ["", "a", "ü:\n", "x" * 70, "漢字"]
            made[spec.name] = random.choice(np.array(texts, object), shape)
        else:
            made[spec.name] = random.integers(0, 100, shape).astype(DTYPES[spec.dtype])
            if spec.dtype == "FP32" and made[spec.name].size:
                made[spec.name].flat[0] = random.choice([np.nan, -0.0, np.inf, 1e-42])
    return made


@pytest.mark.parametrize(
    "layout",
    [MIXED, trace_layout(), *(layout(name) for name in STAGES)],
    ids=["mixed", "trace", *STAGES],
)
def test_what_is_packed_comes_out_to_the_bit(layout):
    for seed in range(40):
        tensors = random_tensors(layout, seed)
        packed = layout.pack(tensors)
        assert packed.dtype == np.uint8 and packed.ndim == 1
        found = layout.unpack(packed)
        assert list(found) == [spec.name for spec in layout.specs]
        for spec in layout.specs:
            given = tensors[spec.name]
            assert (found[spec.name].dtype, found[spec.name].shape) == (given.dtype, given.shape)
            assert (
                found[spec.name].tolist() == given.tolist()
                if spec.dtype == "STRING"
                else found[spec.name].tobytes() == given.tobytes()
            )


def test_only_what_is_wanted_is_unpacked():
    tensors = random_tensors(MIXED, 3)
    found = MIXED.unpack(MIXED.pack(tensors), ["near", "raw"])
    assert set(found) == {"near", "raw"} and found["near"].tobytes() == tensors["near"].tobytes()


def test_other_layouts_and_cut_bytes_are_refused():
    packed = MIXED.pack(random_tensors(MIXED, 5))
    with pytest.raises(PackedInvalid, match="packed for other tensors than visitor_id"):
        layout("context_preprocessor").unpack(packed)
    for end in (0, 8, len(packed) // 2, len(packed) - 8):
        with pytest.raises(PackedInvalid):
            MIXED.unpack(packed[:end])
    with pytest.raises(PackedInvalid, match="must be UINT8"):
        MIXED.unpack(packed.astype(np.int32))
