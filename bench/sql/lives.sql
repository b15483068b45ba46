-- The life of two images of each arm: the one that the online consumer waited longest for, and the one at the
-- median (of an even number the faster of the two), of those that latency.sql ranks: warm-up is left out.
-- Times in seconds after the scheduled first arrival. Rows of the first arrival, of the repeat if one was
-- announced before it, and of the nightly path; and what the batch consumer's wait for it lay in, its day up to
-- midnight and the nightly steps (named in `step`). At most 60 of an image.
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
),
stages AS (
    SELECT c.*, path, stage, NULL AS step, outcome, attempt, batch_size, start_ns, end_ns
    FROM events e
    JOIN chosen c
        ON e.image_signature = c.image_signature AND e.arm = c.arm AND e.replicate = c.replicate
        AND e.galaxy = c.galaxy AND e.event_id IN (c.event_id, c.online_event_id, -1)
    UNION ALL
    SELECT c.*, path, stage, if(stage = 'step', detail, NULL), outcome, attempt, batch_size,
        greatest(start_ns, scheduled_ns), end_ns
    FROM events e
    JOIN chosen c ON e.arm = c.arm AND e.replicate = c.replicate AND e.day = c.day
    WHERE stage IN ('day', 'step') AND start_ns <= batch_ns AND end_ns > scheduled_ns
)
SELECT
    arm, which, replicate, galaxy, image_signature, file_name, seconds AS online_seconds,
    path, stage, step, outcome, attempt, batch_size,
    -- An end for a consumer is a moment, its row may start at the arrival; so is the hand-over, which the time
    -- in the queue includes.
    (if(is_moment, end_ns, start_ns) - scheduled_ns) / 1e9 AS start_seconds,
    if(is_moment, 0, end_ns - start_ns) / 1e9 AS duration_seconds
FROM (SELECT *, stage = 'arrival' OR stage LIKE 'available%' AS is_moment FROM stages)
LEFT JOIN images USING (image_signature)
QUALIFY row_number() OVER (PARTITION BY arm, which ORDER BY start_ns, end_ns) <= 60
ORDER BY arm, which, start_seconds, duration_seconds, path, stage;
