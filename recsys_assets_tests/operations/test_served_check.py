"""What a check hides in its own home."""

from __future__ import annotations

import json
from pathlib import Path

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release.releases import RELEASE, read_release
from recsys_assets.operations.served_check import left
from recsys_assets_tests.support import tiny_release
from recsys_assets_tests.support.small_queries import queries


def test_items_that_the_catalogue_no_longer_has_are_hidden(tmp_path: Path):
    with ArtifactStore(tmp_path).stage(RELEASE, "000001") as staged:
        (staged.path / "item_ids.json").write_text(json.dumps(["a", "left", "b"]))
        (staged.path / "release.json").write_text(json.dumps(tiny_release.content(1)))
        release = read_release(staged.publish())
    # the catalogue has a new item, which is none of the release's
    assert left(release, queries([0], 3, item_ids=["b", "new", "a"])) == ["left"]
