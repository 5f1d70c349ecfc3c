"""Write the catalogue of an invented shop: names, texts and categories that belong together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

ADJECTIVES = ("soft", "light", "classic", "robust", "small", "large", "simple", "warm", "bright")
COLOURS = ("black", "white", "blue", "green", "red", "grey", "yellow", "brown")


def catalogue(
    items: int, seed: int, departments: Sequence[tuple[str, Sequence[str]]]
) -> pl.DataFrame:
    """Return {item, name, text, department, kind, price} of each item.

    Args:
        items: number of items.
        seed: the same seed gives the same catalogue.
        departments: (department, its kinds of products).
    """
    random = np.random.default_rng(seed)
    rows = []
    for item in range(items):
        department, kinds = departments[int(random.integers(len(departments)))]
        kind = kinds[int(random.integers(len(kinds)))]
        adjective, colour = (
            words[int(random.integers(len(words)))] for words in (ADJECTIVES, COLOURS)
        )
        rows.append(
            {
                "item": item,
                "name": f"{adjective.title()} {colour} {kind} {item}",
                "text": f"A {adjective} {kind} in {colour}, from {department}.",
                "department": department,
                "kind": kind,
                "price": round(float(random.lognormal(3.0, 0.7)), 2),
            }
        )
    return pl.DataFrame(rows)
