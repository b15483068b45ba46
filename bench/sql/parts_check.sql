-- Do the parts of every wait sum to the whole, to the nanosecond? uneven: waits where they do not; unrecorded:
-- waits with time that no row of the ledger accounts for; broken_stages: stages that do not begin at the very
-- instant at which the one before ended.
WITH sums AS (
    SELECT
        arm, replicate, consumer, event_id,
        sum(ns) AS parts_ns, sum(ns) FILTER (part = 'unrecorded') AS unrecorded_ns, min(ns) AS least_ns
    FROM wait_parts GROUP BY ALL
),
waited AS (
    SELECT
        arm, consumer,
        count(*) AS waits,
        count(*) FILTER (parts_ns IS DISTINCT FROM available_ns - scheduled_ns OR least_ns < 0) AS uneven,
        count(*) FILTER (unrecorded_ns > 0) AS unrecorded
    FROM waits LEFT JOIN sums USING (arm, replicate, consumer, event_id)
    GROUP BY ALL
),
stages AS (
    SELECT arm, consumer, start_ns, lag(end_ns) OVER (
        PARTITION BY arm, replicate, consumer, event_id ORDER BY end_ns, start_ns
    ) AS before_ns
    FROM wait_stages
),
broken AS (
    SELECT arm, consumer, count(*) FILTER (start_ns <> before_ns) AS broken_stages FROM stages GROUP BY ALL
)
SELECT arm, consumer, waits, uneven, unrecorded, coalesce(broken_stages, 0) AS broken_stages
FROM waited LEFT JOIN broken USING (arm, consumer)
ORDER BY arm, consumer DESC;
