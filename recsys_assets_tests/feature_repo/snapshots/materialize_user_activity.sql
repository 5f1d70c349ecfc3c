            SELECT
                user_id, recent_categories, recent_items, recent_timestamps, event_timestamp
            FROM (
                SELECT user_id, recent_categories, recent_items, recent_timestamps, event_timestamp,
                ROW_NUMBER() OVER(PARTITION BY user_id ORDER BY event_timestamp DESC) AS _feast_row
                FROM "AwsDataCatalog"."recsys"."user_activity"
                WHERE event_timestamp BETWEEN TIMESTAMP '2026-11-19 08:00:00' AND TIMESTAMP '2026-11-20 21:30:00'
                AND day >= '2026-11-19' AND day <= '2026-11-20'
            )
            WHERE _feast_row = 1
