-- Time to availability per arm and consumer, from the scheduled first arrival of each key, in seconds.
-- "online_repeat" is apart: arrivals of a key that had arrived before, each from its own scheduled time.
-- A percentile p is printed only if n >= ln(0.01) / ln(p): with fewer samples, all of them may lie below
-- the true percentile with more than 1 % probability (binomial). A lost key counts as infinitely late.
WITH samples AS (
    SELECT arm, replicate, consumer, seconds FROM key_latencies
    UNION ALL
    SELECT arm, replicate, 'online_repeat', (available_ns - scheduled_ns) / 1e9
    FROM arrivals LEFT JOIN online_ends USING (arm, replicate, event_id)
    WHERE occurrence > 1
      AND (available_ns IS NOT NULL OR (arm, replicate, event_id) NOT IN (
          SELECT (arm, replicate, event_id) FROM dead_letters
      ))
),
summaries AS (
    SELECT
        arm, replicate, consumer,
        count(*) AS n,
        count(*) - count(seconds) AS lost,
        quantile_cont(coalesce(seconds, 'infinity'::DOUBLE), [0.5, 0.9, 0.95, 0.99]) AS quantiles,
        max(seconds) AS max_seconds
    FROM samples
    GROUP BY GROUPING SETS ((arm, consumer), (arm, replicate, consumer))
),
percentiles AS (
    SELECT arm, replicate, consumer, n, lost, max_seconds, quantiles, unnest([1, 2, 3, 4]) AS i
    FROM summaries
),
named AS (
    SELECT
        *,
        ['p50', 'p90', 'p95', 'p99'][i] AS statistic,
        quantiles[i] AS value,
        ceil(ln(0.01) / ln([0.5, 0.9, 0.95, 0.99][i]))::BIGINT AS needed
    FROM percentiles
)
SELECT
    arm, replicate, consumer, statistic, n, lost,
    CASE WHEN n >= needed AND isfinite(value) THEN value END AS seconds,
    CASE
        WHEN n < needed THEN format('needs {} samples, has {}', needed, n)
        WHEN NOT isfinite(value) THEN format('lies among the {} of {} that never became available', lost, n)
    END AS reason
FROM named
UNION ALL
SELECT
    arm, replicate, consumer, 'max', n, lost,
    CASE WHEN lost = 0 THEN max_seconds END,
    CASE WHEN lost > 0 THEN format('{} of {} never became available', lost, n) END
FROM summaries
ORDER BY arm, replicate NULLS FIRST, consumer, statistic;
