/*
 Compute a deterministic hash for the `left_table_query_string` that will be used throughout
 all the logic as the field to GROUP BY the data
*/
WITH entity_dataframe AS (
    SELECT *,
        event_timestamp AS entity_timestamp
            ,(
                    CAST(user_id as VARCHAR) ||
                CAST(event_timestamp AS VARCHAR)
            ) AS user_features__entity_row_unique_id
            ,(
                    CAST(user_id as VARCHAR) ||
                CAST(event_timestamp AS VARCHAR)
            ) AS user_activity__entity_row_unique_id
            ,(
                    CAST(item_id as VARCHAR) ||
                CAST(event_timestamp AS VARCHAR)
            ) AS item_features__entity_row_unique_id
            ,(
                    CAST(item_id as VARCHAR) ||
                CAST(event_timestamp AS VARCHAR)
            ) AS item_popularity__entity_row_unique_id
    FROM feast_entity_df_<id>
),
user_features__entity_dataframe AS (
    SELECT
        user_id,
        entity_timestamp,
        user_features__entity_row_unique_id
    FROM entity_dataframe
    GROUP BY
        user_id,
        entity_timestamp,
        user_features__entity_row_unique_id
),
/*
 This query template performs the point-in-time correctness join for a single feature set table
 to the provided entity table.
 1. We first join the current feature_view to the entity dataframe that has been passed.
 This JOIN has the following logic:
    - For each row of the entity dataframe, only keep the rows where the `timestamp_field`
    is less than the one provided in the entity dataframe
    - If there a TTL for the current feature_view, also keep the rows where the `timestamp_field`
    is higher the the one provided minus the TTL
    - For each row, Join on the entity key and retrieve the `entity_row_unique_id` that has been
    computed previously
 The output of this CTE will contain all the necessary information and already filtered out most
 of the data that is not relevant.
*/
user_features__subquery AS (
    SELECT
        event_timestamp as event_timestamp,
        user_id AS user_id,
            age as age,
            gender as gender
    FROM "AwsDataCatalog"."recsys"."user_features"
   WHERE event_timestamp <= from_iso8601_timestamp('2026-11-20T21:30:00')
      AND day <= '2026-11-20'
    AND event_timestamp >= from_iso8601_timestamp('2025-11-19T08:00:00')
          AND day >= '2025-11-19'
),
user_features__base AS (
    SELECT
        subquery.*,
        entity_dataframe.entity_timestamp,
        entity_dataframe.user_features__entity_row_unique_id
    FROM user_features__subquery AS subquery
    INNER JOIN user_features__entity_dataframe AS entity_dataframe
    ON TRUE
        AND subquery.event_timestamp <= entity_dataframe.entity_timestamp
        AND subquery.event_timestamp >= entity_dataframe.entity_timestamp - 31536000 * interval '1' second
        AND subquery.user_id = entity_dataframe.user_id
),
/*
 2. If the `created_timestamp_column` has been set, we need to
 deduplicate the data first. This is done by calculating the
 `MAX(created_at_timestamp)` for each event_timestamp.
 We then join the data on the next CTE
*/
/*
 3. The data has been filtered during the first CTE "*__base"
 Thus we only need to compute the latest timestamp of each feature.
*/
user_features__latest AS (
    SELECT
        event_timestamp,
        user_features__entity_row_unique_id
    FROM
    (
        SELECT base.*,
            ROW_NUMBER() OVER(
                PARTITION BY base.user_features__entity_row_unique_id
                ORDER BY base.event_timestamp DESC
            ) AS row_number
        FROM user_features__base as base
    )
    WHERE row_number = 1
),
/*
 4. Once we know the latest value of each feature for a given timestamp,
 we can join again the data back to the original "base" dataset
*/
user_features__cleaned AS (
    SELECT base.*
    FROM user_features__base as base
    INNER JOIN user_features__latest as latest
    ON TRUE
        AND base.user_features__entity_row_unique_id = latest.user_features__entity_row_unique_id
        AND base.event_timestamp = latest.event_timestamp
),
user_activity__entity_dataframe AS (
    SELECT
        user_id,
        entity_timestamp,
        user_activity__entity_row_unique_id
    FROM entity_dataframe
    GROUP BY
        user_id,
        entity_timestamp,
        user_activity__entity_row_unique_id
),
/*
 This query template performs the point-in-time correctness join for a single feature set table
 to the provided entity table.
 1. We first join the current feature_view to the entity dataframe that has been passed.
 This JOIN has the following logic:
    - For each row of the entity dataframe, only keep the rows where the `timestamp_field`
    is less than the one provided in the entity dataframe
    - If there a TTL for the current feature_view, also keep the rows where the `timestamp_field`
    is higher the the one provided minus the TTL
    - For each row, Join on the entity key and retrieve the `entity_row_unique_id` that has been
    computed previously
 The output of this CTE will contain all the necessary information and already filtered out most
 of the data that is not relevant.
*/
user_activity__subquery AS (
    SELECT
        event_timestamp as event_timestamp,
        user_id AS user_id,
            recent_categories as recent_categories,
            recent_items as recent_items,
            recent_timestamps as recent_timestamps
    FROM "AwsDataCatalog"."recsys"."user_activity"
   WHERE event_timestamp <= from_iso8601_timestamp('2026-11-20T21:30:00')
      AND day <= '2026-11-20'
    AND event_timestamp >= from_iso8601_timestamp('2025-11-19T08:00:00')
          AND day >= '2025-11-19'
),
user_activity__base AS (
    SELECT
        subquery.*,
        entity_dataframe.entity_timestamp,
        entity_dataframe.user_activity__entity_row_unique_id
    FROM user_activity__subquery AS subquery
    INNER JOIN user_activity__entity_dataframe AS entity_dataframe
    ON TRUE
        AND subquery.event_timestamp <= entity_dataframe.entity_timestamp
        AND subquery.event_timestamp >= entity_dataframe.entity_timestamp - 31536000 * interval '1' second
        AND subquery.user_id = entity_dataframe.user_id
),
/*
 2. If the `created_timestamp_column` has been set, we need to
 deduplicate the data first. This is done by calculating the
 `MAX(created_at_timestamp)` for each event_timestamp.
 We then join the data on the next CTE
*/
/*
 3. The data has been filtered during the first CTE "*__base"
 Thus we only need to compute the latest timestamp of each feature.
*/
user_activity__latest AS (
    SELECT
        event_timestamp,
        user_activity__entity_row_unique_id
    FROM
    (
        SELECT base.*,
            ROW_NUMBER() OVER(
                PARTITION BY base.user_activity__entity_row_unique_id
                ORDER BY base.event_timestamp DESC
            ) AS row_number
        FROM user_activity__base as base
    )
    WHERE row_number = 1
),
/*
 4. Once we know the latest value of each feature for a given timestamp,
 we can join again the data back to the original "base" dataset
*/
user_activity__cleaned AS (
    SELECT base.*
    FROM user_activity__base as base
    INNER JOIN user_activity__latest as latest
    ON TRUE
        AND base.user_activity__entity_row_unique_id = latest.user_activity__entity_row_unique_id
        AND base.event_timestamp = latest.event_timestamp
),
item_features__entity_dataframe AS (
    SELECT
        item_id,
        entity_timestamp,
        item_features__entity_row_unique_id
    FROM entity_dataframe
    GROUP BY
        item_id,
        entity_timestamp,
        item_features__entity_row_unique_id
),
/*
 This query template performs the point-in-time correctness join for a single feature set table
 to the provided entity table.
 1. We first join the current feature_view to the entity dataframe that has been passed.
 This JOIN has the following logic:
    - For each row of the entity dataframe, only keep the rows where the `timestamp_field`
    is less than the one provided in the entity dataframe
    - If there a TTL for the current feature_view, also keep the rows where the `timestamp_field`
    is higher the the one provided minus the TTL
    - For each row, Join on the entity key and retrieve the `entity_row_unique_id` that has been
    computed previously
 The output of this CTE will contain all the necessary information and already filtered out most
 of the data that is not relevant.
*/
item_features__subquery AS (
    SELECT
        event_timestamp as event_timestamp,
        item_id AS item_id,
            price as price,
            category_l1 as category_l1,
            category_l2 as category_l2,
            item_gender as item_gender
    FROM "AwsDataCatalog"."recsys"."item_features"
   WHERE event_timestamp <= from_iso8601_timestamp('2026-11-20T21:30:00')
      AND day <= '2026-11-20'
    AND event_timestamp >= from_iso8601_timestamp('2025-11-19T08:00:00')
          AND day >= '2025-11-19'
),
item_features__base AS (
    SELECT
        subquery.*,
        entity_dataframe.entity_timestamp,
        entity_dataframe.item_features__entity_row_unique_id
    FROM item_features__subquery AS subquery
    INNER JOIN item_features__entity_dataframe AS entity_dataframe
    ON TRUE
        AND subquery.event_timestamp <= entity_dataframe.entity_timestamp
        AND subquery.event_timestamp >= entity_dataframe.entity_timestamp - 31536000 * interval '1' second
        AND subquery.item_id = entity_dataframe.item_id
),
/*
 2. If the `created_timestamp_column` has been set, we need to
 deduplicate the data first. This is done by calculating the
 `MAX(created_at_timestamp)` for each event_timestamp.
 We then join the data on the next CTE
*/
/*
 3. The data has been filtered during the first CTE "*__base"
 Thus we only need to compute the latest timestamp of each feature.
*/
item_features__latest AS (
    SELECT
        event_timestamp,
        item_features__entity_row_unique_id
    FROM
    (
        SELECT base.*,
            ROW_NUMBER() OVER(
                PARTITION BY base.item_features__entity_row_unique_id
                ORDER BY base.event_timestamp DESC
            ) AS row_number
        FROM item_features__base as base
    )
    WHERE row_number = 1
),
/*
 4. Once we know the latest value of each feature for a given timestamp,
 we can join again the data back to the original "base" dataset
*/
item_features__cleaned AS (
    SELECT base.*
    FROM item_features__base as base
    INNER JOIN item_features__latest as latest
    ON TRUE
        AND base.item_features__entity_row_unique_id = latest.item_features__entity_row_unique_id
        AND base.event_timestamp = latest.event_timestamp
),
item_popularity__entity_dataframe AS (
    SELECT
        item_id,
        entity_timestamp,
        item_popularity__entity_row_unique_id
    FROM entity_dataframe
    GROUP BY
        item_id,
        entity_timestamp,
        item_popularity__entity_row_unique_id
),
/*
 This query template performs the point-in-time correctness join for a single feature set table
 to the provided entity table.
 1. We first join the current feature_view to the entity dataframe that has been passed.
 This JOIN has the following logic:
    - For each row of the entity dataframe, only keep the rows where the `timestamp_field`
    is less than the one provided in the entity dataframe
    - If there a TTL for the current feature_view, also keep the rows where the `timestamp_field`
    is higher the the one provided minus the TTL
    - For each row, Join on the entity key and retrieve the `entity_row_unique_id` that has been
    computed previously
 The output of this CTE will contain all the necessary information and already filtered out most
 of the data that is not relevant.
*/
item_popularity__subquery AS (
    SELECT
        event_timestamp as event_timestamp,
        item_id AS item_id,
            item_clicks as item_clicks
    FROM "AwsDataCatalog"."recsys"."item_popularity"
   WHERE event_timestamp <= from_iso8601_timestamp('2026-11-20T21:30:00')
      AND day <= '2026-11-20'
    AND event_timestamp >= from_iso8601_timestamp('2025-11-19T08:00:00')
          AND day >= '2025-11-19'
),
item_popularity__base AS (
    SELECT
        subquery.*,
        entity_dataframe.entity_timestamp,
        entity_dataframe.item_popularity__entity_row_unique_id
    FROM item_popularity__subquery AS subquery
    INNER JOIN item_popularity__entity_dataframe AS entity_dataframe
    ON TRUE
        AND subquery.event_timestamp <= entity_dataframe.entity_timestamp
        AND subquery.event_timestamp >= entity_dataframe.entity_timestamp - 31536000 * interval '1' second
        AND subquery.item_id = entity_dataframe.item_id
),
/*
 2. If the `created_timestamp_column` has been set, we need to
 deduplicate the data first. This is done by calculating the
 `MAX(created_at_timestamp)` for each event_timestamp.
 We then join the data on the next CTE
*/
/*
 3. The data has been filtered during the first CTE "*__base"
 Thus we only need to compute the latest timestamp of each feature.
*/
item_popularity__latest AS (
    SELECT
        event_timestamp,
        item_popularity__entity_row_unique_id
    FROM
    (
        SELECT base.*,
            ROW_NUMBER() OVER(
                PARTITION BY base.item_popularity__entity_row_unique_id
                ORDER BY base.event_timestamp DESC
            ) AS row_number
        FROM item_popularity__base as base
    )
    WHERE row_number = 1
),
/*
 4. Once we know the latest value of each feature for a given timestamp,
 we can join again the data back to the original "base" dataset
*/
item_popularity__cleaned AS (
    SELECT base.*
    FROM item_popularity__base as base
    INNER JOIN item_popularity__latest as latest
    ON TRUE
        AND base.item_popularity__entity_row_unique_id = latest.item_popularity__entity_row_unique_id
        AND base.event_timestamp = latest.event_timestamp
)
/*
 Joins the outputs of multiple time travel joins to a single table.
 The entity_dataframe dataset being our source of truth here.
 */
SELECT user_id, item_id, event_timestamp, age, gender, recent_categories, recent_items, recent_timestamps, price, category_l1, category_l2, item_gender, item_clicks
FROM entity_dataframe as entity_df
LEFT JOIN (
    SELECT
        user_features__entity_row_unique_id
            ,age
            ,gender
    FROM user_features__cleaned
) as cleaned
ON TRUE
AND entity_df.user_features__entity_row_unique_id = cleaned.user_features__entity_row_unique_id
LEFT JOIN (
    SELECT
        user_activity__entity_row_unique_id
            ,recent_categories
            ,recent_items
            ,recent_timestamps
    FROM user_activity__cleaned
) as cleaned
ON TRUE
AND entity_df.user_activity__entity_row_unique_id = cleaned.user_activity__entity_row_unique_id
LEFT JOIN (
    SELECT
        item_features__entity_row_unique_id
            ,price
            ,category_l1
            ,category_l2
            ,item_gender
    FROM item_features__cleaned
) as cleaned
ON TRUE
AND entity_df.item_features__entity_row_unique_id = cleaned.item_features__entity_row_unique_id
LEFT JOIN (
    SELECT
        item_popularity__entity_row_unique_id
            ,item_clicks
    FROM item_popularity__cleaned
) as cleaned
ON TRUE
AND entity_df.item_popularity__entity_row_unique_id = cleaned.item_popularity__entity_row_unique_id
