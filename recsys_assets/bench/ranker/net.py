"""Define the ranker that is measured: DLRM over the candidates of a list.

It has DLRM's form (Naumov et al. 2019): the top MLP reads the dot products of all pairs of fields,
and the output of the bottom MLP over all numbers. Beside DLRM's own inputs it reads the ranks in
all lists, and the visitor's latest items, pooled as the query tower pools them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from recsys_assets.columns import EMBEDDING_DIM, ITEM_HISTORY, OOV_INDEX

#: Where vectors of items come from: nowhere (numbers alone), learned tables, the item tower.
Items = Literal["none", "learned", "tower"]
#: Width of a field, units of the MLPs, share of values that are dropped in training.
DIM, UNITS, DROPOUT = 24, (48, 24), 0.1
#: Share of item ids that are replaced by the unknown one in training.
_ID_DROPOUT = 0.1
#: Ages of clicks are told apart in steps of 1, 2, 4, … minutes.
_AGES, _MINUTES = 16, 60.0

Batch = Mapping[str, torch.Tensor]


class ListRanker(nn.Module):
    """Scores C candidates of each of B lists.

    Args:
        numbers: width of the dense inputs.
        sizes: rows of the tables of the visitor's columns but user_id, then of the item's columns
            but item_id.
        content: float32 [3 + I, 128].
        tower: float32 [3 + I, 64].
        items: where vectors of items come from.
        from_nothing: the last layer starts at 0, so that the net adds nothing to a base.
    """

    content: torch.Tensor
    tower: torch.Tensor
    candidate: nn.Module
    clicked: nn.Module

    def __init__(
        self,
        numbers: int,
        sizes: tuple[int, ...],
        content: np.ndarray,
        tower: np.ndarray,
        items: Items,
        from_nothing: bool,
    ) -> None:
        super().__init__()
        self.items = items
        self.bottom = nn.Sequential(
            nn.Linear(numbers, UNITS[0]),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(UNITS[0], DIM),
            nn.ReLU(),
        )
        products = 0
        if items != "none":
            self.tables = nn.ModuleList(_table(size) for size in sizes)
            self.text, self.image = (nn.Linear(EMBEDDING_DIM, DIM) for _ in range(2))
            self.register_buffer("content", torch.from_numpy(content))
            self.rank, self.age = (
                nn.Parameter(torch.zeros(size)) for size in (ITEM_HISTORY, _AGES)
            )
            if items == "learned":
                self.candidate, self.clicked = _table(len(content)), _table(len(content))
            else:
                self.register_buffer("tower", torch.from_numpy(tower))
                self.candidate, self.clicked = (
                    nn.Linear(tower.shape[1], DIM, bias=False) for _ in range(2)
                )
            # of the item: id, text, image, columns, bottom MLP; of the visitor: columns, clicks
            fields = 7 + 6
            products = fields * (fields - 1) // 2
        self.dropout = nn.Dropout(DROPOUT)
        last = nn.Linear(UNITS[1], 1)
        if from_nothing:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.top = nn.Sequential(
            nn.Linear(DIM + products, UNITS[0]),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(UNITS[0], UNITS[1]),
            nn.ReLU(),
            last,
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return what the net gives each candidate, float32 [B, C].

        batch: numbers float32 [B, C, D], item int64 [B, C] and item_cat int64 [B, C, 3] by
            Categorify index, cat int64 [B, 4], clicked int64 [B, 50] (0: none), ages float32
            [B, 50] in hours.
        """
        deep = self.bottom(batch["numbers"])
        if self.items == "none":
            return self._scores(deep)
        own, visitor = self._of_items(batch, deep), self._of_visitor(batch)
        crossed = torch.einsum("bcfd,bgd->bcfg", own, visitor).flatten(2)
        among = torch.einsum("bcfd,bced->bcfe", own, own)
        shared = torch.einsum("bgd,bhd->bgh", visitor, visitor)
        a, b = torch.triu_indices(own.shape[2], own.shape[2], 1)
        g, h = torch.triu_indices(visitor.shape[1], visitor.shape[1], 1)
        fixed = shared[:, g, h].unsqueeze(1).expand(-1, own.shape[1], -1)
        products = torch.cat([crossed, among[:, :, a, b], fixed], -1)
        return self._scores(torch.cat([deep, self.dropout(products)], -1))

    def _scores(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.top(values).squeeze(-1)
        return found

    def _of_items(self, batch: Batch, deep: torch.Tensor) -> torch.Tensor:
        """Return the fields of the candidates, float32 [B, C, 7, DIM]."""
        item = batch["item"]
        known = item
        if self.training and self.items == "learned":
            forgotten = torch.rand(item.shape) < _ID_DROPOUT
            known = torch.where(forgotten, torch.full_like(item, OOV_INDEX), item)
        content = self.content[item]
        fields = [
            self._vectors(known, self.candidate),
            self.text(content[..., :EMBEDDING_DIM]),
            self.image(content[..., EMBEDDING_DIM:]),
            *(self.tables[4 + n](batch["item_cat"][..., n]) for n in range(3)),
            deep,
        ]
        return torch.stack(fields, 2)

    def _of_visitor(self, batch: Batch) -> torch.Tensor:
        """Return the fields of the visitors, float32 [B, 6, DIM]; clicks are pooled."""
        clicked = batch["clicked"]
        known = clicked > 0
        age = torch.log2(batch["ages"] * _MINUTES + 1).clamp(0, _AGES - 1).long()
        share = torch.softmax((self.rank + self.age[age]).masked_fill(~known, -1e9), 1)
        vectors = self._vectors(clicked, self.clicked) * known.unsqueeze(-1)
        pooled = (share.unsqueeze(-1) * vectors).sum(1)
        columns = [self.tables[n](batch["cat"][:, n]) for n in range(4)]
        return torch.stack([*columns, pooled, vectors[:, 0]], 1)

    def _vectors(self, index: torch.Tensor, of: Any) -> torch.Tensor:
        """Return vectors of items; of: a table, or a projection of the tower's vectors."""
        found: torch.Tensor = of(index if self.items == "learned" else self.tower[index])
        return found


def _table(rows: int) -> nn.Embedding:
    """Return a table whose rows are near 0."""
    table = nn.Embedding(rows, DIM)
    nn.init.normal_(table.weight, std=0.05)
    return table
