"""Tests of what runs online.

They import Feast as serving does: without typeguard's checks, which take 5 s of each test process.
"""

from recsys_assets.lib.feature_store.feast_import import import_without_checks

import_without_checks()
