-- Median seconds of each stage, by path, over all that ended well, repeats and warm-up included: what metrics follow
-- from run to run. They add up to nothing; stage_parts.sql has what adds up. notice: from the announcement until the
-- online client held the signals. The batch path is seen from outside: from the scheduled first
-- arrival to midnight, and from midnight until the batch client had read the key.
WITH published AS (
    SELECT arm, replicate, path, event_id, min(end_ns) AS published_ns
    FROM events WHERE stage = 'publish' AND outcome = 'ok'
    GROUP BY ALL
),
samples AS (
    SELECT arm, replicate, path, stage, (end_ns - start_ns) / 1e9 AS seconds
    FROM image_stages WHERE outcome = 'ok'
    UNION ALL
    SELECT arm, replicate, path, 'notice', (available_ns - published_ns) / 1e9
    FROM published JOIN online_ends USING (arm, replicate, event_id)
    WHERE available_ns IS NOT NULL
    UNION ALL
    SELECT arm, replicate, 'batch', 'wait_for_midnight', (midnight_ns - scheduled_ns) / 1e9
    FROM keys JOIN days USING (arm, replicate, day)
    WHERE batch_ns IS NOT NULL
    UNION ALL
    SELECT arm, replicate, 'batch', 'after_midnight', (batch_ns - midnight_ns) / 1e9
    FROM keys JOIN days USING (arm, replicate, day)
    WHERE batch_ns IS NOT NULL
)
SELECT * FROM (
    SELECT arm, replicate, path, stage, count(*) AS n, quantile_cont(seconds, 0.5) AS median_seconds
    FROM samples
    GROUP BY GROUPING SETS ((arm, path, stage), (arm, replicate, path, stage))
)
ORDER BY
    arm,
    replicate NULLS FIRST,
    list_position(['online', 'stream', 'nightly', 'dump', 'batch'], path),
    path,
    list_position(['queue', 'fetch', 'decode', 'batch_wait', 'inference', 'job_wait', 'encode', 'write',
        'publish', 'notice', 'wait_for_midnight', 'after_midnight'], stage);
