"""The frame of the training steps: parameters, and folders at remote addresses (fsspec's own
in-memory store).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from recsys_assets.training import step


@dataclass(frozen=True)
class Params:
    epochs: int = 2


def call(body, output: str, inputs: dict | None = None, params: dict | None = None) -> list[dict]:
    sent: list[dict] = []
    step._execute(
        body,
        Params,
        {"inputs": inputs or {}, "output": output, "params": params or {}},
        log=lambda line: None,
        send=sent.append,
    )
    return sent


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)  # a step sets its threads for the whole process
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}"  # the in-memory store is one a process


def test_a_remote_folder_comes_whole_and_a_remote_output_goes_whole(bucket: str) -> None:
    with fsspec.open(f"{bucket}/in/deep/file.txt", "w") as stream:
        stream.write("seven")

    def body(given: step.Step[Params]) -> None:
        (given.output / "sub").mkdir()
        (given.output / "sub" / "copy.txt").write_text(
            given.file("data", "deep/file.txt").read_text()
        )
        given.report(epochs=given.params.epochs, seed=given.seed)

    sent = call(body, f"{bucket}/out", {"data": f"{bucket}/in"}, {"epochs": 5, "seed": 3})
    with fsspec.open(f"{bucket}/out/sub/copy.txt", "r") as stream:
        assert stream.read() == "seven"
    (message,) = sent
    assert (message["metrics"]["epochs"], message["metrics"]["seed"]) == (5, 3)
    assert message["metrics"]["peak_memory_mb"] > 1 and "python" in message["versions"]


def test_a_failed_body_pushes_nothing_and_reports_nothing(bucket: str) -> None:
    def body(given: step.Step[Params]) -> None:
        (given.output / "half.txt").write_text("half")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        call(body, f"{bucket}/out")
    assert not fsspec.filesystem("memory").exists(f"{bucket.removeprefix('memory:/')}/out/half.txt")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'rows' is missing"),
        ({"rows": ["{tmp}", "{tmp}"]}, "must be one address, got 2"),
        ({"rows": "{tmp}"}, "train.parquet is missing; the folder holds nothing"),
    ],
)
def test_inputs_are_refused_by_name(tmp_path: Path, inputs: dict, message: str) -> None:
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    given = {
        role: empty if isinstance(value, str) else [empty] * len(value)
        for role, value in inputs.items()
    }
    with pytest.raises(step.StepError, match=message):
        call(lambda s: s.file("rows", "train.parquet"), str(tmp_path / "out"), given)


def test_an_empty_address_is_refused(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(step.StepError, match="empty or does not exist"):
        call(lambda s: None, str(tmp_path), {"rows": f"{bucket}/nothing"})


def test_order_of_several_inputs_is_kept(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / name).mkdir()
    seen: list[str] = []
    call(
        lambda s: seen.extend(p.name for p in s.inputs("days")),
        str(tmp_path / "out"),
        {"days": [str(tmp_path / "b"), str(tmp_path / "a")]},
    )
    assert seen == ["b", "a"]
