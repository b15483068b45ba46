-- The course of a run in 100 intervals of equal length, from the first instant of day 0 of each replicate.
-- seconds: where the interval starts. median_ and slowest_seconds: online latency of the images that were
-- scheduled in it, over all replicates. online_backlog: arrivals scheduled and not yet ended for the online
-- consumer at its end; batch_backlog: keys that the batch consumer does not have yet. Of several replicates
-- the largest.
WITH origins AS (
    SELECT arm, replicate, min(start_ns) AS origin_ns FROM days GROUP BY ALL
),
dead AS (
    SELECT arm, replicate, event_id, min(end_ns) AS dead_ns
    FROM events WHERE stage = 'dead_letter' AND event_id >= 0
    GROUP BY ALL
),
offered AS (
    SELECT arm, replicate, scheduled_ns, least(available_ns, dead_ns) AS ended_ns
    FROM arrivals
    LEFT JOIN online_ends USING (arm, replicate, event_id)
    LEFT JOIN dead USING (arm, replicate, event_id)
),
changes AS (
    SELECT arm, replicate, 'online' AS consumer, scheduled_ns AS at_ns, 1 AS change FROM offered
    UNION ALL
    SELECT arm, replicate, 'online', ended_ns, -1 FROM offered WHERE ended_ns IS NOT NULL
    UNION ALL
    SELECT arm, replicate, 'batch', scheduled_ns, 1 FROM keys WHERE batch_ns IS NOT NULL OR NOT batch_dead
    UNION ALL
    SELECT arm, replicate, 'batch', batch_ns, -1 FROM keys WHERE batch_ns IS NOT NULL
),
width AS (
    SELECT greatest(max(at_ns - origin_ns), 1) / 100 AS width_ns
    FROM changes JOIN origins USING (arm, replicate)
),
net AS (
    SELECT
        arm, replicate, consumer,
        least(floor((at_ns - origin_ns) / width_ns), 99)::INTEGER AS interval,
        sum(change)::BIGINT AS change
    FROM changes JOIN origins USING (arm, replicate) CROSS JOIN width
    GROUP BY ALL
),
grid AS (
    SELECT arm, replicate, consumer, interval
    FROM (SELECT DISTINCT arm, replicate, consumer FROM net), (SELECT unnest(range(100))::INTEGER AS interval)
),
backlogs AS (
    SELECT
        arm, replicate, consumer, interval,
        sum(coalesce(change, 0)) OVER (
            PARTITION BY arm, replicate, consumer ORDER BY interval
        )::BIGINT AS backlog
    FROM grid LEFT JOIN net USING (arm, replicate, consumer, interval)
),
backlog AS (
    SELECT
        arm, interval,
        max(backlog) FILTER (consumer = 'online') AS online_backlog,
        max(backlog) FILTER (consumer = 'batch') AS batch_backlog
    FROM backlogs GROUP BY ALL
),
latencies AS (
    SELECT
        arm, least(floor((scheduled_ns - origin_ns) / width_ns), 99)::INTEGER AS interval,
        count(*) AS images,
        quantile_cont((online_ns - scheduled_ns) / 1e9, 0.5) AS median_seconds,
        max((online_ns - scheduled_ns) / 1e9) AS slowest_seconds
    FROM keys JOIN origins USING (arm, replicate) CROSS JOIN width
    WHERE online_ns IS NOT NULL
    GROUP BY ALL
)
SELECT
    arm, interval * width_ns / 1e9 AS seconds, (interval + 1) * width_ns / 1e9 AS end_seconds,
    images, median_seconds, slowest_seconds, online_backlog, batch_backlog
FROM backlog LEFT JOIN latencies USING (arm, interval) CROSS JOIN width
ORDER BY arm, interval;
