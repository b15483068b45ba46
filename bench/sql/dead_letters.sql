-- Dead letters by path and reason: distinct keys and, where the path works on arrivals, arrivals.
SELECT
    arm, path, reason,
    count(DISTINCT (replicate, galaxy, image_signature)) AS keys,
    count(*) FILTER (event_id >= 0) AS arrivals,
    min(image_signature) AS example
FROM dead_letters
GROUP BY ALL
ORDER BY ALL;
