"""The ranker's net: where it starts, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys_assets.bench.ranker.net import Items, ListRanker

ITEMS, NUMBERS, SIZES = 9, 5, (3, 4, 3, 5, 4, 4, 3)


def ranker(items: Items, from_nothing: bool = False) -> ListRanker:
    torch.manual_seed(1)
    rng = np.random.default_rng(2)
    content = rng.normal(size=(3 + ITEMS, 128)).astype(np.float32)
    tower = rng.normal(size=(3 + ITEMS, 64)).astype(np.float32)
    return ListRanker(NUMBERS, SIZES, content, tower, items, from_nothing).eval()


def batch(lists: int = 2, candidates: int = 6) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    clicked = np.zeros((lists, 50), np.int64)
    clicked[:, :4] = rng.integers(3, 3 + ITEMS, (lists, 4))
    return {
        "numbers": torch.from_numpy(
            rng.normal(size=(lists, candidates, NUMBERS)).astype(np.float32)
        ),
        "item": torch.from_numpy(rng.integers(3, 3 + ITEMS, (lists, candidates))),
        "item_cat": torch.from_numpy(rng.integers(0, 3, (lists, candidates, 3))),
        "cat": torch.from_numpy(rng.integers(0, 3, (lists, 4))),
        "clicked": torch.from_numpy(clicked),
        "ages": torch.from_numpy(rng.uniform(0, 90, (lists, 50)).astype(np.float32)),
    }


@pytest.mark.parametrize("items", ["none", "learned", "tower"])
def test_a_residual_net_starts_at_nothing(items: Items) -> None:
    with torch.no_grad():
        assert not ranker(items, from_nothing=True)(batch()).any()
        assert ranker(items)(batch()).abs().min() > 0


@pytest.mark.parametrize("items", ["none", "learned", "tower"])
def test_a_score_does_not_depend_on_the_other_candidates(items: Items) -> None:
    net, given = ranker(items), batch()
    order = torch.tensor([4, 0, 5])
    of_list = {
        name: value[:, order] if name in ("numbers", "item", "item_cat") else value
        for name, value in given.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(net(of_list), net(given)[:, order])


def test_absent_clicks_have_no_age() -> None:
    net, given = ranker("learned"), batch()
    ages = given["ages"].clone()
    ages[:, 4:] = 7.0
    with torch.no_grad():
        assert torch.equal(net({**given, "ages": ages}), net(given))
        nobody = {**given, "clicked": torch.zeros_like(given["clicked"])}
        assert torch.isfinite(net(nobody)).all()
        net.age[:] = torch.arange(16.0)
        assert not torch.equal(net({**given, "ages": given["ages"].flip(1)}), net(given))


def test_vectors_of_the_tower_are_frozen() -> None:
    tower = ranker("tower")
    assert "tower" in dict(tower.named_buffers())
    trained = {name for name, _ in tower.named_parameters()}
    assert "tower" not in trained and {"candidate.weight", "clicked.weight"} <= trained
    assert ranker("learned").candidate.weight.shape == (3 + ITEMS, 24)
