"""Test which learned days of a release were corrected since, through its fine-tunes."""

from __future__ import annotations

from pathlib import Path

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.release.corrected import corrected_since

DAYS = ["2026-01-05", "2026-01-06"]


def publish(store: ArtifactStore, kind: str, partition: str, **inputs: object) -> Artifact:
    """Publish an artifact whose content follows from its inputs."""
    with store.stage(kind, partition, inputs=inputs) as staged:  # type: ignore[arg-type]
        (staged.path / "a").write_text(f"{kind} {partition} {staged.fingerprint}")
        return staged.publish()


def test_a_fine_tune_has_learned_its_own_days_and_those_of_its_base(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    masked, features = [], []
    for day in DAYS:
        raw = publish(store, "raw/interactions", day, landing="first")
        features.append(publish(store, "features/interactions", day, interactions=[raw]))
        masked.append(publish(store, "features/masked_train", day, features=features[-1]))
    workflows = publish(store, "features/workflows", DAYS[0], train=features[:1])
    full = publish(store, "serving/release", "000001", workflows=workflows)
    rows = publish(store, "fine_tune/rows", DAYS[1], masked=masked[1:], champion=full)
    tower = publish(store, "fine_tune/query_tower", DAYS[1], rows=rows)
    tuned = publish(store, "serving/release", "000002", base=full, query_tower=tower)
    assert corrected_since(store, tuned) == []
    publish(store, "raw/interactions", DAYS[1], landing="second")
    assert corrected_since(store, tuned) == [DAYS[1]] and corrected_since(store, full) == []
    publish(store, "raw/interactions", DAYS[0], landing="second")
    assert corrected_since(store, tuned) == DAYS and corrected_since(store, full) == DAYS[:1]
    publish(store, "raw/interactions", DAYS[0], landing="first")  # as it was learned
    assert corrected_since(store, tuned) == [DAYS[1]]


def test_the_sources_of_a_release_have_learned_their_days_too(tmp_path: Path) -> None:
    """Those of a fusion are all that a fine-tune of it has learned."""
    store = ArtifactStore(tmp_path)
    raw = [publish(store, "raw/interactions", day, landing="first") for day in DAYS]
    workflows = publish(store, "features/workflows", DAYS[0])
    blend = publish(store, "ladder/fusion", DAYS[0], log=raw[:1])
    vectors = publish(store, "ladder/simple_rung", DAYS[0], log=raw[:1])
    made = {"workflows": workflows, "faiss_index": vectors}
    fusion = publish(store, "serving/release", "000001", blend=blend, **made)
    sources = publish(store, "fine_tune/sources", DAYS[1], log=raw[1:])
    blend = publish(store, "fine_tune/blend", DAYS[1], sources=sources, log=raw)
    tuned = publish(store, "serving/release", "000002", base=fusion, blend=blend)
    assert corrected_since(store, fusion) == corrected_since(store, tuned) == []
    publish(store, "raw/interactions", DAYS[1], landing="second")
    assert corrected_since(store, tuned) == [DAYS[1]] and corrected_since(store, fusion) == []
    publish(store, "raw/interactions", DAYS[0], landing="second")
    assert corrected_since(store, fusion) == [DAYS[0]]
    assert corrected_since(store, tuned) == [DAYS[1]], "its tables were fitted again since"
