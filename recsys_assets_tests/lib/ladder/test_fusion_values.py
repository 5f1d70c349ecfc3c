"""The fusion of a shop whose purchases follow another pattern than its views.

Visitors look at the liked items of their block, and now and then buy their own staple again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.event_values import EventValues
from recsys_assets.lib.blend.source_artifacts import write_source_artifact
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.click_values import click_values
from recsys_assets.lib.features.seen import NEVER
from recsys_assets.lib.ladder.fusion import write_fusion
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.source_names import FOLLOW_UPS, OWN_ITEMS, POPULARITY
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.seen import publish_rule
from recsys_assets_tests.support.small_clicks import BLOCKS, ITEMS, USERS_A_BLOCK
from recsys_assets_tests.support.small_rung import DAYS, TRAIN, VALID, write

SOURCES = (FOLLOW_UPS, OWN_ITEMS, POPULARITY)
DRAWN = {"train_days": TRAIN, "seed": 7, "time_zone": UTC}
PRICES = pl.DataFrame({c.ITEM_ID: ITEMS, c.PRICE: [1.0] * len(ITEMS)})


def _write_log(store: ArtifactStore) -> None:
    """raw/interactions with purchases, and features/interactions of the views."""
    rng = np.random.default_rng(5)
    visitors = range(BLOCKS * USERS_A_BLOCK)
    staple = rng.integers(0, len(ITEMS), len(visitors))
    for n, day in enumerate(DAYS):
        number = day_bounds(day)[0] // 86_400
        bought = [
            (f"u{user}", ITEMS[staple[user]], number) for user in visitors if rng.random() < 0.3
        ]
        views = small_clicks.interactions(small_clicks.block_clicks([number], seed=n) + bought)
        small_clicks.publish_day(store, day, views)
        orders = views.tail(len(bought)).with_columns(
            pl.format("{}-order", c.EVENT_ID).alias(c.EVENT_ID),
            pl.col(c.TIMESTAMP) + 30,
            pl.lit(c.PURCHASE).alias(c.EVENT_TYPE),
        )
        log = pl.concat([views, orders]).with_columns(pl.format(f"{day}-{{}}", c.EVENT_ID))
        small_clicks.publish(store, "raw/interactions", day, "interactions.parquet", log)


def _queries(store: ArtifactStore, setting: str) -> Artifact:
    """evaluation/queries with the values of a setting."""
    values = None
    if setting != "View=1":
        events = scan_interactions(store.require("raw/interactions", VALID))
        values, _ = click_values(events, PRICES, EventValues.parse(setting))
    asked = Queries.build(
        store.require("features/interactions", VALID),
        store.require("raw/interactions", DAYS),
        store.current("raw/items"),
        seed=7,
        rule=NEVER,
        zone=UTC,
        values=values,
    )
    rule = publish_rule(store, DAYS[-1])
    with store.stage("evaluation/queries", DAYS[-1], inputs={"seen_rule": rule}) as staged:
        return staged.publish(asked.write(staged.path))


@pytest.fixture(scope="module")
def fusions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """ladder/fusion by its setting, and the queries that both are judged by."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("valued")))
    small_clicks.publish(
        store, "raw/items", None, "items.parquet", pl.DataFrame({c.ITEM_ID: ITEMS})
    )
    _write_log(store)
    plain = _queries(store, "View=1")
    rung = write(store)
    workflows = store.current("features/workflows", DAYS[-1])
    with store.stage("embeddings/aligned", DAYS[-1]) as staged:
        table = np.random.default_rng(2).normal(size=(3 + len(ITEMS), 8)).astype(np.float32)
        np.save(staged.path / EMBEDDING_TABLE, table)
        aligned = staged.publish()
    log = store.require("raw/interactions", DAYS)
    sources = {name: _source(store, name, log, workflows, aligned) for name in SOURCES}
    valued = _queries(store, "View=1,Purchase=10")
    found = {"queries": valued}
    for setting, asked in {"plain": plain, "valued": valued}.items():
        with store.stage(f"ladder/{setting}", DAYS[-1]) as staged:
            found[setting] = staged.publish(
                write_fusion(
                    rung=rung,
                    fitted=store.current("sources/item_to_item", DAYS[-1]),
                    queries=asked,
                    log=log,
                    history=log,
                    sources=sources,
                    workflows=workflows,
                    aligned=aligned,
                    target=staged.path,
                    look_back_days=7,
                    retrieval_topk=300,
                    new_item_places="off",
                    **DRAWN,
                )
            )
    return found


def _source(
    store: ArtifactStore, name: str, log: Sequence[Artifact], workflows: Artifact, aligned: Artifact
) -> Artifact:
    with store.stage(f"sources/{name}", DAYS[-1]) as staged:
        return staged.publish(
            write_source_artifact(
                name,
                interactions=log,
                inner=store.require("features/interactions", TRAIN[-2:]),
                items=store.current("raw/items"),
                workflows=workflows,
                aligned=aligned,
                seen_rule=publish_rule(store, DAYS[-1]),
                target=staged.path,
                **DRAWN,
            )
        )


def test_values_raise_the_value_weighted_ndcg_of_what_serves(fusions: dict[str, Artifact]) -> None:
    from recsys_assets.lib.evaluation import list_metrics
    from recsys_assets.lib.evaluation.list_metrics import Lists
    from recsys_assets.lib.evaluation.measures import VALUE_NDCG
    from recsys_assets.lib.release.rung import FUSION

    asked = Queries.read(fusions["queries"])
    judged = {
        setting: list_metrics.judge(Lists.read(fusions[setting], FUSION).ranks, asked)
        for setting in ("plain", "valued")
    }
    gain = judged["valued"][VALUE_NDCG]["value"] - judged["plain"][VALUE_NDCG]["value"]
    assert gain > 0.005, judged
    # the report of the fusion has the figure, and the weights follow the purchases
    figures = fusions["valued"].metrics
    assert figures["lists"][FUSION][VALUE_NDCG] == judged["valued"][VALUE_NDCG]
    assert VALUE_NDCG not in fusions["plain"].metrics["lists"][FUSION]
    share = {
        setting: weights[OWN_ITEMS] / sum(abs(one) for one in weights.values())
        for setting in ("plain", "valued")
        for weights in (fusions[setting].metrics["blend"]["weights"],)
    }
    assert share["valued"] > share["plain"], share


def test_the_tables_show_both_figures(fusions: dict[str, Artifact]) -> None:
    alternatives, sources = (
        fusions["valued"].path(f"figures/{name}.md").read_text()
        for name in ("alternatives", "sources")
    )
    assert "| value-weighted nDCG@10 |" in alternatives and "| nDCG@10 |" in alternatives
    assert "| value-weighted nDCG@10 alone |" in sources
    plain = fusions["plain"].path("figures/alternatives.md").read_text()
    assert "| nDCG@10 |" in plain and "value-weighted" not in plain
