-- Per key and its first arrival, warm-up included, what a replay needs. before: from the schedule until the image
-- waits for a device; on_device: from there until its outputs are here; both NULL where it was not computed on the
-- live path.
WITH waited AS (
    SELECT arm, replicate, event_id, min(start_ns) AS waits_ns FROM events
    WHERE stage = 'batch_wait' AND path IN ('online', 'stream') GROUP BY ALL
),
inferred AS (
    SELECT arm, replicate, event_id, min(end_ns) AS done_ns FROM events
    WHERE stage = 'inference' AND outcome = 'ok' AND path IN ('online', 'stream') GROUP BY ALL
)
SELECT
    k.arm, k.replicate, k.day, k.scheduled_ns / 1e9 AS scheduled,
    d.start_ns / 1e9 AS day_start, midnight_ns / 1e9 AS midnight,
    (waits_ns - k.scheduled_ns) / 1e9 AS before_seconds,
    (done_ns - waits_ns) / 1e9 AS on_device_seconds,
    (online_ns - k.scheduled_ns) / 1e9 AS online_seconds,
    (batch_ns - midnight_ns) / 1e9 AS after_midnight_seconds,
    (batch_ns - k.scheduled_ns) / 1e9 AS batch_seconds
FROM keys k
JOIN days d USING (arm, replicate, day)
LEFT JOIN waited USING (arm, replicate, event_id)
LEFT JOIN inferred USING (arm, replicate, event_id)
ORDER BY k.arm, k.replicate, k.day, k.scheduled_ns, k.event_id;
