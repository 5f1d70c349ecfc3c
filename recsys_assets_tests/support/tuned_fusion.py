"""A small shop whose fusion serves, and its fine-tune on the day after, as its assets build it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend.source_artifacts import write_source_artifact
from recsys_assets.lib.fine_tune import added_items, fine_tuning, reblend, refit
from recsys_assets.lib.gates import fine_tuned
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.ladder.fusion import write_fusion
from recsys_assets.lib.release import build
from recsys_assets.lib.release.rung import Rung
from recsys_assets.lib.release.verdict import Verdict
from recsys_assets.partitions import day_bounds
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.settings import Settings
from recsys_assets.source_names import (
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    POPULARITY,
    SOURCE_NAMES,
    YOUNG_ITEMS,
)
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.embedded_shop import without_content
from recsys_assets_tests.support.seen import publish_rule
from recsys_assets_tests.support.small_clicks import ITEMS
from recsys_assets_tests.support.small_rung import DAYS, TRAIN, VALID, write

NEXT = "2026-11-13"
OTHERS = (FOLLOW_UPS, ITEM_KNN, IALS, POPULARITY, YOUNG_ITEMS)
PASSED: Verdict = {
    "passed": True,
    "checks": [{"name": "a", "value": 1, "threshold": 0, "passed": True, "blocks": True}],
}


def files(
    store: ArtifactStore,
    kind: str,
    day: str,
    inputs: dict[str, Artifact] | None = None,
    **contents: str,
) -> Artifact:
    """An artifact of text files; __ in a name stands for a dot."""
    with store.stage(kind, day, inputs=inputs) as staged:
        for name, content in contents.items():
            (staged.path / name.replace("__", ".")).write_text(content)
        return staged.publish()


def publish_items(store: ArtifactStore, ids: Sequence[str]) -> Artifact:
    """raw/items of a catalogue without texts."""
    items = pl.DataFrame(
        {
            **{name: [""] * len(ids) for name in c.RAW_ITEMS},
            c.ITEM_ID: ids,
            c.PRICE: [1.0] * len(ids),
            "promoted": [False] * len(ids),
        }
    )
    with store.stage("raw/items", params={"items": len(ids)}) as staged:
        items.write_parquet(staged.path / "items.parquet")
        images = pl.DataFrame({"image": ["a.png"], "content": [b"png"]})
        images.write_parquet(staged.path / "images.parquet")
        return staged.publish()


def _aligned(store: ArtifactStore, workflows: Artifact) -> Artifact:
    """embeddings/aligned of random content; its encoders know neither texts nor pictures."""
    inputs = {"workflows": workflows, "embeddings": without_content(store, DAYS[-1])}
    with store.stage("embeddings/aligned", DAYS[-1], inputs=inputs) as staged:
        shape, index = (3 + len(ITEMS), 128), np.arange(3, 3 + len(ITEMS), dtype=np.int32)
        table = np.random.default_rng(2).normal(size=shape).astype(np.float32)
        np.save(staged.path / EMBEDDING_TABLE, table)
        np.savez(
            staged.path / "item_tower_inputs.npz",
            index=index,
            cat=np.column_stack([index, np.full((len(ITEMS), 3), 2)]).astype(np.int32),
            cont=np.zeros((len(ITEMS), 1), np.float32),
        )
        return staged.publish()


def shop_of(home: Path) -> SimpleNamespace:
    """A shop whose fusion serves, and the clicks of the day after."""
    settings = Settings(home=home)
    store = ArtifactStore(settings.artifacts)
    small_clicks.publish_shop(store, [*DAYS, NEXT])
    small_clicks.publish_queries(store, DAYS[-1], DAYS, VALID)
    raw_items = publish_items(store, ITEMS)
    rung = write(store)
    workflows = store.current("features/workflows", DAYS[-1])
    aligned = _aligned(store, workflows)
    log, rule = store.require("raw/interactions", DAYS), publish_rule(store, DAYS[-1])
    made_from = {"workflows": workflows, "aligned": aligned}
    drawn: dict[str, Any] = {"train_days": TRAIN, "seed": 7, "time_zone": "UTC"}
    sources = {}
    for name in OTHERS:
        with store.stage(f"sources/{name}", DAYS[-1], inputs=made_from) as staged:
            figures = write_source_artifact(
                name,
                interactions=log,
                inner=store.require("features/interactions", TRAIN[-2:]),
                items=raw_items,
                **made_from,
                seen_rule=rule,
                target=staged.path,
                **drawn,
            )
            sources[name] = staged.publish({**figures})
    inputs = {"log": log, **made_from, **sources}
    with store.stage("ladder/fusion", DAYS[-1], inputs=inputs) as staged:
        blend = staged.publish(
            {
                **write_fusion(
                    rung=rung,
                    fitted=store.current(f"sources/{ITEM_TO_ITEM}", DAYS[-1]),
                    queries=store.current("evaluation/queries", DAYS[-1]),
                    log=log,
                    history=log,
                    sources=sources,
                    **made_from,
                    target=staged.path,
                    look_back_days=7,
                    retrieval_topk=300,
                    new_item_places="auto",
                    **drawn,
                )
            }
        )
    assert blend.metrics["blend"]["mode"] == "sources"
    # so regular a shop needs no fusion; its release is one all the same
    served: Rung = {"name": "fusion", "why": "tried", "next": None}
    names = ("query_tower", "dlrm", "dlrm_items", "dlrm_lists")
    models = files(
        store, "ladder/simple_models", DAYS[-1], **{f"{name}__onnx": name for name in names}
    )
    champion = build.build_release(
        store,
        settings,
        as_of=DAYS[-1],
        raw_items=raw_items,
        workflows=workflows,
        aligned=aligned,
        faiss_index=rung,
        query_tower=models,
        ranker=models,
        seen_rule=rule,
        blend=blend,
        popularity=ITEMS,
        item_clicks={},
        gate=PASSED,
        rung=served,
    )
    return SimpleNamespace(settings=settings, store=store, champion=champion, models=models)


def land(shop: SimpleNamespace, day: str, item: str, seed: int) -> None:
    """Publish a day on which a new item is clicked, by visitors of the first block, after theirs."""
    clicks = small_clicks.block_clicks([day_bounds(day)[0] // 86_400], seed)
    further = [
        one
        for user, old, at in clicks
        if int(user[1:]) % small_clicks.BLOCKS == 0
        for one in ((user, old, at), (user, item, at))
    ]
    others = [one for one in clicks if int(one[0][1:]) % small_clicks.BLOCKS]
    small_clicks.publish_day(shop.store, day, small_clicks.interactions([*further, *others]))


def parts_of(
    shop: SimpleNamespace, day: str, champion: Artifact, days: list[str]
) -> dict[str, Any]:
    """The artifacts of a fine-tune on a day, as its assets publish them.

    days: of the window, the day last.
    """
    store = shop.store
    features = store.require("features/interactions", [day])
    with store.stage(
        "fine_tune/rows",
        day,
        inputs={"champion": champion, "masked": features, "features": features},
        params={"seed": 7},
    ) as staged:
        rows = staged.publish(
            {**fine_tuning.write_rows(store, champion, features, features, staged.path, seed=7)}
        )
    found: dict[str, Any] = {"rows": rows, "items": store.current("raw/items")}
    for name in fine_tuning.ROLES:
        before = fine_tuning.origin(store, rows, name)
        inputs = {"champion": before, "rows": rows}
        with store.stage(f"fine_tune/{name}", day, inputs=inputs) as staged:
            found[name] = staged.publish(fine_tuning.carry(before, staged.path))
    inputs = {"rows": rows, "items": found["items"]}
    with store.stage("fine_tune/items", day, inputs=inputs) as staged:
        added = added_items.write_added_items(
            store, **inputs, settings=shop.settings, target=staged.path, log=print
        )
        found["added_items"] = staged.publish({**added})
    made_from = refit.generation_parts(store, champion, found["added_items"])
    fitted = refit.fitted_before(store, champion, SOURCE_NAMES)
    log = store.require("raw/interactions", days)
    inputs = {**found, "log": log, **made_from, **fitted}
    drawn: dict[str, Any] = {"target": None, "day": day, "seed": 7, "time_zone": "UTC"}
    with store.stage("fine_tune/sources", day, inputs=inputs) as staged:
        drawn["target"] = staged.path
        found["sources"] = staged.publish(
            {
                **refit.write_sources(
                    fitted=fitted, log=log, items=found["items"], **made_from, **drawn
                )
            }
        )
    found["days_before"] = store.require("features/interactions", [days[-2]])
    found["interactions"] = store.require("raw/interactions", [DAYS[0], *days])
    with store.stage("fine_tune/blend", day, inputs=found) as staged:
        drawn["target"] = staged.path
        figures = reblend.write_tuned_blend(
            store=store, **found, retrieval_topk=300, new_item_places="auto", **drawn
        )
        found["blend"] = staged.publish({**figures})
    found["training"] = store.require("features/interactions", TRAIN)
    return found


def tuned_release(shop: SimpleNamespace, day: str, parts: dict[str, Any]) -> Artifact:
    """The release of a fine-tune, with its verdict."""
    store = shop.store
    champion = shop.settings.home / "serving" / "champion.json"
    assert not champion.exists()
    inputs = fine_tuned.fine_tune_inputs(store, shop.settings, parts)
    with store.stage("fine_tune/verdict", day, inputs=inputs) as staged:
        judged = staged.publish(
            {
                **fine_tuned.write_fine_tune_verdict(
                    store,
                    inputs,
                    staged.path,
                    day=day,
                    limits=Limits(),
                    seed=7,
                    time_zone="UTC",
                    retrieval_topk=300,
                    first_day=DAYS[0],
                )
            }
        )
    # what every release has beside the rows that this shop's features lack
    clicks = pl.DataFrame({c.ITEM_ID: ITEMS[:1], c.ITEM_CLICKS: [3.0]})
    features = store.current("features/interactions", day)
    with store.stage("features/interactions", day) as staged:
        for name in features.manifest["files"]:
            (staged.path / name).write_bytes(features.path(name).read_bytes())
        clicks.write_parquet(staged.path / "item_popularity.parquet")
        inputs["features"] = staged.publish()
    return fine_tuned.fine_tuned_release(store, day, inputs, judged)
