-- What a day of a given size took, one row per thing that has a fixed and a per-image part.
-- step: seconds of a nightly or dump step. stage: seconds of one stage of an image, summed over the images of
-- the day. consumer: the median availability; for batch without the median wait for midnight, which follows
-- from the schedule and is given beside it. images: what the quantity grows with: rows of the stage, else
-- distinct keys of the day. Two nightly waits are left out: in the queue all jobs wait for those before them, so
-- that the sum grows with the square of the images; and the wait for the rest of a job grows with the size of a job,
-- which follows the day's until a job is full. What both cost is the wall time of the step that works them off.
-- Encoding and writing a nightly job is the same span in the rows of all its images, of which each gets its part.
WITH day_keys AS (
    SELECT arm, replicate, day, count(*) AS keys FROM keys GROUP BY ALL
),
waits AS (
    SELECT arm, replicate, day, (midnight_ns - scheduled_ns) / 1e9 AS wait, (batch_ns - scheduled_ns) / 1e9 AS batch,
        (online_ns - scheduled_ns) / 1e9 AS online
    FROM keys JOIN days USING (arm, replicate, day)
)
SELECT arm, replicate, day, 'step' AS kind, path, detail AS name, any_value(keys) AS images,
    sum(end_ns - start_ns) / 1e9 AS seconds, 0.0 AS known_seconds
FROM events JOIN day_keys USING (arm, replicate, day)
WHERE stage = 'step' AND outcome = 'ok'
GROUP BY ALL
UNION ALL
SELECT arm, replicate, day, 'stage', path, stage, count(*), sum((end_ns - start_ns) / sharing) / 1e9, 0.0
FROM (
    SELECT *, CASE WHEN path = 'nightly' AND stage IN ('encode', 'write')
        THEN count(*) OVER (PARTITION BY arm, replicate, day, path, stage, start_ns, end_ns) ELSE 1 END AS sharing
    FROM image_stages
    WHERE outcome = 'ok' AND day >= 0 AND NOT (path = 'nightly' AND stage IN ('queue', 'job_wait'))
)
GROUP BY ALL
UNION ALL
SELECT arm, replicate, day, 'consumer', 'consumer', 'online', count(*), quantile_cont(online, 0.5), 0.0
FROM waits WHERE online IS NOT NULL
GROUP BY ALL
UNION ALL
SELECT arm, replicate, day, 'consumer', 'consumer', 'batch', count(*),
    quantile_cont(batch, 0.5) - quantile_cont(wait, 0.5), quantile_cont(wait, 0.5)
FROM waits WHERE batch IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
