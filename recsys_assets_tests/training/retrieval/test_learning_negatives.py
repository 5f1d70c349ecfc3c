"""What drawn negatives say of their own category: as the platform counts it for exposures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.features import transforms
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON

pytestmark = pytest.mark.training

#: Draws negatives in the training environment; the numbers of the rows, and what is needed to count
#: them again, come back.
DRAW = """
import sys
import numpy as np
from recsys_assets import columns as c
from recsys_assets.bench.training import shop as bench_data
from recsys_assets.training.ranking import learning as ranking_training
shop = bench_data.make(50, 40, 300, 1, 10, 3)
rows = shop.clicks.assign(**{c.TIMESTAMP: np.arange(300) * 900})
width = 3 + bench_data.CATEGORIES
history = np.random.default_rng(1).integers(0, 4, (300, 2 * width)).astype(np.uint8)
shares = np.full(40, 1 / 40)
both, _ = ranking_training.with_negatives(rows, shop.catalogue, shares, 2, 11, history)
kept, _ = ranking_training.with_negatives(rows, shop.catalogue, shares, 2, 11)
names = list(c.AFFINITY_CONTINUOUS)
np.savez(sys.argv[1], history=history, found=both[names].to_numpy(), plain=kept[names].to_numpy(), clicks=rows[names].to_numpy(),
         row=both[c.TIMESTAMP].to_numpy() // 900, category=both[c.CATEGORY_L1].to_numpy(), negative=both[c.CLICK].to_numpy() == 0)
"""


def test_a_negatives_affinity_is_that_of_its_own_category(tmp_path: Path) -> None:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    done = subprocess.run(
        [str(TRAINING_PYTHON), "-c", DRAW, str(tmp_path / "drawn.npz")],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": str(PROJECT_ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(tmp_path / "drawn.npz") as stored:
        drawn = dict(stored)
    row, category, negative = (
        drawn["row"][drawn["negative"]],
        drawn["category"][drawn["negative"]],
        drawn["negative"],
    )
    history, width = drawn["history"].astype(np.int64), drawn["history"].shape[1] // 2
    expected = transforms.affinity(
        history[row, category],
        history[row, width + category],
        history[row, :width].sum(axis=1),
        history[row, width:].sum(axis=1),
    )
    assert expected.shape == (negative.sum(), len(c.AFFINITY_CONTINUOUS)) and negative.sum() > 500
    np.testing.assert_array_equal(drawn["found"][negative], expected)
    np.testing.assert_array_equal(
        drawn["found"][~negative], drawn["clicks"]
    )  # clicks keep the log's own
    np.testing.assert_array_equal(drawn["plain"][negative], drawn["clicks"][row])
