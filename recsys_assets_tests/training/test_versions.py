"""Test the comparison of library versions: unsafe differences are refused, others are logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recsys_assets.files import sha256_file
from recsys_assets.training import versions
from recsys_assets.training.step import StepError
from recsys_assets_tests.support.tiny_shop import TRAIN_DAYS, Shop, StepRun, start_step

PRESENT = {
    "python": "3.11.9",
    "tensorflow-cpu": "2.12.1",
    "merlin-models": "23.12.0",
    "merlin-core": "23.8.0",
    "nvtabular": "23.8.0",
    "numpy": "1.23.5",
    "pandas": "1.5.3",
}


def write_manifest(folder: Path, kind: str, **recorded: str) -> Path:
    """Return a manifest of the present versions, with the given ones replaced (write a dash as an
    underscore).
    """
    others = {name.replace("_", "-"): version for name, version in recorded.items()}
    (folder / versions.MANIFEST).write_text(
        json.dumps({"kind": kind, "partition": "2026-03-13", "versions": {**PRESENT, **others}})
    )
    return folder


def compared(folder: Path, rule: versions.Rule, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(versions, "versions", lambda: PRESENT)
    said: list[str] = []
    versions.compare(folder, rule, said.append)
    return said


@pytest.mark.parametrize(
    ("rule", "recorded", "before", "now"),
    [
        (
            versions.CHECKPOINT,
            {"tensorflow_cpu": "2.13.0"},
            "tensorflow 2.13.0",
            "tensorflow 2.12.1",
        ),
        (
            versions.CHECKPOINT,
            {"merlin_models": "23.6.0"},
            "merlin-models 23.6.0",
            "merlin-models 23.12.0",
        ),
        (versions.WORKFLOW, {"nvtabular": "22.12.0"}, "nvtabular 22.12.0", "nvtabular 23.8.0"),
        (versions.WORKFLOW, {"python": "3.10.12"}, "python 3.10.12", "python 3.11.9"),
    ],
)
def test_what_cannot_be_relied_on_is_refused_with_both_versions_and_the_remedy(
    tmp_path, monkeypatch, rule, recorded, before, now
):
    folder = write_manifest(tmp_path, "ranking/dlrm", **recorded)
    with pytest.raises(StepError) as refused:
        compared(folder, rule, monkeypatch)
    text = str(refused.value)
    assert text.startswith(
        f"ranking/dlrm [2026-03-13] was written by {before}, this environment has {now}, "
    )
    assert rule.remedy in text and "lock file" in text


def test_other_differences_are_said(tmp_path, monkeypatch):
    folder = write_manifest(tmp_path, "features/workflows", numpy="1.24.1", pandas="2.0.0")
    for rule, text in [
        (versions.CHECKPOINT, "numpy 1.24.1, this environment has numpy 1.23.5"),
        (
            versions.WORKFLOW,
            "numpy 1.24.1, pandas 2.0.0, this environment has numpy 1.23.5, pandas 1.5.3",
        ),
    ]:
        assert compared(folder, rule, monkeypatch) == [
            f"features/workflows [2026-03-13] was written by {text}"
        ]


def test_a_patch_version_and_a_build_for_another_processor_are_the_same(tmp_path, monkeypatch):
    folder = write_manifest(
        tmp_path,
        "ranking/dlrm",
        tensorflow_cpu="2.12.0",
        merlin_models="23.12.1",
        nvtabular="22.2.0",
    )
    assert compared(folder, versions.CHECKPOINT, monkeypatch) == []
    of_gpu = {name.removesuffix("-cpu"): version for name, version in PRESENT.items()}
    (folder / versions.MANIFEST).write_text(
        json.dumps({"kind": "ranking/dlrm", "partition": None, "versions": of_gpu})
    )
    assert compared(folder, versions.CHECKPOINT, monkeypatch) == []
    (folder / versions.MANIFEST).write_text(
        json.dumps(
            {
                "kind": "ranking/dlrm",
                "partition": None,
                "versions": {**of_gpu, "tensorflow": "2.11.0"},
            }
        )
    )
    with pytest.raises(
        StepError,
        match=r"^ranking/dlrm \[all\] was written by tensorflow 2\.11\.0, .* has tensorflow "
        r"2\.12\.1",
    ):
        compared(folder, versions.CHECKPOINT, monkeypatch)


def test_without_recorded_versions_nothing_is_compared_and_that_is_said(tmp_path, monkeypatch):
    assert compared(tmp_path, versions.CHECKPOINT, monkeypatch) == [
        f"{tmp_path.name} [all]: no library versions were recorded, so they are not compared"
    ]
    (tmp_path / versions.MANIFEST).write_text(
        json.dumps({"kind": "ranking/dlrm", "partition": "2026-03-13", "versions": {}})
    )
    assert (
        "no library versions were recorded"
        in compared(tmp_path, versions.CHECKPOINT, monkeypatch)[0]
    )


# --- digests of what is unpickled -----------------------------------------------------------------
@pytest.fixture
def saved(tmp_path: Path) -> Path:
    for name in ("workflow_user/workflow.pkl", "workflow_user/categories/a.parquet", "other.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    files = {
        str(path.relative_to(tmp_path)): {"sha256": sha256_file(path), "bytes": 1}
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    (tmp_path / versions.MANIFEST).write_text(
        json.dumps({"kind": "features/workflows", "partition": "2026-03-13", "files": files})
    )
    return tmp_path


def test_a_workflow_that_equals_its_manifest_is_read(saved: Path):
    said: list[str] = []
    versions.verify(saved, "workflow_user", said.append)
    (saved / "other.json").write_text("changed")  # is not part of what is read
    versions.verify(saved, "workflow_user", said.append)
    assert said == []


def _change(folder: Path) -> None:
    (folder / "workflow.pkl").write_text("other code")


def _delete(folder: Path) -> None:
    (folder / "categories" / "a.parquet").unlink()


def _add(folder: Path) -> None:
    (folder / "extra.pkl").write_text("code")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_change, "workflow_user/workflow.pkl"),
        (_delete, "workflow_user/categories/a.parquet"),
        (_add, "workflow_user/extra.pkl"),
        (shutil.rmtree, "workflow_user/categories/a.parquet, workflow_user/workflow.pkl"),
    ],
)
def test_a_workflow_that_differs_from_its_manifest_is_refused(saved: Path, spoil, named: str):
    spoil(saved / "workflow_user")
    with pytest.raises(StepError) as refused:
        versions.verify(saved, "workflow_user", print)
    assert str(refused.value) == (
        f"features/workflows [2026-03-13]: {named} differs from the manifest (sha256); "
        "materialise features/workflows again"
    )


def test_a_folder_without_a_manifest_is_read_and_that_is_said(saved: Path):
    (saved / versions.MANIFEST).unlink()
    said: list[str] = []
    versions.verify(saved, "workflow_user", said.append)
    assert said == [f"{saved.name}: no digests were recorded, so workflow_user is read unverified"]


# --- the real steps -------------------------------------------------------------------------------
def refusal(name: str, folder: Path, inputs: dict[str, str | list[str]]) -> str:
    """Last line of a step that has to fail."""
    done = start_step(name, {"inputs": inputs, "output": str(folder / "refused")}, folder)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.training
@pytest.mark.parametrize("name", ["retrieval.fine_tune_query_tower", "ranking.fine_tune_dlrm"])
def test_a_champion_of_another_tensorflow_is_not_continued(tmp_path, shop, name):
    champion = write_manifest(tmp_path, "ranking/dlrm", **{"tensorflow_cpu": "2.9.0"})
    text = refusal(name, tmp_path, {"champion": str(champion)})
    assert (
        "ranking/dlrm [2026-03-13] was written by tensorflow 2.9.0, this environment has "
        "tensorflow 2." in text
    )


@pytest.mark.training
def test_a_workflow_of_another_nvtabular_is_not_opened(tmp_path, shop: Shop, workflows: StepRun):
    copy = tmp_path / "workflows"
    shutil.copytree(workflows.output, copy)
    inputs = {
        "workflows": str(copy),
        "train": [str(path) for path in shop.masked],
        "items": str(shop.items),
        "valid": [str(path) for path in shop.features[TRAIN_DAYS:]],
        "history": [str(path) for path in shop.features],
    }
    (copy / versions.MANIFEST).write_text(
        json.dumps(
            {
                "kind": "features/workflows",
                "partition": "2026-03-13",
                "versions": {**workflows.versions, "nvtabular": "22.12.0"},
            }
        )
    )
    assert (
        "features/workflows [2026-03-13] was written by nvtabular 22.12.0, this environment has "
        "nvtabular 2" in refusal("features.make_datasets", tmp_path, inputs)
    )
    (copy / versions.MANIFEST).write_text(
        json.dumps(
            {
                "kind": "features/workflows",
                "partition": "2026-03-13",
                "versions": {**workflows.versions, "numpy": "1.10.0"},
            }
        )
    )
    done = start_step(
        "features.make_datasets", {"inputs": inputs, "output": str(tmp_path / "made")}, tmp_path
    )
    assert (
        done.returncode == 0
        and "features/workflows [2026-03-13] was written by numpy 1.10.0, this environment"
        in done.stderr
    )
