-- Every key with the seconds after which it was available, from its scheduled first arrival; for a lost key
-- those until the last event of its replicate, is_censored: it may have become available later. The nightly
-- cycle (replicate, day) is the sampling unit of what images share.
WITH observed AS (
    SELECT arm, replicate, max(end_ns) AS last_ns FROM events GROUP BY ALL
)
SELECT
    arm, consumer, replicate, day,
    coalesce(seconds, (last_ns - scheduled_ns) / 1e9) AS seconds,
    seconds IS NULL AS is_censored
FROM key_latencies JOIN observed USING (arm, replicate)
ORDER BY arm, consumer DESC, seconds, replicate, day;
