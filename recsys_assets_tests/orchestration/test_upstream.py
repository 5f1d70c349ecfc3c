"""Test that an asset's dependencies are what it opens.

Each asset runs on a store of empty artifacts that records the opened ones.
"""

import ast
import json
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, NoReturn, TypedDict

import dagster as dg
import pytest

from recsys_assets import fingerprints, partitions
from recsys_assets.artifacts import Artifact, ArtifactMissing, ArtifactStore
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.release import assembly, champion, releases
from recsys_assets.lib.release.rung import OLDER
from recsys_assets.orchestration import upstream
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import Platform
from recsys_assets.orchestration.upstream import SAME, Upstream
from recsys_assets.partitions import Window
from recsys_assets.settings import PROJECT_ROOT, Settings, get_settings
from recsys_assets.source_names import SOURCE_NAMES

# the assets' calendar is the session's: it is fixed when they are imported
AS_OF = partitions.first_as_of(get_settings())
DAY = (date.fromisoformat(AS_OF) + timedelta(days=1)).isoformat()
#: Assets that come first though nothing of theirs is opened from the store: they fill a cache, or
#: Feast's registry.
ONLY_BEFORE = {
    ("embeddings/pca", "embeddings/text"),
    ("embeddings/pca", "embeddings/image"),
    ("feature_store/online", "feature_store/definitions"),
}
#: Opens what a person chose among the releases of both kinds, by promotion.
PROMOTES = "serving/champion", "ads_ctr/champion"
#: The release in force, which fine-tuning and the gates read: as a dependency it would close a
#: circle.
IN_FORCE = releases.RELEASE


class Noting(ArtifactStore):
    """Records each artifact that is opened as the current version."""

    opened: set[tuple[str, str | None]]

    def require(self, kind: str, partitions: Sequence[str | None]) -> list[Artifact]:
        """Open the current versions and record them."""
        self.opened |= {(kind, partition) for partition in partitions}
        return super().require(kind, partitions)


class Reached(Exception):
    """Ends the run of an asset when it begins to build."""


@pytest.fixture(scope="module")
def graph():
    """Return the asset graph."""
    from recsys_assets.definitions import defs

    return defs().resolve_asset_graph()


@pytest.fixture(scope="module")
def assets() -> dict[str, dg.AssetsDefinition]:
    """Return the assets by key."""
    from recsys_assets.definitions import defs

    return {
        asset.key.to_user_string(): asset
        for asset in defs().assets or []
        if isinstance(asset, dg.AssetsDefinition)
    }


@pytest.fixture(scope="module")
def paper(
    graph, assets: dict[str, dg.AssetsDefinition], tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """Return a store with empty artifacts of the calendar's first weeks.

    Their manifests hold the inputs that assets follow.
    """
    settings = Settings(
        home=tmp_path_factory.mktemp("paper"), start_day=partitions.calendar_start(get_settings())
    )
    store = Noting(settings.artifacts)
    store.opened = set()
    days = partitions.days_between(partitions.calendar_start(settings), date.fromisoformat(DAY))

    def publish(kind: str, partition: str | None, **inputs: object) -> Artifact:
        with store.stage(kind, partition, inputs=inputs) as staged:
            (staged.path / "empty").write_text("")
            return staged.publish()

    for kind in ("raw/users", "raw/items"):
        publish(kind, None)
    items = store.current("raw/items")
    for kind in ("training_catalogue", "text", "image_encoder", "image", "pca", "items"):
        publish(f"embeddings/{kind}", None, items=items)
    daily = "raw/interactions", "features/interactions", "features/masked_train", "ads_ctr/logs"
    for kind in daily:
        for day in days:
            publish(kind, day)
    made: dict[str, Artifact] = {}
    for kind in (
        "features/workflows",
        "features/datasets",
        "features/popularity",
        "features/seen_rule",
        "embeddings/aligned",
        "retrieval/two_tower",
        "ranking/dlrm",
        "retrieval/item_vectors",
        "retrieval/faiss_index",
        "exports/onnx",
        "evaluation/queries",
        *(f"sources/{name}" for name in SOURCE_NAMES),
        "evaluation/blend",
        "evaluation/oracle",
        "evaluation/baselines",
        "evaluation/offline",
        "evaluation/ablations",
        "evaluation/report",
        "ladder/simple_rung",
        "ladder/fusion",
        "ladder/simple_models",
    ):
        recorded: dict[str, object] = {}
        if kind == "retrieval/item_vectors":
            recorded["two_tower"] = made["retrieval/two_tower"]
        if kind == "features/workflows":
            trained = partitions.train_days(AS_OF)
            recorded["train"] = [store.current("features/interactions", day) for day in trained]
        made[kind] = publish(kind, AS_OF, **recorded)
    with store.stage(
        releases.RELEASE,
        "000001",
        inputs={
            "query_tower": made["retrieval/two_tower"],
            "ranker": made["ranking/dlrm"],
            "workflows": made["features/workflows"],
            "aligned": made["embeddings/aligned"],
        },
    ) as staged:
        assembly.dump_release(
            staged.path,
            1,
            releases.CODE_VERSION,
            {"kind": "full", "day": AS_OF, "gate": None, "rung": OLDER},
            {},
            {},
            generation=1,
            known_user=None,
            look_back_days=7,
            text_encoder=None,
            versions={},
            learnt_days=None,
        )
        release = staged.publish()
    champion.champion_path(settings).parent.mkdir(parents=True)
    champion.champion_path(settings).write_text(
        json.dumps(
            {
                "release": 1,
                "generation": 1,
                "digest": release.digest,
                "versions": {},
                "promoted_at": 0,
                "previous": [],
                "history": [],
            }
        )
    )
    for kind in (
        "monitor/served",
        "ads_ctr/workflow",
        "ads_ctr/datasets",
        "ads_ctr/dcn",
        "ads_ctr/evaluation",
    ):
        publish(kind, DAY)
    fed = publish("ads_ctr/feedback_rows", DAY, base=release, dcn=store.current("ads_ctr/dcn", DAY))
    publish("ads_ctr/tuned_dcn", DAY, rows=fed)
    rows = publish(
        "fine_tune/rows",
        DAY,
        champion=release,
        features=[store.current("features/interactions", DAY)],
    )
    for name in fine_tuning.ROLES:
        publish(f"fine_tune/{name}", DAY, rows=rows)
    tuned = {name: store.current(f"fine_tune/{name}", DAY) for name in fine_tuning.ROLES}
    tuned["added_items"] = publish("fine_tune/items", DAY, rows=rows)
    tuned["sources"] = publish(
        "fine_tune/sources", DAY, rows=rows, added_items=tuned["added_items"]
    )
    publish("fine_tune/blend", DAY, rows=rows, **tuned)

    class PaperPlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

        @property
        def store(self) -> ArtifactStore:
            return store

        def build(self, *args: object, **kwargs: object) -> NoReturn:
            raise Reached

    class PaperTraining(TrainingClient):
        def build(self, *args: object, **kwargs: object) -> NoReturn:
            raise Reached

    return SimpleNamespace(
        store=store,
        settings=settings,
        resources={"platform": PaperPlatform(), "training": PaperTraining()},
    )


def partition_of(asset: dg.AssetsDefinition) -> str | None:
    """Return the first as-of day; for daily assets, the day after it."""
    if asset.partitions_def is None:
        return None
    return AS_OF if asset.partitions_def == partitions.as_of() else DAY


def opened_by(
    paper: SimpleNamespace, asset: dg.AssetsDefinition
) -> tuple[set[tuple[str, str | None]], str]:
    """Return the artifacts that an asset opens before it builds, and the end of its run."""
    paper.store.opened.clear()
    resources = {
        name: value
        for name, value in paper.resources.items()
        if name in asset.required_resource_keys
    }
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [asset],
            resources=resources,
            partition_key=partition_of(asset),
            instance=instance,
            raise_on_error=False,
        )
    errors = [event.step_failure_data.error for event in done.all_events if event.is_step_failure]
    return set(paper.store.opened), " ".join(str(error.cause or error) for error in errors)


def declared_of(graph, asset: dg.AssetsDefinition) -> set[tuple[str, str | None]]:
    """Return the artifacts of an asset's dependencies, by their partition mappings."""
    partition, found = partition_of(asset), set()
    for parent in graph.get(asset.key).parent_keys:
        kind = parent.to_user_string()
        upstream_days = graph.get(parent).partitions_def
        if (asset.key.to_user_string(), kind) in ONLY_BEFORE:
            continue
        if upstream_days is None:
            found.add((kind, None))
        elif partition is None:  # all that there are
            found.add((kind, AS_OF))
        else:
            mapping = graph.get_partition_mapping(asset.key, parent)
            mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
                asset.partitions_def.subset_with_partition_keys([partition]),
                asset.partitions_def,
                upstream_days,
            )
            found |= {(kind, day) for day in mapped.partitions_subset.get_partition_keys()}
    return found


def names() -> Iterator[str]:
    """Yield the names of all assets."""
    from recsys_assets.definitions import defs

    yield from sorted(
        asset.key.to_user_string()
        for asset in defs().assets or []
        if isinstance(asset, dg.AssetsDefinition)
    )


@pytest.mark.parametrize("name", [name for name in names() if name not in PROMOTES])
def test_what_is_opened_is_what_is_declared(
    paper: SimpleNamespace, graph, assets: dict[str, dg.AssetsDefinition], name: str
) -> None:
    asset = assets[name]
    opened, why = opened_by(paper, asset)
    opened = {(kind, partition) for kind, partition in opened if kind not in (name, IN_FORCE)}
    declared = declared_of(graph, asset)
    if name.startswith(("fine_tune/", "monitor/")):  # days are chosen out of the window
        chosen = {kind for kind, _ in declared if kind.startswith(("features/", "monitor/"))}
        if name == "fine_tune/rows":  # the log of the same days
            chosen.add("raw/interactions")
        assert opened <= declared, why
        assert {kind for kind, _ in opened} == {kind for kind, _ in declared}, why
        opened, declared = (
            {pair for pair in pairs if pair[0] not in chosen} for pairs in (opened, declared)
        )
    assert opened == declared, why


def test_the_release_declares_what_it_packs_and_nothing_else(graph) -> None:
    parents = {
        key.to_user_string() for key in graph.get(dg.AssetKey(["serving", "release"])).parent_keys
    }
    assert {"retrieval/two_tower", "ranking/dlrm", "retrieval/faiss_index", "raw/items"} <= parents
    assert not any(parent.startswith("feature_store/") for parent in parents)


# --- nothing else opens ---------------------------------------------------------------------------
#: Functions below the assets that ask the store for what is in force, and why they may.
MAY_OPEN = {
    "raw.raw_tables.new_categories": "the catalogue's own version before",
    "raw.volume._exposures": "the asset's own earlier days",
    "raw.volume.was_published": "the day's own version before",
    "features.daily_checks.around_the_day": "figures for the UI, of as many earlier days as "
    "there are",
    "embeddings.training_catalogue.choose": "the asset's own version before",
    "release.releases.open_release": "the release in force, and a release by its number",
    "drift.served_releases.releases_of": "the releases that answered on a day",
    "drift.alarms.read_alarm": "what the sensor judges",
    **dict.fromkeys(
        (f"served_check.subject.{name}" for name in ("_queries", "_days", "_between")),
        "the days of a release's own evaluation; no asset, its result is kept by the release",
    ),
}
IN_DEFS = {
    "raw.interactions._one_day": "the day's own version before, for its arrivals",
    "ads_ctr.logs._one_day": "its own earlier days, for the drift",
    "features.daily._drift": "drift against the asset's own earlier days",
    **dict.fromkeys(
        (f"automation.due_models.{name}" for name in ("refresh_of", "fine_tune_of", "report")),
        "the content that a sensor or a schedule takes",
    ),
}


def _opening(folder: Path) -> set[str]:
    """Return the functions that call ``store.current`` or ``store.require``."""
    found = set()
    for path in sorted(folder.rglob("*.py")):
        for function in (
            node
            for node in ast.walk(fingerprints.parsed(path))
            if isinstance(node, ast.FunctionDef)
        ):
            calls = (
                node.func
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            )
            if any(
                call.attr in ("current", "require") and "store" in ast.unparse(call.value)
                for call in calls
            ):
                found.add(
                    ".".join([*path.relative_to(folder).with_suffix("").parts, function.name])
                )
    return found


def test_inputs_are_opened_by_their_declaration_alone() -> None:
    package = PROJECT_ROOT / "recsys_assets"
    assert _opening(package / "lib") == set(MAY_OPEN)
    assert _opening(package / "defs") == set(IN_DEFS)


# --- the declaration itself -----------------------------------------------------------------------
class Days(TypedDict):
    """A declaration with windows, chosen days and a recorded input."""

    early: Annotated[Sequence[Artifact], Upstream("a/days", Window(-3, -2))]
    own: Annotated[Artifact, Upstream("a/days", SAME)]
    chosen: Annotated[Sequence[Artifact], Upstream("b/days", Window(-9, 0), chosen=True)]
    whole: Annotated[Artifact, Upstream("c/whole")]
    origin: Annotated[Artifact, Upstream("c/whole", recorded="made_from")]


class DaysAndMore(Days, total=False):
    """A declaration with an optional input."""

    extra: Annotated[Artifact, Upstream("d/extra", SAME)]


class Absent(TypedDict):
    """A declaration of days that may be absent."""

    before: Annotated[Artifact, Upstream("a/days", Window(-2, -2))]
    long_before: Annotated[Artifact, Upstream("a/days", Window(-3, -3))]


@pytest.fixture
def shop(tmp_path: Path) -> SimpleNamespace:
    """Return a store with five days of artifacts."""
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    store = ArtifactStore(settings.artifacts)

    def publish(kind: str, partition: str | None = None, **inputs: Artifact) -> Artifact:
        with store.stage(kind, partition, inputs=inputs) as staged:
            (staged.path / "day").write_text(str(partition))
            return staged.publish()

    class ShopPlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    for kind in ("a/days", "b/days"):
        for day in partitions.days_between(date(2026, 1, 5), date(2026, 1, 9)):
            publish(kind, day)
    publish("c/whole", made_from=publish("c/origin"))
    return SimpleNamespace(publish=publish, platform=ShopPlatform())


def test_a_declaration_opens_its_days(shop: SimpleNamespace) -> None:
    opened = upstream.open_inputs(
        DaysAndMore, shop.platform, "2026-01-09", chosen=["2026-01-08", "2026-01-05"]
    )
    assert [artifact.partition for artifact in opened["early"]] == ["2026-01-06", "2026-01-07"]
    assert opened["own"].partition == "2026-01-09" and "extra" not in opened
    assert [artifact.partition for artifact in opened["chosen"]] == ["2026-01-08", "2026-01-05"]
    assert (opened["whole"].kind, opened["origin"].kind) == ("c/whole", "c/origin")
    shop.publish("d/extra", "2026-01-09")
    opened = upstream.open_inputs(
        DaysAndMore,
        shop.platform,
        "2026-01-09",
        chosen=lambda others: [others["early"][0].partition],
    )
    assert opened["extra"].kind == "d/extra" and [
        artifact.partition for artifact in opened["chosen"]
    ] == ["2026-01-06"]


def test_every_absent_day_is_named_and_chosen_days_are_asked_for(shop: SimpleNamespace) -> None:
    with pytest.raises(ArtifactMissing, match="a/days is missing for 2026-01-04, 2026-01-03"):
        upstream.open_inputs(Absent, shop.platform, "2026-01-06")
    with pytest.raises(ValueError, match=r"Days: choose the days of \['chosen'\], not of \[\]"):
        upstream.open_inputs(Days, shop.platform, "2026-01-09")


def test_a_declaration_depends_on_the_smallest_window_of_each_upstream() -> None:
    found = {
        dep.asset_key.to_user_string(): dep.partition_mapping
        for dep in upstream.dependencies(DaysAndMore, "e/before")
    }
    assert {
        key: mapping and (mapping.start_offset, mapping.end_offset)
        for key, mapping in found.items()
    } == {
        "a/days": (-3, 0),
        "b/days": (-9, 0),
        "c/whole": None,
        "d/extra": (0, 0),
        "e/before": None,
    }


def test_an_input_without_an_upstream_is_refused() -> None:
    class Bare(TypedDict):
        items: Artifact

    with pytest.raises(TypeError, match=r"Bare\.items names no upstream"):
        upstream.roles(Bare)


def test_a_window_s_days_are_those_of_its_mapping(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    assert Window(-2, -1).days(settings, "2026-01-02") == ["2025-12-31", "2026-01-01"]
    assert Window(-2, -1, clipped=True).days(settings, "2026-01-02") == ["2026-01-01"]
    assert partitions.LOOK_BACK.days(settings, "2026-01-12") == partitions.recent_days(
        settings, "2026-01-12", 1 + settings.look_back_days
    )
    assert partitions.POPULARITY.days(settings, "2026-01-03") == partitions.recent_days(
        settings, "2026-01-03"
    )
    assert partitions.BEFORE_VALIDATION.around("2026-01-12") == [
        partitions.previous_day(day) for day in partitions.validation_days("2026-01-12")
    ]
    assert (
        partitions.INNER.around("2026-01-12")
        == partitions.train_days("2026-01-12")[-partitions.INNER_DAYS :]
    )
    assert partitions.WHOLE_WINDOW.around("2026-01-12") == partitions.window_days("2026-01-12")


def test_a_window_without_days_opens_nothing(tmp_path: Path) -> None:
    class Judged(TypedDict):
        days: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.VALIDATION)]

    home = Settings(home=tmp_path, start_day=date(2026, 1, 1))

    class BarePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return home

    assert upstream.open_inputs(Judged, BarePlatform(), "2026-01-01") == {"days": []}
