-- Attempts after the first, by path: distinct (arrival or key, attempt) with attempt > 1.
SELECT arm, replicate, path, count(*) AS retries, max(attempt) AS highest_attempt
FROM (
    SELECT DISTINCT arm, replicate, path, day, event_id, galaxy, image_signature, attempt
    FROM image_stages
    WHERE attempt > 1
)
GROUP BY GROUPING SETS ((arm, path), (arm, replicate, path))
ORDER BY arm, replicate NULLS FIRST, path;
