"""Test the run of shops: where each ends, what is written, what is left behind.

The commands are the real ones; no model is trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.shops import run
from recsys_assets.bench.shops.shop import Shop, ShopSkipped, Written
from recsys_assets.bench.shops.terminal import StepFailed, Terminal, default_port, free_offset
from recsys_assets.cli import bench
from recsys_assets.operations import processes, services
from recsys_assets.settings import LOCAL_PORTS, Settings, get_settings

ANSWER = {"degraded": False, "reasons": [], "items": [{"item_id": "a"}, {"item_id": "b"}]}


def bad_log(folder: Path, downloads: Path, draw: int) -> Written:
    (folder / "log.csv").write_text("who,what,at\n1,a,never\n")
    return Written(1, frozenset("a"), "1")


def skipped(folder: Path, downloads: Path, draw: int) -> Written:
    raise ShopSkipped(f"no files in {downloads.name}")


COLUMNS = ("--map", "user_id=who", "--map", "item_id=what", "--map", "timestamp=at")
BAD = Shop("bad", "times that nobody reads", bad_log, ("log.csv", *COLUMNS))
AWAY = Shop("away", "files that are not here", skipped, ("log.csv",))


def lines(said: list[str]) -> str:
    return "\n".join(said)


def settings(home: Path) -> Settings:
    return Settings().model_copy(update={"home": home})


def test_a_shop_that_fails_names_its_step_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SHOPS", (BAD, AWAY))
    monkeypatch.setenv("RECSYS_START_DAY", "2020-01-01")  # of the home that measures, not of a shop
    said: list[str] = []
    report = run.bench_shops(settings(tmp_path), said.append)
    assert report == json.loads((tmp_path / "bench" / "shops.json").read_text())
    bad, away = report["shops"]["bad"], report["shops"]["away"]
    assert bad["ended"] == "ingest" and "timestamp cannot be read: 1" in bad["why"]
    assert bad["rows"] == 1 and bad["seconds"] > 0 and set(bad["steps"]) == {"ingest", "down"}
    assert (bad["rung"], bad["served_ndcg@10"], bad["popularity_ndcg@10"]) == (None, None, None)
    assert (bad["best_baseline"], bad["best_baseline_ndcg@10"], bad["baselines"]) == (
        None,
        None,
        {},
    )
    assert away["ended"] == "skipped" and away["why"] == "no files in cache"
    assert report["served"] == 0.0  # of one shop: the skipped one does not count
    assert "recsys ingest log.csv --map user_id=who" in lines(said)
    assert not list((tmp_path / "bench" / "shops").iterdir())


def test_what_is_kept_is_replaced_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SHOPS", (BAD, AWAY))
    run.bench_shops(settings(tmp_path), lambda line: None, only=["bad"], keep=True)
    folder = tmp_path / "bench" / "shops" / "bad"
    assert (folder / "files" / "log.csv").exists() and (folder / "ingest.log").exists()
    (folder / "stale").touch()
    report = run.bench_shops(settings(tmp_path), lambda line: None, only=["bad"], keep=True)
    assert set(report["shops"]) == {"bad"} and not (folder / "stale").exists()


def test_an_interrupt_ends_the_parts_of_the_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[psutil.Process] = []

    class Interrupted(Terminal):
        """A terminal that is interrupted while a part of the shop runs."""

        def recsys(self, arguments: Sequence[str]) -> str:
            if arguments[0] != "ingest":
                return super().recsys(arguments)
            own = settings(self.home).model_copy(
                update={"valkey_port": default_port("valkey_port") + self.offset}
            )
            services.up(own, only=["valkey"], progress=lambda line: None)
            record = processes.read_record(self.home / "run", "valkey")
            process = None if record is None else record.process()
            assert process is not None
            started.append(process)
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "Terminal", Interrupted)
    monkeypatch.setattr(run, "SHOPS", (BAD,))
    with pytest.raises(KeyboardInterrupt):
        run.bench_shops(settings(tmp_path), lambda line: None)
    started[0].wait(0)  # it has ended
    assert not list((tmp_path / "bench" / "shops").iterdir())


def test_the_command_ends_with_1_where_a_shop_was_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SHOPS", (BAD, AWAY))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    get_settings.cache_clear()
    done = CliRunner().invoke(bench.app, ["shops"], env={"COLUMNS": "200"})
    only = CliRunner().invoke(bench.app, ["shops", "--only", "away"], env={"COLUMNS": "200"})
    get_settings.cache_clear()
    assert done.exit_code == 1 and "times that nobody reads" in done.output
    assert only.exit_code == 0 and "skipped" in only.output


def test_every_draw_of_a_shop_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SHOPS", (BAD, AWAY))
    report = run.bench_shops(settings(tmp_path), lambda line: None, ["bad"], draws=(2, 5))
    assert report["draws"].keys() == {2, 5}
    assert report["draws"][2]["bad"]["ended"] == "ingest"
    assert report["pooled"] == {} and report["served"] == 0.0
    assert report["ratio_geometric_mean"] is None


def test_every_seed_of_a_shop_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SHOPS", (BAD, AWAY))
    opened: list[str | None] = []

    class Noted(run.Terminal):
        def recsys(self, arguments: Sequence[str]) -> str:
            if arguments[0] == "ingest":
                opened.append(self._environment().get("RECSYS_SEED"))
            return super().recsys(arguments)

    monkeypatch.setattr(run, "Terminal", Noted)
    run.bench_shops(settings(tmp_path), lambda line: None, ["bad"])
    report = run.bench_shops(settings(tmp_path), lambda line: None, ["bad"], seeds=(3, 5))
    assert opened == [None, "3", "5"]
    assert report["ratio_of_seed"] == {"3": None, "5": None} and report["seeds"] == {}
    with pytest.raises(BenchFailed, match="several draws or several seeds"):
        run.bench_shops(settings(tmp_path), lambda line: None, draws=(0, 1), seeds=(3, 5))


def test_an_unknown_shop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="no shop is called corner; there are clicks_only, tiny"):
        run.bench_shops(settings(tmp_path), lambda line: None, only=["tiny", "corner"])
    assert not list(tmp_path.iterdir())


def test_a_failed_command_shows_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    terminal = Terminal(tmp_path / "home", tmp_path / "files", 0)
    with pytest.raises(StepFailed, match=r"(?s)`recsys ingest gone.csv`: code 1.*no such file"):
        terminal.recsys(["ingest", "gone.csv"])
    assert set(terminal.seconds) == {"ingest"}


def test_no_gateway_is_a_failed_step(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, tmp_path, free_offset())
    with pytest.raises(StepFailed, match="/recommend for 'me'") as failed:
        terminal.recommend("me")
    assert failed.value.step == "recommend"


def test_the_offset_leaves_every_port_free() -> None:
    offset = free_offset()
    assert not any(
        processes.answers("127.0.0.1", default_port(name) + offset) for name in LOCAL_PORTS
    )


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"degraded": True, "reasons": ["ranking_unavailable"]}, "degraded: ranking_unavailable"),
        ({"items": []}, "no items"),
        ({"items": [{"item_id": "a"}, {"item_id": "c"}]}, "lacks: c"),
    ],
)
def test_answers_are_judged(changed: dict, fault: str | None) -> None:
    found = run.answer_fault({**ANSWER, **changed}, frozenset("ab"))
    assert found is None if fault is None else found is not None and fault in found


def test_the_report_of_ingest_names_the_next_command() -> None:
    assert run.materialize_command("calendar: …\nno event yet\n") == ["materialize"]
    report = "left out: …\nnext: recsys materialize --as-of 2020-01-12\n"
    assert run.materialize_command(report) == ["materialize", "--as-of", "2020-01-12"]


def test_the_table_names_the_best_baseline() -> None:
    shop = {"form": "clicks", "rows": 1_200, "rung": "full", "ended": "served", "seconds": 9.4}
    figures = {"served_ndcg@10": 0.25, "popularity_ndcg@10": 0.1, "best_baseline_ndcg@10": 0.2}
    [row] = run.table_rows({"shops": {"a": {**shop, **figures, "best_baseline": "ease"}}})
    assert row == ("a", "clicks", "1,200", "full", "9", "0.2500\n0.1000 popular\n0.2000 EASE")
    figures = dict.fromkeys([*figures, "best_baseline"])
    [row] = run.table_rows({"shops": {"a": {**shop, **figures}}})
    assert row[-1] == ""


def test_the_mean_ratio_is_geometric_and_leaves_out_shops_without_figures() -> None:
    def shop(served: float | None, best: float | None) -> dict[str, float | None]:
        return {"served_ndcg@10": served, "best_baseline_ndcg@10": best}

    shops = {"a": shop(0.2, 0.1), "b": shop(0.1, 0.2), "c": shop(0.4, 0.1), "d": shop(None, 0.1)}
    assert run.mean_ratio(shops) == pytest.approx((2 * 0.5 * 4) ** (1 / 3))
    assert run.mean_ratio({"d": shop(None, None)}) is None
