"""Read the net that other shops gave, which comes with the package.

``recsys bench prior`` fits it and writes its figures beside it; see decision 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from recsys_assets.files import read_json
from recsys_assets.lib.sources.list_net import ListNet
from recsys_assets.lib.sources.stored import read_net

#: Files of the net and of its figures.
NET, FIGURES = "prior.npy", "prior.json"
#: Where the shipped ones lie.
FOLDER = Path(__file__).parent


def net_of_other_shops(lists: Sequence[str]) -> ListNet:
    """Return the net that adds to the default weights of these lists.

    lists: names, in the order of the columns that it reads. One that is newer than the net changes
        nothing.
    """
    net, fitted = _shipped()
    return net.of_lists(fitted, lists)


@cache
def _shipped() -> tuple[ListNet, tuple[str, ...]]:
    """Return the net and the lists that it reads."""
    lists = tuple(read_json(FOLDER / FIGURES)["lists"])
    return read_net(FOLDER / NET, len(lists)), lists
