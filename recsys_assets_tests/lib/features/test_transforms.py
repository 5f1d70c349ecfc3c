from __future__ import annotations

import copy
import math
import zlib

import numpy as np
import pytest

from recsys_assets.lib.features.clock import clock_features
from recsys_assets.lib.features.transforms import (
    Transforms,
    TransformsInvalid,
    Vocabulary,
    affinity,
    history_counts,
    log_count,
)
from recsys_assets_tests.support.tiny_payload import transforms


@pytest.fixture(scope="module")
def compiled() -> Transforms:
    return Transforms.from_dict(transforms())


def test_categorify_null_oov_and_vocabulary():
    assert Vocabulary("x", ["b", "a"]).indices(["b", "a", None, "-1", "", "B", "zz"]).tolist() == [
        3,
        4,
        1,
        2,
        2,
        2,
        2,
    ]


def test_ids_that_arrive_after_the_fit_share_hashed_rows():
    vocabulary = Vocabulary("user_id", ["b", "a"], buckets=3)
    known = vocabulary.indices(["b", "a", None, "-1"]).tolist()
    new = vocabulary.indices([f"ü{n}" for n in range(300)])
    assert known == [3, 4, 1, 2] and vocabulary.rows == 8
    assert new.tolist() == [5 + zlib.crc32(f"ü{n}".encode()) % 3 for n in range(300)] and set(
        new
    ) == {5, 6, 7}


@pytest.mark.parametrize(
    ("values", "fault"), [(["a", "a"], "twice"), (["a", "-1"], "means unknown"), ([1], "strings")]
)
def test_senseless_vocabularies_are_refused(values, fault):
    with pytest.raises(TransformsInvalid, match=f"vocabulary.gender .*{fault}"):
        Vocabulary("gender", values)


def test_buckets_count_the_boundaries_at_or_below(compiled):
    ages = np.array(
        [0, 17.999, 18, 24.999, 25, 34, 35, 49.5, 50, 64.999, 65, 100], dtype=np.float32
    )
    oracle = [sum(age >= boundary for boundary in (18, 25, 35, 50, 65)) for age in ages]
    # bucket 0 never occurred in training: out of vocabulary; bucket b has index 2 + b
    assert compiled.age_binned(ages).tolist() == [2 + bucket if bucket else 2 for bucket in oracle]


def test_user(compiled):
    cat, cont = compiled.users(
        np.array([["user-2", "F", "tools"]], dtype=object),
        np.array([[35, 3, 1.5, 9]], dtype=np.float32),
    )
    assert cat.tolist() == [[5, 4, 5, 5]] and cat.dtype == np.int32
    expected = [(35 - 40.25) / 12.5, math.log(4), 1.5 / 24, math.log(10)]
    assert cont.tolist() == np.float32([expected]).tolist() and cont.dtype == np.float32


def test_a_visitor_among_others_is_as_alone_to_the_bit(compiled):
    """A value must not depend on the other columns and rows of the same call."""
    random = np.random.default_rng(8)
    raw = np.array([[f"user-{n % 7}", "MF"[n % 2], "tools"] for n in range(201)], dtype=object)
    counts = np.arange(201)
    numbers = np.stack(
        [random.normal(40, 15, 201), counts, random.random(201) * 24, counts[::-1]], axis=1
    ).astype(np.float32)
    cat, cont = compiled.users(raw, numbers)
    for n in range(201):
        own_cat, own_cont = compiled.users(raw[n : n + 1], numbers[n : n + 1])
        assert (own_cat.tobytes(), own_cont.tobytes()) == (cat[n].tobytes(), cont[n].tobytes())
    assert (
        cont[:, 1].tobytes() == log_count(counts).tobytes()
        and cont[:, 3].tobytes() == log_count(counts[::-1]).tobytes()
    )


def test_masked_user_is_out_of_vocabulary_with_the_mean_age(compiled):
    cat, cont = compiled.users(
        np.array([["-1"] * 3], dtype=object), np.array([[np.nan, 0, 24, 0]], dtype=np.float32)
    )
    assert cat.tolist() == [[2, 2, 2, 3 + 2]]  # 40.25 lies in bucket 3
    assert cont.tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_history_counts_the_latest_clicks_of_each_category(compiled):
    clicks = [
        "beauty",
        "books",
        "tools",
        "books",
        "unheard-of",
        "books",
    ]  # footwear 3, books 4, tools 5, beauty 6
    (found,) = compiled.histories(
        np.array(clicks[1:], dtype=object), np.array([[40, 2, 1, 5]], np.float32)
    )
    assert found.reshape(2, 7).tolist() == [[0, 0, 1, 0, 3, 1, 0], [0, 0, 1, 0, 1, 0, 0]]
    assert found.dtype == np.float32 and len(found) == compiled.history_width == 14
    # masked, though the clicks are known: it counts none; so does a visitor who has none
    assert history_counts(compiled.vocabulary["category_l1"], clicks, 0, 0).tolist() == [0.0] * 14
    assert compiled.histories([], np.array([[40, 0, 24, 0]], np.float32)).tolist() == [[0.0] * 14]


@pytest.mark.parametrize(("n_long", "n24"), [(3, 0), (1, 2), (2, -1), (-1, -1)])
def test_a_history_that_contradicts_itself_is_refused(n_long, n24):
    with pytest.raises(
        TransformsInvalid,
        match=f"needs 0 ≤ clicks of 24 h ≤ of the look-back ≤ categories, got {n24}, {n_long} and 2",
    ):
        history_counts(Vocabulary("category_l1", ["a"]), ["a", "a"], n_long, n24)


def test_affinity_by_hand():
    counts = [
        np.array(values, np.float32)
        for values in ([0, 3, 200], [0, 1, 0], [0, 8, 200], [0, 1, 199])
    ]
    found = affinity(*counts)
    expected = [
        [0, 0, 0, 0],
        [3 / 10, 1 / 2, math.log(4), math.log(2)],
        [200 / 202, 0, math.log(201), 0],
    ]
    assert found.tolist() == np.float32(expected).tolist() and found.dtype == np.float32
    assert affinity(*(values[:0] for values in counts)).shape == (0, 4)


# golden: 2025-10-09T08:53:20Z is a Thursday (3), 1970-01-01T00:00Z too, 2026-02-28T23:59:59Z a
# Saturday (5)
@pytest.mark.parametrize(
    ("timestamp", "hour", "weekday"),
    [
        (1_760_000_000, 8, 3),
        (0, 0, 3),
        (1_772_323_199, 23, 5),
        (1_772_323_200, 0, 6),
        (253_402_300_799, 23, 4),
    ],
)
def test_clock(timestamp, hour, weekday):
    angles = (2 * math.pi * hour / 24, 2 * math.pi * weekday / 7)
    expected = [function(angle) for angle in angles for function in (math.sin, math.cos)]
    np.testing.assert_allclose(clock_features(np.array([timestamp]))[0], expected, atol=6e-8)


def test_context(compiled):
    cat, cont = compiled.context(["desktop", "-1", "toaster"], np.array([1_760_000_000, 0, 1]))
    assert (
        cat.tolist() == [[4], [2], [2]]
        and cont.shape == (3, 4)
        and (cat.dtype, cont.dtype) == (np.int32, np.float32)
    )


def test_items(compiled):
    codes = compiled.item_codes(["books", "x"], ["style-7", "-1"], ["M", "F"])
    assert codes.tolist() == [[4, 10, 5], [2, 2, 4]]
    cat, cont = compiled.items(
        np.array([3, 4], np.int32), codes, np.array([[1.0, 0.0], [24_999.99, 19.0]], np.float32)
    )
    assert cat.tolist() == [[3, 4, 10, 5], [4, 2, 2, 4]] and cat.dtype == np.int32
    expected = [
        [(math.log(price) - 3.5) / 1.25, math.log(1 + clicks)]
        for price, clicks in ((1.0, 0), (float(np.float32(24_999.99)), 19))
    ]
    assert cont.tolist() == np.float32(expected).tolist() and cont.dtype == np.float32


def test_no_item_gives_no_row(compiled):
    cat, cont = compiled.items(
        np.zeros(0, np.int32), np.zeros((0, 3), np.int32), np.zeros((0, 2), np.float32)
    )
    assert cat.shape == (0, 4) and cont.shape == (0, 2)


def broken(**changes: object) -> dict:
    content = copy.deepcopy(transforms())
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = content
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return content


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (broken(vocabulary__gender=None), "'gender'"),
        (broken(mean_age=None), "'mean_age'"),
        (
            broken(hashed_buckets__user_id=5),
            "cardinality.user_id is 9, but the vocabulary has 14 rows",
        ),
        (
            broken(cardinality__item_id=7),
            "cardinality.item_id is 7, but the vocabulary has 43 rows",
        ),
        (broken(age__std=0.0), "age needs a finite mean and std > 0"),
        (broken(price_log__mean=float("nan")), "price_log needs a finite mean"),
        (broken(age_boundaries=[18, 18]), "age_boundaries must ascend"),
    ],
)
def test_a_broken_export_is_refused_and_the_part_named(content, fault):
    with pytest.raises(TransformsInvalid, match=fault):
        Transforms.from_dict(content)
