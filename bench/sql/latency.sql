-- Time to availability per arm and consumer, from the scheduled first arrival of each key, in seconds.
-- "online_repeat" is apart: arrivals of a key that had arrived before, each from its own scheduled time.
-- A lost key counts as infinitely late; warm-up is no part of what the online consumer waited.
--
-- seconds: the percentile of all images (or NULL, with a reason). low, high: its 95 % interval. Its unit is the
-- nightly cycle (replicate, day) as soon as there are enough, since images of one night share its fate; then it
-- is Woodruff's ("Confidence intervals for medians and other position measures", 1952): the share of images
-- below the percentile has a variance between cycles, and its t interval is read back as seconds. With fewer
-- cycles it is the binomial interval of independent images for the online consumer, and none for the batch
-- consumer.
WITH samples AS (
    SELECT arm, replicate, day, consumer, seconds FROM key_latencies
    UNION ALL
    SELECT arm, replicate, day, 'online_repeat', (available_ns - scheduled_ns) / 1e9
    FROM arrivals
    LEFT JOIN online_ends USING (arm, replicate, event_id)
    LEFT JOIN warm_ups USING (arm, replicate)
    WHERE occurrence > 1
      AND scheduled_ns >= coalesce(warm_ns, 0)
      AND (available_ns IS NOT NULL OR (arm, replicate, event_id) NOT IN (
          SELECT (arm, replicate, event_id) FROM dead_letters
      ))
),
-- scope 0 is the arm as a whole, the others are its replicates
scoped AS (
    SELECT 0 AS scope, * FROM samples
    UNION ALL
    SELECT replicate AS scope, * FROM samples
),
summaries AS (
    SELECT
        arm, scope, consumer,
        count(*) AS n,
        count(*) - count(seconds) AS lost,
        count(DISTINCT (replicate, day)) AS cycles,
        CASE
            WHEN count(DISTINCT (replicate, day)) >= cycles_needed() THEN 'cycle'
            WHEN consumer <> 'batch' THEN 'image'
        END AS unit,
        quantile_cont(coalesce(seconds, 'infinity'::DOUBLE), [0.5, 0.9, 0.95, 0.99]) AS quantiles,
        list(coalesce(seconds, 'infinity'::DOUBLE) ORDER BY coalesce(seconds, 'infinity'::DOUBLE)) AS ordered,
        max(seconds) AS max_seconds
    FROM scoped
    GROUP BY arm, scope, consumer
),
percentiles AS (
    SELECT
        * EXCLUDE (quantiles),
        ['p50', 'p90', 'p95', 'p99'][i] AS statistic,
        [0.5, 0.9, 0.95, 0.99][i]::DOUBLE AS p,
        quantiles[i] AS value
    FROM summaries CROSS JOIN (SELECT unnest([1, 2, 3, 4]) AS i)
),
sizes AS (
    SELECT n, p FROM percentiles
),
shares AS (
    SELECT
        arm, scope, consumer, statistic, any_value(cycles) AS cycles,
        count(*) AS size, count(*) FILTER (seconds <= value) AS below
    FROM scoped JOIN percentiles USING (arm, scope, consumer)
    WHERE cycles >= cycles_needed()
    GROUP BY arm, scope, consumer, statistic, scoped.replicate, scoped.day
),
-- The ratio estimator's residual of each cycle: they sum to zero.
residuals AS (
    SELECT
        arm, scope, consumer, statistic, cycles,
        (below - size * sum(below) OVER whole / sum(size) OVER whole) * cycles / sum(size) OVER whole
            AS residual
    FROM shares
    WINDOW whole AS (PARTITION BY arm, scope, consumer, statistic)
),
margins AS (
    SELECT
        arm, scope, consumer, statistic,
        t975(any_value(cycles) - 1) * sqrt(sum(residual ** 2) / any_value((cycles - 1) * cycles)) AS margin
    FROM residuals
    GROUP BY ALL
),
intervals AS (
    SELECT
        percentiles.* EXCLUDE (ordered),
        ordered[CASE unit
            WHEN 'image' THEN low_rank
            WHEN 'cycle' THEN CASE WHEN p > margin THEN ceil(n * (p - margin))::BIGINT END
        END] AS low,
        ordered[CASE unit
            WHEN 'image' THEN high_rank
            WHEN 'cycle' THEN CASE WHEN p + margin <= 1 THEN ceil(n * (p + margin))::BIGINT END
        END] AS high
    FROM percentiles
    JOIN interval_ranks('sizes') USING (n, p)
    LEFT JOIN margins USING (arm, scope, consumer, statistic)
),
judged AS (
    SELECT
        *,
        CASE
            WHEN n < samples_needed(p) THEN format('needs {} samples, has {}', samples_needed(p), n)
            WHEN NOT isfinite(value)
                THEN format('lies among the {} of {} that never became available', lost, n)
        END AS reason
    FROM intervals
)
SELECT
    arm, nullif(scope, 0) AS replicate, consumer, statistic, n, lost, cycles,
    CASE WHEN reason IS NULL THEN value END AS seconds,
    reason,
    unit AS interval_unit,
    CASE WHEN reason IS NULL AND isfinite(low) THEN low END AS low_seconds,
    CASE WHEN reason IS NULL AND isfinite(high) THEN high END AS high_seconds,
    CASE
        WHEN reason IS NOT NULL THEN reason
        WHEN unit IS NULL
            THEN format('images of one night share its fate: needs {} nights, has {}', cycles_needed(), cycles)
        WHEN low IS NULL OR high IS NULL THEN format('{} nights differ too much to bound it', cycles)
        WHEN NOT isfinite(high) THEN format('reaches to the {} of {} that never became available', lost, n)
    END AS interval_reason
FROM judged
UNION ALL
SELECT
    arm, nullif(scope, 0), consumer, 'max', n, lost, cycles,
    CASE WHEN lost = 0 THEN max_seconds END,
    CASE WHEN lost > 0 THEN format('{} of {} never became available', lost, n) END,
    unit, NULL, NULL, NULL
FROM summaries
ORDER BY arm, replicate NULLS FIRST, consumer, statistic;
