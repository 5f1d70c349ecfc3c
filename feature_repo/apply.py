"""Apply the definitions of this folder to Feast's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from feast import FeatureStore


def apply_features(store: FeatureStore, settings: Settings | None = None) -> dict[str, list[str]]:
    """Write the definitions into the registry and return their names.

    The names are grouped by "entities", "views", "push_sources" and "services".
    """
    from feature_repo.features import define

    definitions = define(settings or get_settings())
    store.apply(list(definitions))
    views = (
        definitions.user_features,
        definitions.user_activity,
        definitions.item_features,
        definitions.item_popularity,
    )
    return {
        "entities": [definitions.user.name, definitions.item.name],
        "views": [view.name for view in views],
        "push_sources": [definitions.user_activity_push.name],
        "services": [definitions.home_page_v1.name, definitions.home_page_v2.name],
    }
