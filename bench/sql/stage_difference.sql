-- How much longer each stage took in arm $contender than in arm $reference, in seconds, for the same arrival
-- (or, of a nightly step, for the same day) of the same replicate. Arms of one run share their schedule, so
-- differences are of pairs.
WITH spans AS (
    SELECT arm, replicate, day, event_id, stage, (end_ns - start_ns) / 1e9 AS seconds
    FROM image_stages
    WHERE outcome = 'ok' AND event_id >= 0
    UNION ALL
    SELECT arm, replicate, day, -1, detail, sum(end_ns - start_ns) / 1e9
    FROM events WHERE stage = 'step' AND day >= 0
    GROUP BY ALL
)
SELECT stage, contender.seconds - reference.seconds AS difference_seconds
FROM spans reference JOIN spans contender USING (replicate, day, event_id, stage)
WHERE reference.arm = $reference AND contender.arm = $contender
ORDER BY ALL;
