"""Users and items, as the landing zone holds them now."""

import dagster as dg

from recsys_assets import columns as c
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform

CONTRACT = {
    "contract": "Columns, types, keys and values, and the declared categories: no row may break "
    "them."
}
NEW_CATEGORIES = dg.AssetCheckSpec(
    "new_categories",
    asset=dg.AssetKey(["raw", "items"]),
    description="Categories that the catalogue in force lacks: no model knows them before the next "
    "full training. To refuse "
    "them, declare the accepted ones in the landing zone's catalogue/categories.json.",
)


@dg.asset(
    key=["raw", "users"],
    kinds={"polars", "parquet"},
    check_specs=reporting.check_specs(["raw", "users"], CONTRACT),
)
def users(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform):
    """In: the landing zone's users. Out: one row a registered user (age, gender)."""
    from recsys_assets.lib.raw import raw_tables

    landing = platform.settings.landing
    landed = yield from reporting.read_under_contract(lambda: raw_tables.landed_users(landing))
    built = platform.build(
        context,
        "raw/users",
        inputs={"landing": landed.digest},
        force=config.force,
        write=lambda staged: raw_tables.write_users(landed, staged.path),
    )
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.RAW_USERS,
        extra={"quarantined": raw_tables.quarantine_counts(landing, "users")},
    )
    yield reporting.check(
        "contract",
        True,
        value=0,
        threshold=0,
        files=landed.files,
        extra_columns=landed.extra_columns,
    )


@dg.asset(
    key=["raw", "items"],
    kinds={"polars", "parquet"},
    check_specs=[*reporting.check_specs(["raw", "items"], CONTRACT), NEW_CATEGORIES],
)
def items(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform):
    """In: the landing zone's catalogue. Out: one row a product, and its pictures."""
    from recsys_assets.lib.raw import raw_tables

    landing = platform.settings.landing
    landed = yield from reporting.read_under_contract(lambda: raw_tables.landed_items(landing))
    new = raw_tables.new_categories(landed, platform.store)
    built = platform.build(
        context,
        "raw/items",
        inputs={"landing": landed.digest},
        force=config.force,
        write=lambda staged: raw_tables.write_items(landed, staged.path),
    )
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        columns=c.RAW_ITEMS,
        extra={"quarantined": raw_tables.quarantine_counts(landing, "items")},
    )
    yield reporting.check(
        "contract",
        True,
        value=0,
        threshold=0,
        files=landed.files,
        extra_columns=landed.extra_columns,
    )
    yield reporting.check("new_categories", not new, value=new, threshold="none", blocking=False)
