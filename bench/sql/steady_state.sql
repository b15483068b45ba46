-- Online latency over the order of arrival, warm-up left out: medians of 20 batches of as many arrivals each, of
-- every arm and replicate. A lost key counts as infinitely late. Batches of fewer than 5 arrivals say nothing.
WITH numbered AS (
    SELECT
        arm, replicate, coalesce(seconds, 'infinity'::DOUBLE) AS seconds,
        ntile(20) OVER (PARTITION BY arm, replicate ORDER BY scheduled_ns) AS batch,
        count(*) OVER (PARTITION BY arm, replicate) AS arrivals
    FROM key_latencies WHERE consumer = 'online'
)
SELECT arm, replicate, batch, any_value(arrivals) AS arrivals, quantile_cont(seconds, 0.5) AS median_seconds
FROM numbered
GROUP BY ALL
ORDER BY ALL;
