-- Per night with a pool of its own: how many images it worked on, from the first download to the last output,
-- and how long its devices were held, summed over devices.
WITH work AS (
    SELECT arm, replicate, day, (max(end_ns) - min(start_ns)) / 1e9 AS work_seconds
    FROM events WHERE path = 'nightly' AND stage IN ('fetch', 'inference') GROUP BY ALL
),
held AS (
    -- A session ends with the night in which it began.
    SELECT p.arm, p.replicate, d.day, p.device, p.start_ns, r.end_ns
    FROM events p
    JOIN events r ON r.stage = 'device_released' AND r.pool = p.pool AND r.arm = p.arm
        AND r.replicate = p.replicate AND r.process = p.process AND r.pid = p.pid AND r.device = p.device
    JOIN days d ON d.arm = p.arm AND d.replicate = p.replicate
    WHERE p.stage = 'device_provisioned' AND p.pool NOT IN ('online', 'stream')
      AND p.start_ns >= d.midnight_ns
    QUALIFY row_number() OVER (
        PARTITION BY p.arm, p.replicate, p.process, p.pid, p.device, p.start_ns ORDER BY d.midnight_ns DESC
    ) = 1
)
SELECT
    arm, replicate, day, any_value(images) AS images, any_value(work_seconds) AS work_seconds,
    count(*) AS devices, sum(end_ns - start_ns) / 1e9 AS held_seconds
FROM held
JOIN work USING (arm, replicate, day)
JOIN (SELECT arm, replicate, day, count(*) AS images FROM keys GROUP BY ALL) USING (arm, replicate, day)
GROUP BY arm, replicate, day
ORDER BY ALL;
