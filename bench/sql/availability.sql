-- The fraction of keys that are available t seconds after their scheduled first arrival, per arm and
-- consumer: at most about 800 points of each curve, first and last among them. Lost keys keep a curve below
-- 1; dead letters are no part of it.
WITH ranked AS (
    SELECT
        arm, consumer, seconds,
        row_number() OVER (PARTITION BY arm, consumer ORDER BY seconds NULLS LAST) AS rank,
        count(*) OVER (PARTITION BY arm, consumer) AS n,
        count(seconds) OVER (PARTITION BY arm, consumer) AS available
    FROM key_latencies
)
SELECT arm, consumer, seconds, rank / n AS fraction
FROM ranked
WHERE seconds IS NOT NULL AND (rank = 1 OR rank = available OR rank % greatest(1, n // 800) = 0)
ORDER BY arm, consumer, rank;
