"""Test releases of real small models: metadata, manifest and champion."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import faiss
import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import read_clicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.popularity import count_clicks
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.gates import gates, verdicts
from recsys_assets.lib.ladder.item_to_item import ItemToItem, Weights
from recsys_assets.lib.ladder.scorer import RungScorer
from recsys_assets.lib.landing.zone import IMAGES_FILE, ITEMS_FILE
from recsys_assets.lib.release import build, champion, releases
from recsys_assets.lib.retrieval import tables as retrieval_tables
from recsys_assets.lib.simulator import shop
from recsys_assets.orchestration import upstream
from recsys_assets.orchestration.resources import Platform
from recsys_assets.partitions import previous_day, train_days, validation_days
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support import linear_onnx, small_models, small_window

pytestmark = pytest.mark.slow

# the assets' calendar is the session's: it is fixed when they are imported
AS_OF = partitions.first_as_of(get_settings())
PLACES = 20  # one place in so many is for new items
NEXT = (date.fromisoformat(AS_OF) + timedelta(days=1)).isoformat()
#: Dismissals of each day, so that some are hidden from queries of the served check.
DISMISSALS = 150
MODELS = {"query_tower.onnx": "retrieval/two_tower", "dlrm.onnx": "ranking/dlrm"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Return a home with a simulated window."""
    return made_home(tmp_path_factory.mktemp("release"))


def made_home(folder: Path, dismissals: int = 0) -> SimpleNamespace:
    """Return a home with a simulated window; ``dismissals`` are added to each day."""
    settings = Settings(home=folder, start_day=partitions.calendar_start(get_settings()), seed=5)

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    # fewer items than recall@100 of a slice is judged for: new visitors' is about popularity's own
    # here, above it on some dates
    scale = shop.Scale("release", 300, 290, 3_000)
    small_window.write_window(settings, AS_OF, scale, dismissals=dismissals)
    overlapping = {
        day: small_window.ArtifactStore(settings.artifacts).current("features/interactions", day)
        for day in partitions.window_days(AS_OF)
    }
    store = small_window.write_window(settings, NEXT, scale, dismissals=dismissals)
    for artifact in overlapping.values():  # the later window's first day has no day before it
        store.reuse(artifact)
    landing = settings.home / "landing"
    with store.stage("raw/items") as staged:
        for name in (ITEMS_FILE, IMAGES_FILE):
            pl.read_parquet(landing / name).write_parquet(staged.path / name.split("/")[-1])
        staged.publish()
    items = pl.read_parquet(landing / ITEMS_FILE)
    with store.stage("features/popularity", AS_OF) as staged:
        count_clicks(small_window.read_log(store, train_days(AS_OF)), items).write_parquet(
            staged.path / "popularity.parquet"
        )
        staged.publish()
    rows = pl.concat(
        [
            pl.read_parquet(a.path("features.parquet"))
            for a in store.require("features/interactions", train_days(AS_OF))
        ]
    )
    return SimpleNamespace(
        settings=settings,
        store=store,
        platform=HomePlatform(),
        items=items,
        rows=rows,
        clicked=small_window.clicked_rows(store, train_days(AS_OF)),
        transforms=small_window.transforms(store, AS_OF),
    )


def run(
    home: SimpleNamespace, asset: dg.AssetsDefinition, partition: str = AS_OF, **config: object
) -> dg.ExecuteInProcessResult:
    """Materialise one asset."""
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset],
            resources={"platform": home.platform},
            partition_key=partition,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {asset.op.name: {"config": config}}} if config else None,
        )


def trained(home: SimpleNamespace, kind: small_models.Kind) -> None:
    """Publish models of the as-of day, with their vectors, index and evaluation."""
    from recsys_assets.defs.evaluation import offline, queries
    from recsys_assets.defs.features import seen_rule

    tables = small_models.train(home.rows, home.transforms, home.items, kind)
    small_models.write_generation(home.store, AS_OF, home.transforms, home.items, tables)
    days_before = home.store.require(
        "features/interactions", [previous_day(day) for day in validation_days(AS_OF)]
    )
    made = small_models.generation(home.store, AS_OF, days_before)
    small_models.publish_models(home.store, MODELS, AS_OF, tables, made, home.clicked[-64:])
    vectors, tower = (
        home.store.current("retrieval/item_vectors", AS_OF),
        home.store.current("retrieval/two_tower", AS_OF),
    )
    # the vectors of the small models are given; those of new items come from a linear tower
    with home.store.stage("retrieval/item_tower", AS_OF) as staged:
        linear_onnx.write_models(staged.path)
        of_items = staged.publish()
    made_by = {"item_vectors": vectors, "two_tower": of_items}
    with home.store.stage("retrieval/faiss_index", AS_OF, inputs=made_by) as staged:
        staged.publish(retrieval_tables.write_index(vectors, tower, staged.path))
    for asset in (seen_rule.seen_rule, queries.queries):
        run(home, asset)
    small_models.publish_plain_blends(home.store, AS_OF, len(home.items), PLACES)
    run(home, offline.offline)
    publish_popularity_rung(home)


def publish_popularity_rung(home: SimpleNamespace) -> None:
    """Publish popularity as the simple rung: linear models do not reach item-to-item."""
    asked = Queries.read(home.store.current("evaluation/queries", AS_OF))
    log = read_clicks(home.store.require("raw/interactions", train_days(AS_OF)))
    model = ItemToItem.fit(log, asked.item_ids, Weights()).popularity_only()
    lists = list_metrics.run(RungScorer.of("popularity", model, log, look_back_days=7), asked)
    rung = {"name": "popularity", "why": "tried", "next": None}
    for kind in ("ladder/simple_rung", "ladder/fusion"):
        with home.store.stage(kind, AS_OF) as staged:
            model.write(staged.path, asked.item_ids.tolist())
            np.savez(staged.path / "lists.npz", **lists.arrays("popularity"))
            staged.publish({"rung": rung, "recall": 1.0, "recall_floor": 0.999})


def materialized(done: dg.ExecuteInProcessResult) -> dg.AssetMaterialization:
    """Return the one materialisation of a run."""
    [event] = done.get_asset_materialization_events()
    return event.materialization


def released(
    home: SimpleNamespace, partition: str = AS_OF, **config: object
) -> tuple[dg.ExecuteInProcessResult, releases.Release, dict]:
    """Return the run, its release and its checks by name."""
    from recsys_assets.defs.fine_tune import daily
    from recsys_assets.defs.serving import release

    before = home.store.partitions(releases.RELEASE)
    done = run(home, release.release if partition == AS_OF else daily.release, partition, **config)
    number = materialized(done).metadata["release"].value
    assert (f"{number:06d}" in before) or home.store.partitions(releases.RELEASE)[
        -1
    ] == f"{number:06d}"
    return (
        done,
        releases.open_release(home.store, number),
        {check.check_name: check for check in done.get_asset_check_evaluations()},
    )


def parts(home: SimpleNamespace):
    """Return the inputs that the release's asset opens."""
    from recsys_assets.defs.serving import release

    return upstream.open_inputs(release.ReleaseParts, home.platform, AS_OF)


def promote(home: SimpleNamespace, release: releases.Release) -> None:
    """Write the champion file that a promotion leaves, without servers."""
    champion.champion_path(home.settings).parent.mkdir(parents=True, exist_ok=True)
    champion.champion_path(home.settings).write_text(
        json.dumps(
            {
                "release": release.number,
                "generation": release.generation,
                "digest": release.artifact.digest,
                "versions": {},
                "promoted_at": 0,
                "previous": [],
                "history": [],
            }
        )
    )


@pytest.fixture(scope="module")
def honest(home: SimpleNamespace):
    """Return run, release and checks of models that pass the gates."""
    trained(home, "honest")
    return released(home)


def test_an_honest_release_passes_with_its_verdict_in_the_manifest(
    home: SimpleNamespace, honest
) -> None:
    _, release, checks = honest
    assert release.gate["passed"] and not release.failed_checks, release.failed_checks
    assert (
        release.gate == release.artifact.metrics["gate"]
        and release.metrics["evidence"]["queries"] > 200
    )
    assert set(checks) == {"gate", *gates.GROUPS, "served_as_evaluated"}, checks
    assert all(check.passed and check.blocking for check in checks.values()), checks
    served = checks["served_as_evaluated"].metadata
    assert served["value"].value > 0.98, served["lists"].value
    sampling = release.artifact.path("models/softmax_sampling/sampling.json").read_text()
    assert json.loads(sampling)["new_item_places"] == PLACES, "or the lists had no places"
    table = checks["gate"].metadata["checks"].value
    for check in release.gate["checks"]:
        assert check["name"] in table
    # the same parts judged again are the same release; once it is the champion it is not judged
    # again, beside itself
    verdict = home.store.current("serving/verdict", AS_OF)
    assert released(home)[1].number == release.number
    promote(home, release)
    again, same, checks = released(home)
    assert (
        again.success
        and same.number == release.number
        and home.store.current("serving/verdict", AS_OF).uri == verdict.uri
    )
    assert set(checks) == {"gate", *gates.GROUPS, "served_as_evaluated"}
    # nor is it taken for what other settings would give
    other = home.settings.model_copy(update={"retrieval_weight": 1.5})
    in_force = [
        verdicts.full_release_in_force(home.store, settings, parts(home))
        for settings in (home.settings, other)
    ]
    assert in_force[0].digest == release.artifact.digest and in_force[1] is None
    with pytest.MonkeyPatch.context() as other_code:
        other_code.setattr(build.fingerprints, "digest", lambda *modules: "other code")
        assert verdicts.full_release_in_force(home.store, home.settings, parts(home)) is None


def test_a_random_release_is_built_blocked_and_says_why(home: SimpleNamespace, honest) -> None:
    promote(home, honest[1])
    trained(home, "random")
    done, release, checks = released(home)
    assert release.number != honest[1].number and not release.gate["passed"]
    blocked = {name for name, check in checks.items() if not check.passed}
    assert {"gate", "rung", "champion"} <= blocked and "latency" not in blocked
    assert not done.success and "**no**" in checks["champion"].metadata["checks"].value
    assert any(line.startswith("champion: served ndcg@10 = ") for line in release.failed_checks)
    assert releases.newest_passed(home.store, home.settings) == honest[1].number
    trained(home, "honest")


def test_a_dismissal_that_is_not_written_is_a_difference(tmp_path: Path, monkeypatch) -> None:
    """The evaluation hides dismissed items, so serving must have them."""
    from recsys_assets.operations import past_state
    from recsys_assets.operations.served_check import check_served

    home = made_home(tmp_path, DISMISSALS)
    trained(home, "honest")
    _, release, checks = released(home)
    asked = Queries.read(home.store.current("evaluation/queries", AS_OF))
    assert asked.later is not None and len(asked.later.items) > 50
    assert checks["served_as_evaluated"].passed

    class Forgetful(past_state.VisitorState):
        def apply(self, entries, now):
            return super().apply([e for e in entries if e[1].event_type != c.DISMISS], now)

    monkeypatch.setattr(past_state, "VisitorState", Forgetful)
    found = check_served(home.settings, release.number, sample=60, say=print)
    assert not found["passed"] and found["causes"]["different"] > 0, found["causes"]


def test_a_shifted_clock_is_named_with_the_query_and_both_lists(
    home: SimpleNamespace, honest, monkeypatch
) -> None:
    """The state is written for another day than today, so nothing counts as seen."""
    from recsys_assets.lib.served_check import outcome
    from recsys_assets.operations import past_state
    from recsys_assets.operations.served_check import check_served

    right = past_state.local_day
    monkeypatch.setattr(past_state, "local_day", lambda at, zone: right(at, zone) - 30)
    found = check_served(home.settings, honest[1].number, sample=60, say=print)
    causes, first = found["causes"], found["first"]
    assert not found["passed"] and causes["different"] > 5 and causes["degraded"] == 0, causes
    assert sum(causes.values()) == found["queries"] == 60
    place = first["place"] - 1
    assert first["evaluated"][:place] == first["served"][:place]
    assert first["evaluated"][place] != first["served"][place]
    # the visitor has seen what is served there
    asked = Queries.read(home.store.current("evaluation/queries", AS_OF))
    row = asked.frame["event_id"].to_list().index(first["event_id"])
    seen = set(asked.item_ids[asked.seen(np.array([row]))[0]])
    assert first["served"][place] in seen
    text = outcome.first_difference(found)
    assert first["event_id"] in text
    assert f"| {first['evaluated'][place]} | {first['served'][place]} |" in text


def test_one_changed_vector_in_a_release_is_found_and_not_promoted(
    home: SimpleNamespace, honest
) -> None:
    from recsys_assets.operations.served_check import check_served
    from recsys_assets.serving.promotion import promotion

    good = honest[1].artifact
    with home.store.stage(
        releases.RELEASE,
        "000077",
        inputs={role: home.store.open(ref) for role, ref in good.manifest["inputs"].items()},
        params=good.manifest["params"],
    ) as staged:
        shutil.copytree(good.local, staged.path, dirs_exist_ok=True)
        (staged.path / "manifest.json").unlink()
        content = json.loads((staged.path / "release.json").read_text())
        (staged.path / "release.json").unlink()  # a hard link
        (staged.path / "release.json").write_text(json.dumps({**content, "release": 77}))
        for model in ("faiss_retrieval", "filter_seen_items"):
            path = staged.path / "models" / model / "index.faiss"
            index = faiss.read_index(str(path))
            vectors = np.stack([index.reconstruct(n) for n in range(3, 3 + index.ntotal)])
            vectors[5] *= 4
            path.unlink()
            changed = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
            changed.add_with_ids(vectors, np.arange(3, 3 + len(vectors)))
            faiss.write_index(changed, str(path))
        staged.publish(good.metrics)
    found = check_served(home.settings, 77, sample=60, say=print)
    assert not found["passed"] and found["causes"]["different"] > 5
    with home.store.stage("serving/served_check", "000077") as staged:
        staged.publish({"passed": found["passed"]})
    assert releases.lists_differ(home.store, 77)
    assert releases.newest_passed(home.store, home.settings) == honest[1].number
    with pytest.raises(promotion.PromotionRefused, match="recsys check-served 77"):
        promotion.promote(home.settings, 77, log=print)
    shutil.rmtree(home.settings.home / "artifacts" / "serving" / "release" / "000077")


def test_a_check_that_cannot_run_warns_with_the_remedy(home: SimpleNamespace, honest) -> None:
    from recsys_assets.operations.served_check_step import STAGE_MODULES, outcome
    from recsys_assets.serving.stages.registry import STAGES

    other = home.settings.model_copy(update={"look_back_days": 3})
    told = outcome(other, honest[1].number)
    assert told["agreement"] is None and "RECSYS_LOOK_BACK_DAYS" in told["impossible"]
    assert "004711" in outcome(home.settings, 4_711)["impossible"]
    # a change of any stage checks releases again
    named = {module.__name__.rpartition(".")[2] for module in STAGE_MODULES}
    assert named == {module for module, _ in STAGES.values()}


def test_a_budget_in_the_launchpad(home: SimpleNamespace, honest) -> None:
    champion.champion_path(home.settings).unlink(missing_ok=True)
    done, release, checks = released(home, query_tower_ms=1e-6)
    assert {name for name, check in checks.items() if not check.passed} == {"latency"}
    measured, allowed = (
        checks["latency"].metadata[name].value["latency: query tower, ms"]
        for name in ("value", "threshold")
    )
    assert measured > allowed == 1e-6
    # a slow machine keeps no shop from its first release, and warns
    assert done.success and release.gate["passed"] and release.failed_checks == []
    assert checks["latency"].severity is dg.AssetCheckSeverity.WARN
    assert [line.split(" = ")[0] for line in release.warnings] == ["latency: query tower, ms"]
    # nor over a champion that is as slow there, with parts of its own
    trained(home, "honest")
    promote(home, honest[1])
    done, release, checks = released(home, query_tower_ms=2e-6)
    assert done.success and len(release.warnings) == 1 and not checks["latency"].passed
    evidence = release.metrics["evidence"]
    assert evidence["champion_latency_ms"]["query_tower"] > 2e-6
    champion.champion_path(home.settings).unlink()


def test_models_other_than_those_evaluated_are_not_released(home: SimpleNamespace, honest) -> None:
    small_models.write_generation(
        home.store,
        AS_OF,
        home.transforms,
        home.items,
        small_models.train(home.rows, home.transforms, home.items, "permuted"),
    )
    from recsys_assets.defs.serving import release

    done = run(home, release.release)
    assert not done.success
    failure = next(
        event for event in done.all_events if event.event_type_value == "STEP_FAILURE"
    ).step_failure_data
    assert (
        "evaluation/offline" in failure.error.cause.message
        and "materialise it again" in failure.error.cause.message
    )
    trained(home, "honest")


@pytest.mark.parametrize(("name", "value"), [("retrieval_weight", 1.5), ("retrieval_topk", 150)])
def test_lists_of_other_settings_are_not_released(
    home: SimpleNamespace, honest, name, value
) -> None:
    changed = home.settings.model_copy(update={name: value})
    with pytest.raises(
        releases.ReleaseError,
        match=f"judged lists of {name} .*, the settings say {value}; materialise it again",
    ):
        verdicts.full_inputs(home.store, changed, parts(home))


def tune(home: SimpleNamespace, base: releases.Release, kind: small_models.Kind) -> None:
    """Publish a day's fine-tune: other model weights, with the champion's items."""
    from recsys_assets.defs.fine_tune import items, sources

    features = home.store.current("features/interactions", NEXT)
    with home.store.stage(
        "fine_tune/rows",
        NEXT,
        inputs={
            "champion": base.artifact,
            "features": [home.store.current("features/interactions", AS_OF), features],
        },
        params={"seed": home.settings.seed},
    ) as staged:
        staged.publish({})
    rows = home.store.current("fine_tune/rows", NEXT)
    learnt = fine_tuning.held_out(features, home.settings.seed)
    new = pl.read_parquet(features.path("features.parquet")).filter(
        ~pl.col("event_id").is_in(learnt["event_id"].implode())
    )
    tables = small_models.train(pl.concat([home.rows, new]), home.transforms, home.items, kind)
    made = small_models.generation(
        home.store, AS_OF, home.store.require("features/interactions", [AS_OF])
    )
    small_models.publish_models(
        home.store,
        {f"{name}.onnx": f"fine_tune/{name}" for name in fine_tuning.ROLES},
        NEXT,
        tables,
        made,
        home.clicked[-64:],
        inputs={"rows": rows},
    )
    for asset in (items.items, sources.sources, sources.blend):
        assert run(home, asset, NEXT).success


def a_new_item_enters(home: SimpleNamespace, base: releases.Release) -> None:
    """The catalogue has one product more: it is in the release, whose lists are still served as
    they were evaluated.
    """
    known = home.store.current("raw/items")
    new = home.items[:1].with_columns(item_id=pl.lit("brand-new"), name=pl.lit("A new thing"))
    with home.store.stage("raw/items", params={"new": 1}) as staged:
        pl.concat([home.items, new]).write_parquet(staged.path / "items.parquet")
        images = pl.read_parquet(known.path("images.parquet"))
        images.write_parquet(staged.path / "images.parquet")
        staged.publish()
    tune(home, base, "honest")
    added = home.store.current("fine_tune/items", NEXT)
    assert added.metrics["entered"] == 1 and added.metrics["rows"] == len(home.items) + 1
    _, release, checks = released(home, NEXT)
    assert release.gate is not None and release.gate["passed"], release.failed_checks
    assert checks["served_as_evaluated"].passed
    assert release.metrics["items"] == {"entered": 1, "names": ["brand-new: A new thing"]}
    ids = json.loads(release.artifact.path("item_ids.json").read_text())
    assert ids == [*home.transforms["vocabulary"]["item_id"], "brand-new"]
    home.store.reuse(known)


def test_a_fine_tune_is_judged_beside_its_champion_on_held_out_rows(
    home: SimpleNamespace, honest
) -> None:
    base = honest[1]
    promote(home, base)
    tune(home, base, "honest")
    done, release, checks = released(home, NEXT)
    assert release.gate["passed"], release.failed_checks
    assert (
        set(checks) == {"gate", *gates.FINE_TUNE_GROUPS, "served_as_evaluated"}
        and checks["served_as_evaluated"].passed
        and release.kind == "fine_tune"
        and release.generation == base.number
    )
    evidence = release.metrics["evidence"]
    held_out = fine_tuning.held_out(
        home.store.current("features/interactions", NEXT), home.settings.seed
    )
    assert (
        evidence["ranker"]["rows"] == held_out.height < 0.35 * 3_000
        and evidence["champion"]["judged_on"] == NEXT
    )
    assert 0 < evidence["queries"] <= held_out["click"].sum()
    # the champion of this shop has no sources, so what serves stays, over the new day's clicks
    assert release.metrics["blend"]["chosen"] == "kept" and release.metrics["carried"] == []
    assert release.learnt_days["sources"] == partitions.window_days(NEXT)
    shown = materialized(done).metadata["days that it has learnt"].value
    assert f"| sources | {partitions.window_days(NEXT)[0]} to {NEXT} " in shown
    newest = pl.read_parquet(
        home.store.current("features/interactions", NEXT).path("item_popularity.parquet")
    )
    clicks = dict(newest.select("item_id", "item_clicks").iter_rows())
    snapshot = json.loads(release.artifact.path("models/feast_item_lookup/items.json").read_text())
    assert {item: row["item_clicks"] for item, row in snapshot.items()} == {
        item: clicks.get(item, 0.0) for item in snapshot
    }
    promote(home, release)
    assert released(home, NEXT)[1].number == release.number  # judged again, promoted or not

    a_new_item_enters(home, base)

    tune(home, base, "random")
    _, worse, checks = released(home, NEXT)
    assert (
        not worse.gate["passed"] and not checks["champion"].passed and not checks["ranker"].passed
    )
    assert {"champion: served ndcg@10", "champion: retrieval recall@100", "champion: auc"} <= {
        check["name"] for check in worse.gate["checks"] if not check["passed"]
    }
    # a full release as of the day before is stale by now
    trained(home, "honest")
    promote(home, release)
    _, stale, checks = released(home, force=True, drift=0.5)
    assert not checks["freshness"].passed and not stale.gate["passed"]
