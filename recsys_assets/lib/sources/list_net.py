"""Score a visitor's union by a small net over what the lists and the visitor's clicks say.

The weighted ranks of a blend add up what each source says. The net adds to their sum what holds
only together: an item that two lists have at the top, an item of the visitor's own that is due
again, a source that is right for visitors of a long history alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.union import LAST

#: What the net reads of an item beside its places in the lists: the visitor's clicks on it, the
#: hours since the last of them, whether it is young; and of the visitor, which is the same for all
#: items: the number of clicks, and the hours since the last.
OF_VISITOR = ("own_clicks", "own_hours", "young", "clicks", "hours")


def write_of_visitor(
    target: np.ndarray, recent: Recent, items: np.ndarray, young: np.ndarray
) -> None:
    """Write the columns OF_VISITOR: numbers n as log(1 + n).

    Args:
        target: float32 [N, 5] of zeros.
        recent: of the visitor.
        items: int64 [N], rows of the vocabulary, ascending.
        young: bool [N], whether the item is young.
    """
    target[:, 2] = young
    if not len(recent):
        return
    target[:, 3:] = np.log1p([len(recent), recent.ages[0]])
    own, at = recent.items
    place = items.searchsorted(own)
    listed = (items.take(place, mode="clip") == own).nonzero()[0]
    # clicks are newest first, and of equal rows the last write stays
    latest = np.empty(len(own), np.float32)
    latest[at[::-1]] = recent.ages[::-1]
    rows = place[listed]
    target[rows, 0] = np.log1p(np.bincount(at))[listed]
    target[rows, 1] = np.log1p(latest[listed])


@dataclass(frozen=True)
class ListNet:
    """A net of one hidden layer of H units, shared by the items of a list."""

    hidden: np.ndarray  # float32 [D, H]
    bias: np.ndarray  # float32 [H]
    out: np.ndarray  # float32 [H]

    @classmethod
    def read(cls, stacked: np.ndarray) -> ListNet:
        """Return the net of ``stacked``."""
        return cls(stacked[:-2], stacked[-2], stacked[-1])

    @classmethod
    def mean(cls, nets: Sequence[ListNet]) -> ListNet:
        """Return the net that adds the mean of what the nets add."""
        hidden, bias, out = (
            np.concatenate([getattr(net, name) for net in nets], axis=-1)
            for name in ("hidden", "bias", "out")
        )
        return cls(hidden, bias, (out / len(nets)).astype(np.float32))

    @property
    def stacked(self) -> np.ndarray:
        """Return all weights as one array, float32 [D + 2, H]: hidden, bias, out."""
        return np.concatenate([self.hidden, self.bias[None], self.out[None]])

    def of_lists(self, fitted: Sequence[str], lists: Sequence[str]) -> ListNet:
        """Return the net that adds the same where it reads other lists.

        Args:
            fitted: [K], the lists that it reads.
            lists: that it is to read. One that is not in ``fitted`` changes nothing. One that is
                missing here counts as a list without any item.
        """
        hidden = np.zeros((len(lists), self.hidden.shape[1]), np.float32)
        for row, name in enumerate(lists):
            if name in fitted:
                hidden[row] = self.hidden[fitted.index(name)]
        absent = [row for row, name in enumerate(fitted) if name not in lists]
        bias = self.bias + np.float32(LAST) * self.hidden[absent].sum(axis=0)
        return ListNet(np.concatenate([hidden, self.hidden[len(fitted) :]]), bias, self.out)

    def of(self, inputs: np.ndarray) -> np.ndarray:
        """Return what the net adds to the score of each item, float32 [N].

        inputs: float32 [N, D]: -log(1 + rank) in each list, and the columns OF_VISITOR.
        """
        # max(0, u) is (u + |u|) / 2, and numpy's maximum takes 6x as long as abs; with an item per
        # column, the bias is added 3x faster
        units = self.hidden.T @ inputs.T
        units += self.bias[:, None]
        added = self.out @ units
        np.abs(units, out=units)
        added += self.out @ units
        added *= 0.5
        return np.asarray(added)
