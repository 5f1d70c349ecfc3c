"""What the status table says of the release in force."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import releases
from recsys_assets.operations import local_parts
from recsys_assets.settings import Settings
from recsys_assets_tests.support import tiny_release
from recsys_assets_tests.support.bare_releases import serve


def detail(settings: Settings) -> str:
    (triton,) = (one for one in local_parts.local_services(settings) if one.name == "triton")
    return triton.detail()


def test_the_status_says_which_day_the_release_has_learnt(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert detail(settings) == "no release promoted yet"
    store = ArtifactStore(settings.artifacts)
    days = {"query_tower": ["2026-01-03"], "ranker": ["2026-01-02"], "sources": ["2026-01-04"]}
    for number, learnt in enumerate((days, None), 1):
        with store.stage(releases.RELEASE, f"{number:06d}") as staged:
            content = {**tiny_release.content(number), "learnt_days": learnt}
            (staged.path / "release.json").write_text(json.dumps(content))
            staged.publish()
    serve(settings, 1)
    assert "release 1, generation 1, learnt to 2026-01-04, rung " in detail(settings)
    serve(settings, 2)  # of an older version
    assert "release 2, generation 2, rung " in detail(settings)
    shutil.rmtree(settings.artifacts)  # what serves is a copy
    assert "release 2, generation 2, rung " in detail(settings)
