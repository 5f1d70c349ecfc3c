"""A home as `recsys bench shops --keep` leaves it: a simulated window with a fusion and a full
blend of some sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.blend import full_blend
from recsys_assets.lib.blend.source_artifacts import write_source_artifact
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.ladder.fitting import write_fitted
from recsys_assets.lib.ladder.fusion import write_fusion
from recsys_assets.lib.ladder.simple_rung import write_simple_rung
from recsys_assets.lib.simulator import shop
from recsys_assets.settings import Settings
from recsys_assets.source_names import FOLLOW_UPS, ITEM_TO_ITEM, POPULARITY
from recsys_assets_tests.support import small_window
from recsys_assets_tests.support.seen import publish_rule

SEED, ZONE, LOOK_BACK = 7, "UTC", 7
#: Clicks enough to choose a blend by.
SCALE = shop.Scale("small", 120, 60, 1_500)


def write(settings: Settings, as_of: str) -> ArtifactStore:
    """Write the artifacts from raw/interactions to ladder/fusion and evaluation/blend."""
    store = small_window.write_window(settings, as_of, SCALE)
    small_window.write_generation(store, as_of)
    training, window = partitions.train_days(as_of), partitions.window_days(as_of)
    valid = [day for day in window if day not in training]
    log = store.require("raw/interactions", window)
    parts = {
        "workflows": store.current("features/workflows", as_of),
        "items": store.current("raw/items"),
        "seen_rule": publish_rule(store, as_of),
    }
    aligned = store.current("embeddings/aligned", as_of)
    held_out = store.require("features/interactions", valid)
    with store.stage("evaluation/queries", as_of) as staged:
        asked = Queries.build(
            held_out, log, parts["items"], seed=SEED, rule=DEFAULT_RULE, zone=ZONE
        )
        queries = staged.publish({**asked.write(staged.path)})
    inner = store.require("features/interactions", training[-2:])
    drawn = {"train_days": training, "seed": SEED, "time_zone": ZONE}
    with store.stage(f"sources/{ITEM_TO_ITEM}", as_of, inputs=parts) as staged:
        figures = write_fitted(
            interactions=log,
            inner=inner,
            **parts,
            target=staged.path,
            **drawn,
            look_back_days=LOOK_BACK,
        )
        fitted = staged.publish({**figures})
    sources: dict[str, Artifact] = {}
    for name in (FOLLOW_UPS, POPULARITY):
        made_from = {**parts, "aligned": aligned}
        with store.stage(f"sources/{name}", as_of, inputs=made_from) as staged:
            source = write_source_artifact(
                name, interactions=log, inner=inner, **made_from, target=staged.path, **drawn
            )
            sources[name] = staged.publish({**source})
    with store.stage("ladder/simple_rung", as_of, inputs={"fitted": fitted}) as staged:
        rung = staged.publish(
            write_simple_rung(
                train=store.require("features/interactions", training),
                valid=held_out,
                log=log,
                queries=queries,
                workflows=parts["workflows"],
                fitted=fitted,
                target=staged.path,
                seed=SEED,
                look_back_days=LOOK_BACK,
            )
        )
    blended = {**drawn, "look_back_days": LOOK_BACK, "retrieval_topk": 300}
    shared = {
        "queries": queries,
        "log": log,
        "history": log,
        "workflows": parts["workflows"],
        "aligned": aligned,
    }
    of_fusion = {**shared, "rung": rung, "fitted": fitted}
    _publish(store, "ladder/fusion", as_of, write_fusion, of_fusion, sources, blended)
    full = {
        **shared,
        "models": store.current("exports/onnx", as_of),
        "vectors": store.current("retrieval/item_vectors", as_of),
        "features": held_out,
        "days_before": store.require(
            "features/interactions", [partitions.previous_day(day) for day in valid]
        ),
    }
    sources[ITEM_TO_ITEM] = fitted
    blended["retrieval_weight"] = 6.0
    _publish(store, "evaluation/blend", as_of, full_blend.write, full, sources, blended)
    return store


def _publish(
    store: ArtifactStore,
    kind: str,
    as_of: str,
    write: Callable[..., Mapping[str, object]],
    inputs: Mapping[str, object],
    sources: Mapping[str, Artifact],
    params: Mapping[str, object],
) -> None:
    """Publish a blend, by what writes it."""
    made_from, said = {**inputs, **sources}, {**params, "new_item_places": "off"}
    with store.stage(kind, as_of, inputs=made_from, params=said) as staged:
        staged.publish({**write(**inputs, sources=sources, target=staged.path, **said)})
