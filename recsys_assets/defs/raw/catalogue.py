"""Users and items, as the landing zone holds them now."""

import dagster as dg

from recsys_assets import columns as c
from recsys_assets import reporting
from recsys_assets.resources import BuildConfig, Platform

CONTRACT = {"contract": "Columns, types, keys and values: no row may break them."}
CODE = ["recsys_assets.lib.ingestion", "recsys_assets.lib.contracts"]


@dg.asset(key=["raw", "users"], kinds={"polars", "parquet"}, check_specs=reporting.check_specs(["raw", "users"], **CONTRACT))
def users(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform):
    """In: the landing zone's users. Out: one row a registered user (age, gender)."""
    from recsys_assets.lib import ingestion

    landed = yield from reporting.read_under_contract(lambda: ingestion.landed_users(platform.settings.landing))
    built = platform.build(context, "raw/users", inputs={"landing": landed.digest}, code=CODE, force=config.force,
                           write=lambda staged: ingestion.write_users(landed, staged.path))
    yield reporting.result(built.artifact, reused=built.reused, columns=c.RAW_USERS)
    yield reporting.check("contract", True, value=0, threshold=0, files=landed.files)


@dg.asset(key=["raw", "items"], kinds={"polars", "parquet"}, check_specs=reporting.check_specs(["raw", "items"], **CONTRACT))
def items(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform):
    """In: the landing zone's catalogue. Out: one row a product, and its pictures."""
    from recsys_assets.lib import ingestion

    landed = yield from reporting.read_under_contract(lambda: ingestion.landed_items(platform.settings.landing))
    built = platform.build(context, "raw/items", inputs={"landing": landed.digest}, code=CODE, force=config.force,
                           write=lambda staged: ingestion.write_items(landed, staged.path))
    yield reporting.result(built.artifact, reused=built.reused, columns=c.RAW_ITEMS)
    yield reporting.check("contract", True, value=0, threshold=0, files=landed.files)
