"""Publish what the gateway needs beside the models: display, images, neighbours."""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys_assets.files import replacing, write_json
from recsys_assets.lib.release.learnt import last_day
from recsys_assets.lib.release.releases import Release, read_display, seen_rule
from recsys_assets.release_files import IMAGES_FILE, ITEM_IDS_FILE, SIMILAR_FILE
from recsys_assets.serving.published.display import display_path
from recsys_assets.serving.published.similar import similar_path, write_similar
from recsys_assets.settings import Settings


def publish_display(settings: Settings, release: Release, leaving: Release | None = None) -> None:
    """Write what pages show of a release.

    Args:
        settings: of the home.
        release: that is shown.
        leaving: the former release. Around the switch the files cover both, so that every answer
            has its display.
    """
    target = display_path(settings)
    both = [release] if leaving is None else [leaving, release]
    items: dict[str, Any] = {}
    for one in both:
        items |= read_display(one)
    images = pl.concat([pl.read_parquet(one.artifact.path(IMAGES_FILE)) for one in both])
    with replacing(target.with_name(IMAGES_FILE)) as temporary:
        images.unique("image", keep="last", maintain_order=True).write_parquet(temporary)
    content = {
        "release": release.number,
        "rung": release.rung["name"],
        "hides": seen_rule(release.artifact).text(),
        "learnt_to": last_day(release.learnt_days),
        "items": items,
    }
    write_json(target, content)


def publish_committed(settings: Settings, release: Release) -> None:
    """Publish the display and the similar items of a release in force.

    Similar items change first, while the display still covers both releases, so that every id that
    they name can be shown. A release of an older form has none; this occurs when a promotion that
    died before an update is finished after it.
    """
    if release.of_this_form:
        write_similar(
            similar_path(settings),
            release.number,
            release.artifact.path(ITEM_IDS_FILE),
            release.artifact.path(SIMILAR_FILE),
        )
    publish_display(settings, release)


def withdraw_display(settings: Settings) -> None:
    """Remove the display after a first promotion was undone."""
    for path in (display_path(settings), display_path(settings).with_name(IMAGES_FILE)):
        path.unlink(missing_ok=True)
