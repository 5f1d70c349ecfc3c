"""Similar items as the gateway reads them: one file, of one release, read again when it is
replaced.
"""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from recsys_assets.serving.published.similar import (
    LiveSimilar,
    SimilarMissing,
    similar_path,
    write_similar,
)
from recsys_assets.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def publish(
    settings: Settings, release: int, item_ids: list[str], neighbours: list[list[int]]
) -> None:
    folder = settings.home
    folder.mkdir(exist_ok=True)
    (folder / "item_ids.json").write_text(json.dumps(item_ids, ensure_ascii=False), "utf-8")
    np.save(folder / "similar_items.npy", np.array(neighbours, np.int32))
    write_similar(
        similar_path(settings), release, folder / "item_ids.json", folder / "similar_items.npy"
    )


def test_the_only_item_has_none(settings):
    publish(settings, 1, ["a"], [[]])
    assert LiveSimilar(settings).current().of("a", 10) == []


def test_best_first_and_no_more_than_there_are(settings):
    publish(settings, 1, ["a", "ítem:20", "c"], [[5, 4], [3, -1], [-1, -1]])
    live = LiveSimilar(settings)
    assert (
        live.of("a", 10) == ["c", "ítem:20"] and live.of("a", 1) == ["c"] and live.of("a", 0) == []
    )
    assert live.of("ítem:20", 5) == ["a"] and live.of("c", 5) == []
    assert live.of("unknown", 5) is None
    assert live.current().release == 1


def test_a_promotion_is_seen_and_a_moment_without_the_file_takes_nothing_away(settings):
    publish(settings, 1, ["a", "b"], [[4], [3]])
    live = LiveSimilar(settings)
    assert live.of("a", 5) == ["b"]
    publish(settings, 2, ["a", "c"], [[4], [3]])
    assert live.of("a", 5) == ["c"] and live.of("b", 5) is None
    similar_path(settings).unlink()
    assert live.of("a", 5) == ["c"]


def test_without_a_file_it_says_what_to_do(settings):
    with pytest.raises(SimilarMissing, match="promote a release first"):
        LiveSimilar(settings).of("a", 5)


def test_a_pickle_is_not_read(settings):
    marker = settings.home / "executed"

    class Harm:
        def __reduce__(self):
            return (type(marker).touch, (marker,))

    publish(settings, 1, ["a"], [[]])
    for content in (pickle.dumps(Harm()), None):
        if content is None:
            np.savez(
                similar_path(settings),
                release=1,
                item_ids=np.array([Harm()], object),
                neighbours=np.zeros((1, 0)),
            )
        else:
            similar_path(settings).write_bytes(content)
        with pytest.raises(SimilarMissing, match="not a release's file"):
            LiveSimilar(settings).of("a", 1)
        assert not marker.exists()


@pytest.mark.parametrize(
    ("item_ids", "neighbours"), [(["a"], [[3], [3]]), (["a", "b"], [[5], [3]])]
)
def test_neighbours_of_other_items_are_refused(settings, item_ids, neighbours):
    publish(settings, 1, item_ids, neighbours)
    with pytest.raises(SimilarMissing, match="are not of its"):
        LiveSimilar(settings).of("a", 1)
