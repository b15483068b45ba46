-- Inferences beyond the first of a key: within one path (retries, restarts, repeats computed at the same
-- time) and across paths (an architecture that computes every image twice).
WITH per_path AS (
    SELECT arm, replicate, galaxy, image_signature, path, count(*) AS n
    FROM events
    WHERE stage = 'inference' AND outcome = 'ok'
    GROUP BY ALL
),
per_key AS (
    SELECT arm, replicate, sum(n) AS n, count(*) AS paths FROM per_path
    GROUP BY arm, replicate, galaxy, image_signature
)
SELECT
    arm, replicate,
    sum(n)::BIGINT AS inferences,
    count(*) AS keys,
    count(*) FILTER (n > 1) AS recomputed_keys,
    sum(paths - 1)::BIGINT AS extra_across_paths,
    sum(n - paths)::BIGINT AS extra_within_path
FROM per_key
GROUP BY GROUPING SETS ((arm), (arm, replicate))
ORDER BY arm, replicate NULLS FIRST;
