"""Which sources a blend reads."""

from __future__ import annotations

from recsys_assets.defs.evaluation.blend import BlendInputs
from recsys_assets.defs.ladder.fusion import FusionInputs
from recsys_assets.defs.sources.inputs import split
from recsys_assets.orchestration.upstream import roles
from recsys_assets.source_names import EASE, IALS, ITEM_TO_ITEM, SOURCE_NAMES


def test_the_full_models_read_every_source_and_the_fusion_all_but_its_own_retrieval() -> None:
    assert set(SOURCE_NAMES) <= set(roles(BlendInputs))
    assert set(SOURCE_NAMES) - set(roles(FusionInputs)) == {ITEM_TO_ITEM}
    assert roles(FusionInputs)["fitted"].upstream.kind == "sources/item_to_item"


def test_only_allowed_sources_that_were_opened_take_part() -> None:
    opened = {"log": 1, EASE: 2, IALS: 3}
    assert split(opened, SOURCE_NAMES) == ({"log": 1}, {EASE: 2, IALS: 3})
    assert split(opened, (IALS, ITEM_TO_ITEM)) == ({"log": 1}, {IALS: 3})
