-- Images per second. offered and available: arrivals scheduled, and arrivals that became available online,
-- between the first instant of a day and its midnight, over the length of the days. nightly: images through
-- inference over the time from the first fetch to the last inference of each night.
WITH offered AS (
    SELECT arm, replicate, day, count(*) AS arrivals FROM arrivals GROUP BY ALL
),
ended AS (
    SELECT d.arm, d.replicate, d.day, count(*) AS available
    FROM online_ends e JOIN days d
        ON e.arm = d.arm AND e.replicate = d.replicate
        AND e.available_ns > d.start_ns AND e.available_ns <= d.midnight_ns
    GROUP BY ALL
),
by_day AS (
    SELECT arm, replicate, (midnight_ns - start_ns) / 1e9 AS seconds,
        coalesce(arrivals, 0) AS arrivals, coalesce(available, 0) AS available
    FROM days
    LEFT JOIN offered USING (arm, replicate, day)
    LEFT JOIN ended USING (arm, replicate, day)
),
nights AS (
    SELECT arm, replicate, day,
        count(*) FILTER (stage = 'inference' AND outcome = 'ok') AS images,
        (max(end_ns) FILTER (stage = 'inference') - min(start_ns)) / 1e9 AS seconds
    FROM events WHERE path = 'nightly' AND stage IN ('fetch', 'inference')
    GROUP BY ALL
),
by_night AS (
    SELECT arm, replicate, sum(images) AS images, sum(seconds) AS seconds FROM nights
    GROUP BY GROUPING SETS ((arm), (arm, replicate))
)
SELECT
    d.arm, d.replicate,
    sum(d.arrivals) / sum(d.seconds) AS offered_per_second,
    sum(d.available) / sum(d.seconds) AS sustained_per_second,
    any_value(n.images)::BIGINT AS nightly_images,
    any_value(CASE WHEN n.seconds > 0 THEN n.images / n.seconds END) AS nightly_per_second
FROM (
    SELECT arm, replicate, seconds, arrivals, available FROM by_day
    UNION ALL
    SELECT arm, NULL, seconds, arrivals, available FROM by_day
) d
LEFT JOIN by_night n ON n.arm = d.arm AND n.replicate IS NOT DISTINCT FROM d.replicate
GROUP BY d.arm, d.replicate
ORDER BY ALL;
