"""Train the ranker listwise on candidates as served, and score candidates by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from recsys_assets.bench.ranker.judge import base_inputs
from recsys_assets.bench.ranker.moments import Moment, RankerItems
from recsys_assets.bench.ranker.net import Batch, Items, ListRanker
from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.blend.choice import from_one_first
from recsys_assets.lib.blend.labels import ClickLabels

#: Candidates of a list that are learnt: the first of the base order, others by chance, the click.
FIRST, OTHERS = 50, 20
#: Candidates that are scored, of the base order; the rest keeps the least that the net gives.
SCORED = 150
#: Most epochs, queries of a step, epochs without a gain that end the training, first step of Adam.
EPOCHS, QUERIES, PATIENCE, RATE = 10, 32, 2, 2e-3
#: Weight decay of tables and of all other weights.
_DECAY_OF_TABLES, _DECAY = 1e-2, 1e-4
_TABLES = ("tables.", "candidate.", "clicked.")
_LEAST = -1e9  # score of no candidate


@dataclass(frozen=True)
class ListVariant:
    """Says what a ranker reads and where it starts."""

    items: Items = "learned"
    shown: bool = False  # reads what was shown and not clicked
    residual: bool = True  # is added to the blend that label clicks gave, and starts from nothing


@dataclass(frozen=True)
class Trained:
    """Holds a trained ranker with what its inputs need."""

    net: ListRanker
    variant: ListVariant
    base: np.ndarray  # weights of ``base_inputs``, float64 [1 + K]
    scale: tuple[np.ndarray, np.ndarray]  # mean and deviation of the numbers
    held_out: list[float]  # loss of the visitors that end the training: before, and per epoch

    @property
    def epochs(self) -> int:
        """Return the epoch whose weights stay; 0: the start."""
        return int(np.argmin(self.held_out))


def base_weights(labels: ClickLabels) -> np.ndarray:
    """Return the weights of ``base_inputs`` that label clicks give; they start at the default."""
    everyone = np.ones(len(labels), bool)
    return from_one_first(base_inputs(labels))(labels, everyone)


def train(
    moments: Sequence[Moment], catalogue: RankerItems, variant: ListVariant, seed: int
) -> Trained:
    """Train a ranker.

    The loss is softmax over the candidates of a list; each visitor counts once per moment. Visitors
    that are not learnt end the training, and the best epoch's weights stay.

    Args:
        moments: label clicks with candidates as served, at least one.
        catalogue: of the items.
        variant: what it reads.
        seed: of the start, the order and the drawn candidates.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # two threads on busy cores took 40x as long
    rng = np.random.default_rng([seed, 21])
    base, scale = base_weights(moments[0].labels), _scale(moments[0], variant)
    parts = [_Part.of(moment, catalogue, variant, base, scale, rng) for moment in moments]
    learnt, ends = (
        np.array(
            [
                (number, query)
                for number, part in enumerate(parts)
                for query in np.flatnonzero(part.usable & (part.moment.ends == last))
            ],
            np.int64,
        ).reshape(-1, 2)
        for last in (False, True)
    )
    # numbers of queries and candidates: user_id has no table, item_id has one of its own
    sizes = (*catalogue.sizes[1:5], *catalogue.sizes[6:])
    net = ListRanker(
        parts[0].width, sizes, catalogue.content, catalogue.tower, variant.items, variant.residual
    )
    trained = Trained(net, variant, base, scale, [])
    if not len(learnt) or not len(ends):
        return replace(trained, held_out=[0.0])
    return replace(trained, held_out=_descend(net, parts, learnt, ends, rng))


def scores(trained: Trained, moment: Moment, catalogue: RankerItems) -> np.ndarray:
    """Return the score of each candidate, float32 [N].

    A residual ranker's score is that of the base plus what the net adds.
    """
    labels, variant = moment.labels, trained.variant
    base = base_inputs(labels) @ trained.base.astype(np.float32)
    inputs = _Inputs(moment, catalogue, _numbers(moment, variant), trained.scale)
    order = np.lexsort((-base, labels.query))
    found = np.full(len(base), np.nan, np.float32)
    trained.net.eval()
    with torch.no_grad():
        for start in range(0, len(labels), QUERIES):
            queries = np.arange(start, min(start + QUERIES, len(labels)))
            rows = _padded([order[labels.start[q] : labels.start[q + 1]][:SCORED] for q in queries])
            given = trained.net(inputs.batch(queries, rows)).numpy()
            found[rows[rows >= 0]] = given[rows >= 0]
    scored = np.isfinite(found)
    least = np.full(len(labels), np.inf, np.float32)
    np.minimum.at(least, labels.query[scored], found[scored])
    found[~scored] = least[labels.query[~scored]]
    if variant.residual:
        return (base + found).astype(np.float32)
    # what the net did not see stays behind, in the order of the base
    return np.where(scored, found, found - 1 + base - base.max()).astype(np.float32)


def _numbers(moment: Moment, variant: ListVariant) -> np.ndarray:
    """Return the numbers of the candidates, float32 [N, D]."""
    labels = moment.labels
    columns = [labels.logs, labels.more, labels.listed.astype(np.float32), moment.counts]
    if variant.shown and moment.shown is not None:
        columns.append(moment.shown)
    return np.concatenate(columns, axis=1)


def _scale(moment: Moment, variant: ListVariant) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of the numbers of candidates and visitors, float32 [D + 8]."""
    both = _numbers(moment, variant), moment.cont
    return tuple(  # type: ignore[return-value]
        np.concatenate([getattr(one, name)(axis=0) for one in both]) for name in ("mean", "std")
    )


class _Inputs:
    """Makes batches of a moment.

    Args:
        moment: label clicks.
        catalogue: of the items.
        numbers: of ``_numbers``.
        scale: of ``_scale``.
    """

    def __init__(
        self,
        moment: Moment,
        catalogue: RankerItems,
        numbers: np.ndarray,
        scale: tuple[np.ndarray, np.ndarray],
    ) -> None:
        mean, deviation = scale[0], scale[1] + 1e-3
        own = numbers.shape[1]
        self._numbers = ((numbers - mean[:own]) / deviation[:own]).clip(-5, 5).astype(np.float32)
        self._visitor = (
            ((moment.cont - mean[own:]) / deviation[own:]).clip(-5, 5).astype(np.float32)
        )
        self._moment, self._catalogue = moment, catalogue
        self.width: int = own + moment.cont.shape[1]

    def batch(self, queries: np.ndarray, rows: np.ndarray) -> Batch:
        """Return the inputs of ``ListRanker``.

        Args:
            queries: int64 [B].
            rows: int64 [B, C], candidates of each; -1: no more.
        """
        moment, shape = self._moment, rows.shape
        safe = np.maximum(rows, 0)
        item = moment.labels.rows[safe]
        visitor = np.broadcast_to(self._visitor[queries][:, None], (*shape, moment.cont.shape[1]))
        given = {
            "numbers": np.concatenate([self._numbers[safe], visitor], axis=2),
            "item": item + VOCABULARY_START,
            "item_cat": self._catalogue.cat[item][..., 1:].astype(np.int64),
            "cat": moment.cat[queries][:, 1:].astype(np.int64),
            "clicked": moment.items[queries].astype(np.int64),
            "ages": moment.ages[queries],
        }
        return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in given.items()}


@dataclass(frozen=True)
class _Part:
    """Holds what is learnt of one moment."""

    moment: Moment
    inputs: _Inputs
    added: np.ndarray  # float32 [Q, C], to what the net gives: the base, and items stood for
    rows: np.ndarray  # int64 [Q, C]
    hit: np.ndarray  # int64 [Q], place of the clicked item in ``rows``; -1: no list has it
    usable: np.ndarray  # bool [Q]
    weight: np.ndarray  # float32 [Q]

    @classmethod
    def of(
        cls,
        moment: Moment,
        catalogue: RankerItems,
        variant: ListVariant,
        base: np.ndarray,
        scale: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
    ) -> _Part:
        labels = moment.labels
        score = base_inputs(labels) @ base.astype(np.float32)
        rows, hit, more = learnt_candidates(labels, score, rng)
        weight = np.zeros(len(labels), np.float32)
        weight[labels.learnable] = labels.weights(labels.learnable)
        inputs = _Inputs(moment, catalogue, _numbers(moment, variant), scale)
        added = more + score[np.maximum(rows, 0)] if variant.residual else more
        return cls(moment, inputs, added, rows, hit, labels.learnable & (hit >= 0), weight)

    @property
    def width(self) -> int:
        """Width of the dense inputs."""
        return self.inputs.width

    def loss(self, net: ListRanker, queries: np.ndarray) -> torch.Tensor:
        """Return the weighted sum of the queries' losses."""
        rows = self.rows[queries]
        given = net(self.inputs.batch(queries, rows))
        given = given + torch.from_numpy(self.added[queries])
        given = given.masked_fill(torch.from_numpy(rows < 0), _LEAST)
        own = nn.functional.cross_entropy(
            given, torch.from_numpy(self.hit[queries]), reduction="none"
        )
        return (own * torch.from_numpy(self.weight[queries])).sum()


def learnt_candidates(
    labels: ClickLabels, score: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the candidates that are learnt, the place of the click, and what stands for the rest.

    The first candidates and OTHERS by chance stand for the whole list: each of the others for as
    many as were not drawn. Without that, a click far down competes with few items, and the net
    lifts all that is far down.

    Args:
        labels: of Q queries and N items.
        score: float32 [N], of the base.
        rng: draws the others.

    Returns:
        rows int64 [Q, C], -1: no more; place of the clicked item int64 [Q], -1: no list has it; and
        float32 [Q, C], the log of how many items each stands for.
    """
    order = np.lexsort((-score, labels.query))
    kept, counts, place = [], [], np.full(len(labels), -1, np.int64)
    for query in range(len(labels)):
        own = order[labels.start[query] : labels.start[query + 1]]
        clicked = own[labels.hit[own]]
        first = own[:FIRST]
        rest = own[FIRST:][~labels.hit[own[FIRST:]]]
        others = rng.choice(rest, OTHERS, replace=False) if len(rest) > OTHERS else rest
        rows = np.concatenate([clicked, first[~labels.hit[first]], others])
        count = np.ones(len(rows))
        count[len(rows) - len(others) :] = len(rest) / max(len(others), 1)
        place[query] = 0 if len(clicked) else -1
        kept.append(rows)
        counts.append(np.log(count))
    table = np.zeros((len(kept), max((len(one) for one in kept), default=0)), np.float32)
    for row, one in enumerate(counts):
        table[row, : len(one)] = one
    return _padded(kept), place, table


def _padded(lists: Sequence[np.ndarray]) -> np.ndarray:
    """Return lists as one table, int64 [n, C]; -1: no more."""
    table = np.full((len(lists), max((len(one) for one in lists), default=0)), -1, np.int64)
    for row, one in enumerate(lists):
        table[row, : len(one)] = one
    return table


def _descend(
    net: ListRanker,
    parts: Sequence[_Part],
    learnt: np.ndarray,
    ends: np.ndarray,
    rng: np.random.Generator,
) -> list[float]:
    """Take Adam's steps until the visitors that end it have no gain; return their losses.

    learnt, ends: int64 [n, 2], part and query. The net keeps the weights of the best epoch.
    """

    def loss(chosen: np.ndarray) -> tuple[torch.Tensor, float]:
        total, weight = torch.zeros(()), 0.0
        for number in np.unique(chosen[:, 0]):
            queries = chosen[chosen[:, 0] == number, 1]
            total = total + parts[number].loss(net, queries)
            weight += float(parts[number].weight[queries].sum())
        return total, weight

    def judged() -> float:
        net.eval()
        with torch.no_grad():
            found = [loss(ends[n : n + 8 * QUERIES]) for n in range(0, len(ends), 8 * QUERIES)]
        return sum(float(one) for one, _ in found) / sum(weight for _, weight in found)

    named = list(net.named_parameters())
    tables = [value for name, value in named if name.startswith(_TABLES)]
    others = [value for name, value in named if not name.startswith(_TABLES)]
    groups = [
        {"params": tables, "weight_decay": _DECAY_OF_TABLES},
        {"params": others, "weight_decay": _DECAY},
    ]
    adam = torch.optim.AdamW([one for one in groups if one["params"]], lr=RATE)
    held_out, step = [judged()], 0
    best = {name: value.clone() for name, value in net.state_dict().items()}
    steps = EPOCHS * -(-len(learnt) // QUERIES)
    for _ in range(EPOCHS):
        net.train()
        order = rng.permutation(len(learnt))
        for first in range(0, len(order), QUERIES):
            for group in adam.param_groups:
                group["lr"] = RATE * (1 - 0.9 * step / steps)
            total, weight = loss(learnt[order[first : first + QUERIES]])
            adam.zero_grad()
            (total / weight).backward()  # type: ignore[no-untyped-call]
            adam.step()
            step += 1
        held_out.append(judged())
        if held_out[-1] <= min(held_out):
            best = {name: value.clone() for name, value in net.state_dict().items()}
        if len(held_out) - 1 - int(np.argmin(held_out)) >= PATIENCE:
            break
    net.load_state_dict(best)
    return held_out
