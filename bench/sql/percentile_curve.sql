-- Time to availability by percentile, per arm and consumer, in seconds: 16 points to each further nine, up to
-- the highest percentile p that the sample carries (n >= ln(0.01) / ln(p), as in latency.sql). A lost key
-- counts as infinitely late, so the curve also ends where lost keys begin.
WITH grid AS (
    SELECT
        arm, consumer, count(*) AS n,
        unnest(quantile_cont(
            coalesce(seconds, 'infinity'::DOUBLE),
            [1 - pow(10, -k / 16.0) FOR k IN generate_series(0, 96)]
        )) AS seconds,
        unnest([1 - pow(10, -k / 16.0) FOR k IN generate_series(0, 96)]) AS fraction
    FROM key_latencies
    GROUP BY arm, consumer
)
SELECT arm, consumer, n, fraction, seconds
FROM grid
WHERE isfinite(seconds) AND (fraction = 0 OR n >= ln(0.01) / ln(fraction))
ORDER BY arm, consumer, fraction;
