"""Features of another look-back are refused before anything is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.look_back import LookBackDiffers, look_back_of, require_look_back


@pytest.fixture
def days(tmp_path: Path) -> list[Artifact]:
    """Two days without the setting, one day of 7 days and one of 30."""
    store = ArtifactStore(str(tmp_path))
    made = []
    for day, params in enumerate([{}, {}, {"look_back_days": 7}, {"look_back_days": 30}], start=1):
        with store.stage("features/interactions", f"2026-01-0{day}", params=params) as staged:
            (staged.path / "empty").write_text("")
            made.append(staged.publish())
    return made


def test_features_from_before_the_setting_cover_seven_days(days: list[Artifact]) -> None:
    assert [look_back_of(day.manifest["params"]) for day in days] == [7, 7, 7, 30]
    require_look_back(days[:3], 7)
    require_look_back(days[3:], 30)


def test_another_look_back_is_refused_with_the_remedy(days: list[Artifact]) -> None:
    with pytest.raises(
        LookBackDiffers,
        match=r"2026-01-04 cover 30 days of clicks, RECSYS_LOOK_BACK_DAYS is 7: .*recsys material",
    ):
        require_look_back(days, 7)
    with pytest.raises(LookBackDiffers, match=r"-01, 2026-01-02, 2026-01-03 and 1 more days cover"):
        require_look_back(days, 2)
