"""Defines the ablations: what each variant takes away from the models.

Wherever possible, a variant is another set of data, so that the models have no code for ablations.
What data cannot express is a parameter of the training: logQ, and whether the query tower has
context columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE = "base"  # the complete models, beside their ablations
TEXT, IMAGE = "text", "image"
#: Ablations that withhold the newest items; the first is also the name of the slice of the queries
#: whose item was withheld.
COLD_ITEMS, COLD_ITEMS_NO_CONTENT = "cold_items", "cold_items_no_content"


@dataclass(frozen=True)
class Variant:
    """A generation without one part.

    Attributes:
        name: key in VARIANTS.
        text: what the figures call it.
        without: halves of the pretrained embeddings that are zeros.
        context: False: every row has an unknown device and the same hour and weekday.
        masked: False: no visitor and no device of the training rows is made unknown.
        withheld: True: the newest items have no training row, and are unknown until judged.
        two_tower: parameters of the two-tower training that differ.
    """

    name: str
    text: str
    without: tuple[str, ...] = ()
    context: bool = True
    masked: bool = True
    withheld: bool = False
    two_tower: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> str:
        """Name of the data sets that it learns from; variants of one name share them."""
        parts = [
            name
            for name, absent in (
                ("no_context", not self.context),
                ("no_masking", not self.masked),
                ("cold_items", self.withheld),
            )
            if absent
        ]
        return "_and_".join(parts) or BASE


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("no_text", "without text embeddings", without=(TEXT,)),
        Variant("no_image", "without image embeddings", without=(IMAGE,)),
        Variant("no_content", "without text and image embeddings", without=(TEXT, IMAGE)),
        Variant(
            "no_context",
            "without device, hour and weekday",
            context=False,
            two_tower={"use_context": False},
        ),
        Variant(
            "no_masking", "trained on rows in which every visitor and device is known", masked=False
        ),
        Variant(
            "no_logq",
            "two-tower without the correction of popular negatives",
            two_tower={"logq_correction": False},
        ),
        Variant(COLD_ITEMS, "the newest items withheld from training", withheld=True),
        Variant(
            COLD_ITEMS_NO_CONTENT,
            "the newest items withheld, and no text and image embeddings",
            without=(TEXT, IMAGE),
            withheld=True,
        ),
    )
}


def chosen(names: Sequence[str]) -> list[Variant]:
    """Return the variants of these names, each once.

    Raises:
        ValueError: a name is unknown, or none is given.
    """
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not names:
        raise ValueError(
            f"variants: {', '.join(map(repr, unknown)) or 'none'} given; choose from "
            f"{', '.join(VARIANTS)}"
        )
    return [VARIANTS[name] for name in dict.fromkeys(names)]
