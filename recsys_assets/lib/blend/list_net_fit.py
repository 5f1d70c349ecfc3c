"""Fit the net of a blend to held-out clicks, beside fitted weights of the lists.

The loss is that of the weights: softmax over the items of a list, each visitor counts once, and
clicks of one visitor weigh by their values. The net starts at nothing, so that without a gain on
visitors that it does not learn from, it stays nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.weights import listwise_loss
from recsys_assets.lib.features.click_ranges import unroll
from recsys_assets.lib.sources.list_net import ListNet

#: Parts of the visitors: each ends the fit of one net of UNITS on all others, and the mean of the
#: nets serves, which is one net of PARTS · UNITS.
PARTS, UNITS = 4, 16
#: Most epochs, queries of a step, and epochs without a gain that end a fit.
EPOCHS, QUERIES, PATIENCE = 25, 32, 4
#: Step of Adam at the start, which falls to a tenth; share of the weights that each step takes off.
RATE, DECAY = 1e-2, 1e-3


@dataclass(frozen=True)
class FittedNet:
    """Holds a fitted net and how its fit went."""

    net: ListNet
    #: of each part, the listwise loss of the visitors that end its fit: before it, and per epoch
    held_out: list[list[float]]

    @property
    def epochs(self) -> list[int]:
        """Return the epochs of each part; 0: it adds nothing."""
        return [int(np.argmin(one)) for one in self.held_out]


@dataclass(frozen=True)
class _Lists:
    """Holds the lists of some queries, one after the other."""

    start: np.ndarray  # int64 [Q + 1]
    inputs: np.ndarray  # float32 [N, D], of mean 0 and deviation 1
    base: np.ndarray  # float32 [N], scores that the net is added to
    hit: np.ndarray  # bool [N]
    weight: np.ndarray  # float32 [Q], mean 1

    def __len__(self) -> int:
        return len(self.weight)

    def of(self, queries: np.ndarray) -> _Lists:
        """Return some of the queries."""
        begin, end = self.start[queries], self.start[queries + 1]
        _, rows = unroll(begin, end)
        return _Lists(
            np.concatenate([[0], np.cumsum(end - begin)]),
            self.inputs[rows],
            self.base[rows],
            self.hit[rows],
            self.weight[queries],
        )

    def batches(self, order: np.ndarray) -> Iterator[_Lists]:
        """Yield the queries in an order, QUERIES at a time."""
        for first in range(0, len(order), QUERIES):
            yield self.of(order[first : first + QUERIES])

    def loss(self, net: ListNet) -> tuple[float, np.ndarray]:
        """Return the sum of the queries' losses, and its slope by each score, float32 [N]."""
        score = self.base + net.of(self.inputs)
        query = np.arange(len(self)).repeat(np.diff(self.start))
        value, slope = listwise_loss(score, self.start[:-1], query, self.hit, self.weight)
        slope[self.hit] -= self.weight
        return value, slope


def fit_net(labels: ClickLabels, base: np.ndarray, learned: np.ndarray, seed: int) -> FittedNet:
    """Fit a net of ``labels.net_inputs`` that is added to scores.

    Args:
        labels: of Q queries and N items.
        base: float32 [N], the scores that it is added to.
        learned: bool [Q], the queries to learn from.
        seed: of the draws.
    """
    inputs = labels.net_inputs
    used = np.flatnonzero(labels.learnable & learned)
    _, user = np.unique(labels.users[used], return_inverse=True)
    if not len(used) or user.max() + 1 < PARTS:
        return FittedNet(ListNet.mean([_start(inputs.shape[1], seed)]), [])
    _, rows = unroll(labels.start[used], labels.start[used + 1])
    mean, deviation = inputs[rows].mean(axis=0), inputs[rows].std(axis=0)
    deviation[deviation < 1e-6] = 1.0  # a column that says nothing
    weight = labels.weights(used)
    lists = _Lists(
        np.concatenate([[0], np.cumsum(labels.start[used + 1] - labels.start[used])]),
        (inputs[rows] - mean) / deviation,
        base[rows].astype(np.float32),
        labels.hit[rows],
        (weight / weight.mean()).astype(np.float32),
    )
    part = np.random.default_rng([seed, 16]).permutation(user.max() + 1)[user] % PARTS
    nets, losses = [], []
    with threadpool_limits(1, "blas"):
        for number in range(PARTS):
            ends = part == number
            net, held_out = _descend(
                lists,
                _start(inputs.shape[1], seed + number),
                np.flatnonzero(~ends),
                ends.nonzero()[0],
            )
            nets.append(net)
            losses.append(held_out)
    net = ListNet.mean(nets)
    hidden = net.hidden / deviation[:, None]
    return FittedNet(ListNet(hidden, net.bias - mean @ hidden, net.out), losses)


def _start(columns: int, seed: int) -> ListNet:
    """Return a net that adds nothing."""
    rng = np.random.default_rng([seed, 17])
    hidden = rng.normal(0, columns**-0.5, (columns, UNITS)).astype(np.float32)
    return ListNet(hidden, np.zeros(UNITS, np.float32), np.zeros(UNITS, np.float32))


def _descend(
    lists: _Lists, net: ListNet, learned: np.ndarray, ends: np.ndarray
) -> tuple[ListNet, list[float]]:
    """Take Adam's steps until the lists ``ends`` have no gain.

    Args:
        lists: of Q queries.
        net: to start from.
        learned: int64, the queries to learn from.
        ends: int64, the queries that end the fit.

    Returns:
        the net of the best epoch, and the loss of ``ends`` before the first epoch and after each.
    """
    rng, judging = np.random.default_rng(18), lists.of(ends)
    values = net.stacked
    mean, square, step = np.zeros_like(values), np.zeros_like(values), 0
    best, held_out = values, [judging.loss(net)[0] / len(ends)]
    steps = EPOCHS * -(-len(learned) // QUERIES)
    for epoch in range(EPOCHS):
        for part in lists.batches(rng.permutation(learned)):
            net = ListNet.read(values)
            gradient = _gradient(net, part.inputs, part.loss(net)[1] / len(part))
            step += 1
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient * gradient - square)
            size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            rate = RATE * (1 - 0.9 * step / steps)
            values = values - rate * (mean / (1 - 0.9**step) / size + DECAY * values)
        held_out.append(judging.loss(ListNet.read(values))[0] / len(ends))
        if held_out[-1] <= min(held_out):
            best = values
        if epoch + 1 - int(np.argmin(held_out)) >= PATIENCE:
            break
    return ListNet.read(best), held_out


def _gradient(net: ListNet, inputs: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the slope of the loss by the weights, as ``ListNet.stacked`` has them."""
    units = np.maximum(inputs @ net.hidden + net.bias, 0)
    back = slope[:, None] * net.out
    back[units == 0] = 0
    return np.concatenate([inputs.T @ back, back.sum(axis=0)[None], (slope @ units)[None]]).astype(
        np.float32
    )
