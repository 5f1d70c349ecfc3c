"""The figure of a measure along a stream."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.figures.streams import MOST_POINTS, parts, stream_figure


def test_lines_marks_and_threshold_are_drawn() -> None:
    at = np.arange(1, 11)
    values = np.array([np.nan, 0.5, 0.6, np.nan, np.nan, 0.7, 0.8, 0.7, 0.6, 0.5])
    figure = stream_figure("AUC", {"release 1": (at, values)}, 10, [(9, "promote 2")], 0.55)
    # two parts, and the threshold
    assert figure.svg.count("<polyline") == 3
    assert "promote 2" in figure.svg and "release 1" in figure.svg
    assert figure.svg.count('x1="') > 5 and "NaN" not in figure.svg and "nan" not in figure.svg


def test_without_a_value_it_is_refused() -> None:
    nothing = {"release 1": (np.array([1]), np.array([np.nan]))}
    with pytest.raises(ValueError, match="figure 'AUC' needs finite values"):
        stream_figure("AUC", nothing, 1, [])


def test_a_long_series_is_thinned_out_with_its_ends() -> None:
    at = np.arange(1, 100_001)
    (part,) = parts(at, np.linspace(0, 1, 100_000))
    assert len(part) <= MOST_POINTS + 1 and (part[0], part[-1]) == (0, 99_999)
    assert np.diff(part[:-1]).max() == np.diff(part[:-1]).min() == 250


def test_a_gap_divides_a_long_series() -> None:
    values = np.ones(10_000)
    values[5_000:6_000] = np.nan
    first, second = parts(np.arange(10_000), values)
    assert first[-1] < 5_000 <= 6_000 <= second[0]
