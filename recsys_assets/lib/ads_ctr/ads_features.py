"""Draw the features of simulated ads, with sizes and empty fields as in Criteo's log of 2014."""

from __future__ import annotations

import numpy as np

from recsys_assets.ads_columns import CATEGORIES, INTEGERS

#: Distinct values of each category in Criteo's challenge of 2014, in its order of columns.
SIZES = (
    *(1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593),
    *(3_194, 27, 14_992, 5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572),
)
#: Share of empty fields, in the order of the columns, rounded from the same log.
MISSING_INTEGERS = (0.45, 0.0, 0.21, 0.22, 0.03, 0.22, 0.04, 0.0, 0.04, 0.45, 0.04, 0.77, 0.22)
MISSING_CATEGORIES = (
    *(0.0, 0.0, 0.03, 0.03, 0.0, 0.12, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03, 0.0),
    *(0.0, 0.0, 0.03, 0.0, 0.0, 0.44, 0.44, 0.03, 0.76, 0.0, 0.03, 0.44, 0.44),
)
#: Most values of a category; the public log has ten million of one.
LARGEST_VOCABULARY = 100_000
_LOG_MEAN = np.linspace(0.5, 4.0, len(INTEGERS))  # of the counts
_LOG_DEVIATION = 1.2


def features(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw features.

    Returns:
        counts float64 [N, 13], NaN where empty; and numbers of values int64 [N, 26], -1 where
        empty. Value n of a category is about as frequent as 1 / (n + 1).
    """
    drawn = generator.normal(_LOG_MEAN, _LOG_DEVIATION, (rows, len(INTEGERS)))
    counts = np.floor(np.exp(drawn))
    counts[generator.random(counts.shape) < MISSING_INTEGERS] = np.nan
    sizes = np.minimum(SIZES, LARGEST_VOCABULARY)
    # log-uniform: P(n) is proportional to log((n + 2) / (n + 1))
    share = generator.random((rows, len(CATEGORIES)))
    values = (np.exp(share * np.log(sizes + 1.0)) - 1).astype(np.int64)
    np.minimum(values, sizes - 1, out=values)
    values[generator.random(values.shape) < MISSING_CATEGORIES] = -1
    return counts, values
