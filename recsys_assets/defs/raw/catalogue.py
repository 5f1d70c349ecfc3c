"""Define the assets of users and items, as they are in the landing zone now."""

import dagster as dg

from recsys_assets import columns as c
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform

CONTRACT = {
    "contract": "All rows meet the contract: columns, types, keys, values and declared categories."
}
NEW_CATEGORIES = dg.AssetCheckSpec(
    "new_categories",
    asset=dg.AssetKey(["raw", "items"]),
    description="The catalogue has no new category. Models ignore a new category until the next "
    "full training. To reject new categories, declare the accepted ones in the landing zone's "
    "catalogue/categories.json. Warns otherwise.",
)


@dg.asset(
    key=["raw", "users"],
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    check_specs=reporting.check_specs(["raw", "users"], CONTRACT),
)
def users(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Events:
    """Imports the registered users from the landing zone.

    Reads all users of the landing zone. Writes one row per registered user, with age and gender.
    """
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
    yield reporting.contract_kept(landed.files, landed.extra_columns)


@dg.asset(
    key=["raw", "items"],
    kinds={"polars", "parquet"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    check_specs=[*reporting.check_specs(["raw", "items"], CONTRACT), NEW_CATEGORIES],
)
def items(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Events:
    """Imports the catalogue from the landing zone.

    Reads the products and images of the landing zone. Writes one row per product, and the images.
    """
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
    yield reporting.contract_kept(landed.files, landed.extra_columns)
    yield reporting.check("new_categories", not new, value=new, threshold="none", blocking=False)
