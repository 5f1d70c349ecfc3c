"""What `recsys bench prior` needs before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.prior.run import bench_prior, shipped
from recsys_assets.lib.blend import shipped_prior
from recsys_assets.settings import Settings


def test_without_kept_shops_it_says_how_to_keep_some(tmp_path):
    settings = Settings(home=tmp_path)
    with pytest.raises(BenchFailed, match=r"0 shops.*recsys bench shops --keep"):
        bench_prior(settings, tmp_path / "prior", print)
    (tmp_path / "bench" / "shops" / "hm" / "home").mkdir(parents=True)
    with pytest.raises(BenchFailed, match="no shop is called mind"):
        bench_prior(settings, tmp_path / "prior", print, only=["mind"])
    with pytest.raises(BenchFailed, match="0 shops"):
        bench_prior(settings, tmp_path / "prior", print, only=["hm"])
    assert not (tmp_path / "prior").exists()


def test_both_files_are_shipped(tmp_path: Path) -> None:
    written, package = tmp_path / "written", tmp_path / "package"
    for folder in (written, package):
        folder.mkdir()
    for name in (shipped_prior.NET, shipped_prior.FIGURES):
        (written / name).write_text(name)
    assert shipped(written, package) == package
    assert sorted(path.name for path in package.iterdir()) == ["prior.json", "prior.npy"]
