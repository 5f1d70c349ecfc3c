"""Declare the upstream columns of each feature, for the lineage in the UI."""

from collections.abc import Mapping, Sequence

import dagster as dg

from recsys_assets import columns as c

LINEAGE = "dagster/column_lineage"
_INTERACTIONS, _USERS, _ITEMS = "raw/interactions", "raw/users", "raw/items"
_OWN = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.TIMESTAMP, c.DEVICE_TYPE, c.CLICK)
_OF_USER, _OF_ITEM = (c.AGE, c.GENDER), (c.CATEGORY_L1, c.CATEGORY_L2, c.ITEM_GENDER, c.PRICE)
_CLICKS = [(_INTERACTIONS, name) for name in (c.USER_ID, c.EVENT_TYPE, c.TIMESTAMP)]

#: Column of features/interactions → the (asset, column) pairs that it is made from.
FEATURE_SOURCES: Mapping[str, Sequence[tuple[str, str]]] = {
    **{name: [(_INTERACTIONS, name)] for name in _OWN},
    **{name: [(_USERS, name), (_INTERACTIONS, c.USER_ID)] for name in _OF_USER},
    **{name: [(_ITEMS, name), (_INTERACTIONS, c.ITEM_ID)] for name in _OF_ITEM},
    c.TOP_CATEGORY: [*_CLICKS, (_INTERACTIONS, c.ITEM_ID), (_ITEMS, c.CATEGORY_L1)],
    c.CLICKS_24H: _CLICKS,
    c.CLICKS_LOOK_BACK: _CLICKS,
    **{
        key: [*_CLICKS, (_INTERACTIONS, c.ITEM_ID), (_ITEMS, c.CATEGORY_L1)]
        for key in (c.CATEGORY_CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_24H)
    },
    c.HOURS_SINCE_CLICK: _CLICKS,
    c.ITEM_CLICKS: [(_INTERACTIONS, name) for name in (c.ITEM_ID, c.EVENT_TYPE, c.TIMESTAMP)],
}
#: Masking changes values row by row; each column comes from the column of the same name.
MASKED_SOURCES: Mapping[str, Sequence[tuple[str, str]]] = {
    name: [("features/interactions", name)] for name in c.INTERACTION_FEATURES
}


def column_lineage(
    sources: Mapping[str, Sequence[tuple[str, str]]],
) -> dict[str, dg.TableColumnLineage]:
    """Return the column lineage as a metadata entry."""
    return {
        LINEAGE: dg.TableColumnLineage(
            {
                column: [
                    dg.TableColumnDep(dg.AssetKey(asset.split("/")), name)
                    for asset, name in upstream
                ]
                for column, upstream in sources.items()
            }
        )
    }
