"""Declare every tensor of the ads ranker once; N ads per request. Imports no stage's libraries."""

from __future__ import annotations

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.serving.stages.stage import TensorSpec

COUNTS = TensorSpec("counts", "FP64", (-1, len(INTEGERS)))  # NaN: empty
CATEGORY_VALUES = TensorSpec("categories", "STRING", (-1, len(CATEGORIES)))  # "": empty
CAT = TensorSpec("cat", "INT32", (-1, len(CATEGORIES)))
CONT = TensorSpec("cont", "FP32", (-1, len(INTEGERS)))
SCORE = TensorSpec("score", "FP32", (-1,))  # click probability
RELEASE = TensorSpec("ads_release", "INT64", (1,))  # number of the release
