-- The life of two images of each arm: the one that the online consumer waited longest for, and the one at the
-- median (of an even number the faster of the two), of those that latency.sql ranks: warm-up is left out.
-- Times in seconds after the scheduled first arrival. Rows of the first arrival, of the repeat
-- if one was announced before it, and of the nightly path; at most 60 of an image.
WITH ranked AS (
    SELECT
        arm, replicate, event_id, seconds,
        row_number() OVER (PARTITION BY arm ORDER BY seconds NULLS LAST, replicate, event_id) AS rank,
        count(*) OVER (PARTITION BY arm) AS n,
        count(seconds) OVER (PARTITION BY arm) AS ended
    FROM key_latencies
    WHERE consumer = 'online'
),
picked AS (
    SELECT *, 'median' AS which FROM ranked WHERE rank = (n + 1) // 2 AND seconds IS NOT NULL
    UNION ALL
    SELECT *, 'slowest' FROM ranked WHERE rank = ended
),
chosen AS (
    SELECT which, seconds, keys.* FROM picked JOIN keys USING (arm, replicate, event_id)
)
SELECT
    c.arm, c.which, c.replicate, c.galaxy, c.image_signature, file_name, c.seconds AS online_seconds,
    e.path, e.stage, e.outcome, e.attempt, e.batch_size,
    -- An end for a consumer is a moment: its row may start at the arrival.
    (if(e.stage LIKE 'available%', e.end_ns, e.start_ns) - c.scheduled_ns) / 1e9 AS start_seconds,
    if(e.stage LIKE 'available%', 0, e.end_ns - e.start_ns) / 1e9 AS duration_seconds
FROM events e
JOIN chosen c
    ON e.image_signature = c.image_signature AND e.arm = c.arm AND e.replicate = c.replicate
    AND e.galaxy = c.galaxy AND e.event_id IN (c.event_id, c.online_event_id, -1)
LEFT JOIN images ON images.image_signature = c.image_signature
QUALIFY row_number() OVER (PARTITION BY c.arm, c.which ORDER BY e.start_ns, e.end_ns) <= 60
ORDER BY c.arm, c.which, start_seconds, duration_seconds, e.path, e.stage;
