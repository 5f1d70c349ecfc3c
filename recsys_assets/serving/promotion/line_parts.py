"""Define what the promotion of each line has of its own: its smoke requests, what it publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recsys_assets.lib.release.lines import ADS, RECOMMENDER, ReleaseLine
from recsys_assets.lib.release.releases import Release, read_display
from recsys_assets.serving.promotion.publication import (
    publish_committed,
    publish_display,
    withdraw_display,
)
from recsys_assets.serving.triton.ads_smoke import ads_smoke
from recsys_assets.serving.triton.replicas import Replica, smoke
from recsys_assets.settings import Settings

#: Asks models of a replica, and raises ReplicaError unless they answer as the release must.
Smoke = Callable[[Replica, Sequence[str]], None]


def smoke_of(release: Release) -> Smoke:
    """Return the smoke requests of a release.

    Raises:
        OSError: a file of the release cannot be read.
    """
    if release.line == ADS:
        return ads_smoke(release)
    catalogue = set(read_display(release))
    return lambda replica, models: smoke(replica, models, release, catalogue)


@dataclass(frozen=True)
class Publication:
    """Defines what is published beside the models.

    Attributes:
        around_switch: for a release and the one that it replaces; an answer may be of either.
        committed: for the release alone.
        undone: for the former release; None: there is none.
    """

    around_switch: Callable[[Settings, Release, Release | None], None]
    committed: Callable[[Settings, Release], None]
    undone: Callable[[Settings, Release | None], None]


def publication_of(line: ReleaseLine) -> Publication:
    """Return what is published beside the models of a line."""
    return _PUBLICATIONS[line]


def _undo_display(settings: Settings, former: Release | None) -> None:
    if former is not None:
        publish_display(settings, former)
    else:
        withdraw_display(settings)


_PUBLICATIONS: Mapping[ReleaseLine, Publication] = {
    RECOMMENDER: Publication(publish_display, publish_committed, _undo_display),
    # no page shows ads
    ADS: Publication(lambda *_: None, lambda *_: None, lambda *_: None),
}
