"""Find a landed catalogue that differs, by content, from the one that was imported."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import sha256_json
from recsys_assets.lib.landing import zone
from recsys_assets.lib.landing.content import LandingContent
from recsys_assets.lib.raw.rows import RAW_ITEMS, RAW_USERS, items_digest, table_digest


@dataclass(frozen=True)
class LandedCatalogue:
    """Compares the landed catalogue with raw/items and raw/users.

    Attributes:
        digest: of all its files, 12 hexadecimal digits; "" if no catalogue has landed.
        differs: the assets that were made from other files, or were never made.
    """

    digest: str
    differs: tuple[str, ...] = ()


def landed_catalogue(content: LandingContent, store: ArtifactStore) -> LandedCatalogue:
    """Compare the landed catalogue with what was imported.

    Args:
        content: of the landing zone.
        store: holds raw/items and raw/users.
    """
    files = content.catalogue()
    if zone.ITEMS_FILE not in files:
        return LandedCatalogue("")
    items = table_digest(zone.ITEMS_FILE, files[zone.ITEMS_FILE])
    images = files.get(zone.IMAGES_FILE, hashlib.sha256(b"").hexdigest())
    now = {RAW_ITEMS: items_digest(items, images)}
    if zone.USERS_FILE in files:
        now[RAW_USERS] = table_digest(zone.USERS_FILE, files[zone.USERS_FILE])
    differs = [kind for kind, digest in now.items() if _imported(store, kind) != digest]
    return LandedCatalogue(sha256_json(files)[:12], (*differs,))


def _imported(store: ArtifactStore, kind: str) -> str | None:
    """Return the digest of the files that an asset was made from; None: it was never made."""
    made = store.manifest(kind)
    return None if made is None else made["inputs"].get("landing")
