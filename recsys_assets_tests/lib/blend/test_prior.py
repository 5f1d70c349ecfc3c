"""A net of several shops: what holds in all of them helps another, whichever lists it has."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_assets.lib.blend import prior, shipped_prior
from recsys_assets.lib.blend.prior import fit_prior, write_prior
from recsys_assets.lib.sources.list_net import OF_VISITOR
from recsys_assets.lib.sources.union import LAST
from recsys_assets.source_names import ALL_SOURCES, FOLLOW_UPS, IALS
from recsys_assets_tests.support.small_labels import labels, together


def test_what_holds_in_the_other_shops_helps(tmp_path):
    """In two shops the click is near in both lists at once; in a third, ranks alone decide."""
    shops = {"one": together(900, seed=4), "two": together(900, seed=5)}
    found = write_prior(tmp_path, shops, 7)
    for shop in found["shops"].values():
        assert [one["clicks"] for one in shop] == [120, 300, 900]
        assert shop[-1]["difference"]["low"] > 0
    assert json.loads((tmp_path / shipped_prior.FIGURES).read_text()) == found
    stacked = np.load(tmp_path / shipped_prior.NET)
    assert len(stacked) == len(ALL_SOURCES) + len(OF_VISITOR) + 2
    unlike = labels(clicks=900, weights=(1.0, 0.5, 0.0))
    mixed = write_prior(tmp_path, {"one": shops["one"], "plain": unlike}, 7)
    assert mixed["shops"]["plain"][-1]["difference"]["value"] < 0.01


def test_a_list_that_a_shop_lacks_has_none_of_its_items():
    whole, less = together(200), together(300, seed=5).without(FOLLOW_UPS)
    pooled = prior._pooled([whole, less])
    assert pooled.names == tuple(ALL_SOURCES) and len(pooled) == 500
    column, rows = ALL_SOURCES.index(FOLLOW_UPS), len(whole.rows)
    np.testing.assert_array_equal(pooled.logs[:rows, column], whole.logs[:, 1])
    assert (pooled.logs[rows:, column] == np.float32(LAST)).all()
    assert not pooled.listed[rows:, column].any()
    np.testing.assert_array_equal(pooled.logs[rows:, ALL_SOURCES.index(IALS)], less.logs[:, 1])
    # a visitor of one shop is none of another
    assert len(np.unique(pooled.users)) == 500
    assert pooled.found.sum() == whole.found.sum() + less.found.sum()


def test_the_same_shops_in_any_order_give_the_same_net():
    one, two = together(200), together(200, seed=5)
    np.testing.assert_array_equal(
        fit_prior({"one": one, "two": two}, 7).stacked,
        fit_prior({"two": two, "one": one}, 7).stacked,
    )


def test_one_shop_is_too_few(tmp_path):
    with pytest.raises(ValueError, match="two shops or more, got 1"):
        write_prior(tmp_path, {"one": together(100)}, 7)


def test_the_shipped_net_reads_lists_that_there_are_and_says_what_it_is_worth():
    figures = json.loads((shipped_prior.FOLDER / shipped_prior.FIGURES).read_text())
    assert set(figures["lists"]) <= set(ALL_SOURCES)
    every = [one for shop in figures["shops"].values() for one in shop]
    assert len(figures["shops"]) >= 8
    assert np.mean([one["difference"]["value"] for one in every]) > 0
    columns = len(ALL_SOURCES) + len(OF_VISITOR)
    net = shipped_prior.net_of_other_shops(ALL_SOURCES)
    assert net.hidden.shape[0] == columns and np.isfinite(net.stacked).all()
    few = shipped_prior.net_of_other_shops([FOLLOW_UPS, IALS])
    assert np.isfinite(few.of(np.zeros((3, 2 + len(OF_VISITOR)), np.float32))).all()
