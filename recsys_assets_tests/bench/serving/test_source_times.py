"""The time and size of each source, of a folder with sources and of one without."""

from __future__ import annotations

import numpy as np

from recsys_assets.bench.serving import report
from recsys_assets.bench.serving.source_times import TOGETHER, source_times
from recsys_assets.source_names import FOLLOW_UPS, IALS
from recsys_assets_tests.support import tiny_payload

CLICKS = [([3, 7], [1.0, 2.0]), ([], [])]


def test_each_source_has_its_time_and_the_size_of_its_files(tmp_path):
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    tiny_payload.write_sources(tmp_path, by_sources=True)
    found = source_times(tmp_path, CLICKS, rounds=2, seed=1)
    assert list(found) == [*(source.name for source in tiny_payload.sources()), TOGETHER]
    assert all(one["p50_ms"] > 0 for one in found.values())
    after = sum(path.stat().st_size for path in tmp_path.glob("follow_ups.*.npy")) / 2**20
    assert found[FOLLOW_UPS]["mib"] == round(after, 2)


def test_a_release_without_sources_has_none(tmp_path):
    tiny_payload.write_sources(tmp_path, by_sources=False)
    assert source_times(tmp_path, CLICKS, rounds=1, seed=1) == {}


def test_the_table_leaves_a_cell_empty_where_a_source_is_not_served():
    one = {"p50_ms": 0.0421, "mib": 1234.5}
    rows = report.source_rows(
        {"sources": {IALS: one, TOGETHER: one}, "million_items": {"sources": {TOGETHER: one}}}
    )
    assert rows == [
        (IALS, "0.042", "1,234.5", "", ""),
        (TOGETHER, "0.042", "1,234.5", "0.042", "1,234.5"),
    ]
    assert report.source_rows({"sources": {IALS: one}}) == [(IALS, "0.042", "1,234.5", "", "")]
