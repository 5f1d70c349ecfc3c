"""Compare check and ingest on the files of every form that the bench of files has."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.bench.files.all_cases import CASES
from recsys_assets.bench.files.case import FileCase
from recsys_assets.bench.files.judge import NOW, request_of
from recsys_assets.lib.ingest_check.findings import check
from recsys_assets.lib.ingest_check.page import page
from recsys_assets.lib.landing.quarantine import quarantine_counts
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.bring import ingest
from recsys_assets.settings import Settings


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_check_says_what_the_ingest_does(case: FileCase, tmp_path: Path):
    for name, content in case.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
    landing = tmp_path / "landing"
    try:
        request = request_of(case, tmp_path)
    except IngestError:
        return  # a wrong option: recsys_assets_tests/cli/test_ingest_check.py
    found = check(landing, request, Settings(home=tmp_path, start_day=None), now=NOW)
    assert not landing.exists()
    text = page(found, "recsys ingest", "now")
    try:
        report = ingest(landing, request, now=NOW, start_day=None)
    except IngestError as error:
        assert found.refused and found.refusals[0].message == str(error)
        assert text.index("To put right first") < text.index("What to do next")
        return
    assert not found.refused and found.report is not None
    assert found.report["days"] == report["days"]
    assert found.report["items"] == report["items"] and found.report["users"] == report["users"]
    kept = {
        table: {one.reason: one.rows for one in source.rejected}
        for table, source in found.sources.items()
        if source.rejected
    }
    assert kept == quarantine_counts(landing)
    for source in found.sources.values():
        assert any(one.examples for one in source.columns)
