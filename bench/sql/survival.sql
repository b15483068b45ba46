-- Every key with the seconds after which it was available, from its scheduled first arrival; for a lost key
-- those until the last event of its replicate, is_censored: it may have become available later. The nightly
-- cycle (replicate, day), numbered from 0, is the sampling unit of what images share.
WITH observed AS (
    SELECT arm, replicate, max(end_ns) AS last_ns FROM events GROUP BY ALL
),
cycles AS (
    SELECT *, row_number() OVER (PARTITION BY arm, consumer ORDER BY replicate, day) - 1 AS cycle
    FROM (SELECT DISTINCT arm, consumer, replicate, day FROM key_latencies)
)
SELECT
    arm, consumer, replicate, day, cycle,
    coalesce(seconds, (last_ns - scheduled_ns) / 1e9) AS seconds,
    seconds IS NULL AS is_censored
FROM key_latencies
JOIN observed USING (arm, replicate)
JOIN cycles USING (arm, consumer, replicate, day);
