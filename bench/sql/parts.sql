-- Every wait, cut into named parts that follow each other without a gap or an overlap: from the scheduled time
-- of an arrival until the consumer holds its signals. Parts are the stages and nightly steps as stamped, in
-- order; what one stamp leaves open until the next begins is a part of its own name. What goes on after the
-- consumer holds the signals (a broker's confirmation, say) is no part of its wait: parts end there.
--
-- All times are ns after the scheduled time of the wait. There are as many waits as images and consumers, and ten
-- times as many rows about them: those carry the number of their wait and nothing else of it.

-- online, batch: each key, from its first arrival. online_repeat: each arrival after it. ended_by: the arrival whose
-- announcement ended it.
CREATE TEMP TABLE waits AS
SELECT row_number() OVER ()::INTEGER AS wait, *, available_ns - scheduled_ns AS whole_ns
FROM (
    SELECT
        arm, replicate, day, 'online' AS consumer, event_id, online_event_id AS ended_by,
        galaxy, image_signature, scheduled_ns, submitted_ns, online_ns AS available_ns
    FROM keys WHERE online_ns IS NOT NULL
    UNION ALL
    SELECT
        arm, replicate, day, 'online_repeat', event_id, event_id,
        galaxy, image_signature, scheduled_ns, submitted_ns, available_ns
    FROM arrivals JOIN online_ends USING (arm, replicate, event_id)
    WHERE occurrence > 1 AND available_ns IS NOT NULL
    UNION ALL
    SELECT
        arm, replicate, day, 'batch', event_id, NULL, galaxy, image_signature, scheduled_ns, NULL, batch_ns
    FROM keys WHERE batch_ns IS NOT NULL
);

-- A trail is what one process did in one attempt at one arrival (at night: at one key), as contiguous stages.
CREATE TEMP VIEW trail_stages AS
SELECT * REPLACE (CASE WHEN stage = 'write' AND outcome = 'skipped' THEN 'lookup' ELSE stage END AS stage),
    hash(arm, replicate, path, process, pid, attempt) AS trail
FROM image_stages
WHERE outcome IN ('ok', 'skipped');

-- The trail that ended a wait: the first that announced the signals, at night the first that wrote its outputs.
-- One that announced after the consumer held them did not: the one that did was killed before its rows were kept.
-- Here and below two joins, not one with a CASE: each has keys of its own, and its time grows with the rows, not
-- with their square.
CREATE TEMP TABLE ending_trails AS
WITH endings AS (
    SELECT w.wait, t.trail, t.attempt, t.end_ns
    FROM trail_stages t JOIN waits w USING (arm, replicate, galaxy, image_signature)
    WHERE w.consumer = 'batch' AND t.path = 'nightly' AND t.stage = 'write' AND t.start_ns <= w.available_ns
    UNION ALL
    SELECT w.wait, t.trail, t.attempt, t.end_ns
    FROM trail_stages t
        JOIN waits w ON w.arm = t.arm AND w.replicate = t.replicate AND w.ended_by = t.event_id
    WHERE w.consumer <> 'batch' AND t.path <> 'nightly' AND t.stage = 'publish' AND t.start_ns <= w.available_ns
)
SELECT wait, trail, attempt, end_ns - scheduled_ns AS last_ns,
    consumer = 'batch' AS at_night, ended_by AS event_id, scheduled_ns, whole_ns,
    if(at_night, galaxy, NULL) AS galaxy, if(at_night, image_signature, NULL) AS image_signature
FROM (
    SELECT wait, arg_min(trail, end_ns) AS trail, arg_min(attempt, end_ns) AS attempt, min(end_ns) AS end_ns
    FROM endings GROUP BY wait
)
JOIN waits USING (wait);

-- The stages of those trails, up to their end.
CREATE TEMP VIEW wait_stages AS
SELECT wait, whole_ns, stage, start_ns - scheduled_ns AS start_ns, end_ns - scheduled_ns AS end_ns
FROM trail_stages t JOIN ending_trails e USING (trail, galaxy, image_signature)
WHERE at_night AND path = 'nightly' AND end_ns - scheduled_ns <= last_ns
UNION ALL
SELECT wait, whole_ns, stage, start_ns - scheduled_ns, end_ns - scheduled_ns
FROM trail_stages t JOIN ending_trails e USING (trail, event_id)
WHERE NOT at_night AND path <> 'nightly' AND end_ns - scheduled_ns <= last_ns;

-- Attempts that failed before the one that ended the wait: where they ended.
CREATE TEMP VIEW earlier_attempts AS
WITH repeated AS (
    SELECT wait, arm, replicate, w.galaxy, w.image_signature, ended_by, w.scheduled_ns, at_night, attempt
    FROM ending_trails e JOIN waits w USING (wait) WHERE attempt > 1
)
SELECT wait, max(s.end_ns) - any_value(scheduled_ns) AS end_ns
FROM repeated r JOIN image_stages s USING (arm, replicate, galaxy, image_signature)
WHERE s.attempt < r.attempt AND (s.path = 'nightly') = at_night AND (at_night OR s.event_id = r.ended_by)
GROUP BY wait;

-- The nightly steps that a key waited for: of each the last that began before the key was read, and none that
-- began after its partition was swapped in.
CREATE TEMP TABLE waited_steps AS
WITH readings AS (
    SELECT DISTINCT arm, replicate, day, galaxy, available_ns FROM waits WHERE consumer = 'batch'
),
swaps AS (
    SELECT r.arm, r.replicate, r.day, r.galaxy, r.available_ns, max(e.start_ns) AS start_ns,
        arg_max(e.end_ns, e.start_ns) AS end_ns
    FROM readings r JOIN events e
        ON e.stage = 'swap' AND e.outcome = 'ok' AND e.arm = r.arm AND e.replicate = r.replicate
        AND e.day = r.day AND e.galaxy = r.galaxy AND e.start_ns <= r.available_ns
    GROUP BY ALL
),
steps AS (
    SELECT r.arm, r.replicate, r.day, r.galaxy, r.available_ns, e.detail, e.path,
        max(e.start_ns) AS start_ns, arg_max(e.end_ns, e.start_ns) AS end_ns
    FROM readings r JOIN events e
        ON e.stage = 'step' AND e.arm = r.arm AND e.replicate = r.replicate AND e.day = r.day
        AND e.start_ns <= r.available_ns
    WHERE e.outcome = 'ok'
    GROUP BY ALL
)
SELECT
    arm, replicate, day, galaxy, available_ns,
    regexp_replace(detail, '^(step[0-9]_|dump\.)', '') AS part,
    steps.start_ns, least(steps.end_ns, coalesce(swaps.start_ns, steps.end_ns)) AS end_ns
FROM steps LEFT JOIN swaps USING (arm, replicate, day, galaxy, available_ns)
WHERE steps.start_ns < coalesce(swaps.start_ns, available_ns)
UNION ALL
SELECT arm, replicate, day, galaxy, available_ns, 'swap', start_ns, end_ns FROM swaps;

-- What fills a wait, in order of phase and start; it may overlap: what comes first keeps the time.
CREATE TEMP VIEW wait_spans AS
WITH taken AS (
    SELECT wait, min(end_ns) AS taken_ns FROM wait_stages WHERE stage = 'queue' GROUP BY wait
),
night AS (
    SELECT wait, w.whole_ns, s.part, s.start_ns - w.scheduled_ns AS start_ns, s.end_ns - w.scheduled_ns AS end_ns,
        taken_ns, last_ns
    FROM waits w
    JOIN waited_steps s USING (arm, replicate, day, galaxy, available_ns)
    LEFT JOIN ending_trails USING (wait)
    LEFT JOIN taken USING (wait)
    WHERE consumer = 'batch'
)
SELECT wait, whole_ns, 0 AS phase, 'generator' AS part, 0 AS start_ns, submitted_ns - scheduled_ns AS end_ns
FROM waits WHERE consumer <> 'batch'
UNION ALL
-- The first arrival was still on its way when the repeat that overtook it was handed over.
SELECT wait, whole_ns, 1, 'overtaken', 0, r.submitted_ns - w.scheduled_ns
FROM waits w
JOIN arrivals r ON r.arm = w.arm AND r.replicate = w.replicate AND r.event_id = w.ended_by
WHERE consumer = 'online' AND ended_by <> w.event_id
UNION ALL
SELECT wait, whole_ns, 0, 'wait_for_midnight', 0, midnight_ns - scheduled_ns
FROM waits JOIN days USING (arm, replicate, day) WHERE consumer = 'batch'
UNION ALL
-- From midnight until the first of the steps: the arm notices, and starts its workflow.
SELECT wait, whole_ns, 1, 'night_start', midnight_ns - scheduled_ns, first_ns - scheduled_ns
FROM waits
JOIN days USING (arm, replicate, day)
JOIN (
    SELECT arm, replicate, day, galaxy, available_ns, min(start_ns) AS first_ns FROM waited_steps GROUP BY ALL
) USING (arm, replicate, day, galaxy, available_ns)
WHERE consumer = 'batch'
UNION ALL
-- Steps until a worker took the image, and those after its outputs were written. The step that the workers are
-- busy in goes on until the last of them is done.
SELECT wait, whole_ns, 2, part, start_ns, least(end_ns, coalesce(taken_ns, end_ns))
FROM night WHERE last_ns IS NULL OR (start_ns < taken_ns AND end_ns < last_ns)
UNION ALL
SELECT wait, whole_ns, 3, 'earlier_attempts', 0, end_ns FROM earlier_attempts JOIN waits USING (wait)
UNION ALL
SELECT wait, whole_ns, 4, stage, start_ns, end_ns FROM wait_stages
UNION ALL
SELECT wait, whole_ns, 5, CASE WHEN start_ns < last_ns THEN 'wait_for_pool' ELSE part END,
    greatest(start_ns, last_ns), end_ns
FROM night WHERE end_ns >= last_ns
UNION ALL
-- After the last stamp the consumer is on its way: it is told, polls, fetches, reads.
SELECT wait, w.whole_ns, 6,
    CASE WHEN consumer = 'batch' THEN 'read' WHEN trail IS NULL THEN 'unrecorded' ELSE 'notice' END,
    w.whole_ns, w.whole_ns
FROM waits w LEFT JOIN ending_trails USING (wait);

-- One byte in place of a text, in the many rows that are sorted and added up.
CREATE TYPE wait_part AS ENUM (
    SELECT part FROM waited_steps
    UNION SELECT unnest([
        'generator', 'overtaken', 'wait_for_midnight', 'night_start', 'earlier_attempts', 'queue', 'lookup', 'fetch',
        'decode', 'batch_wait', 'inference', 'job_wait', 'encode', 'write', 'publish', 'wait_for_pool', 'read',
        'notice', 'between_steps', 'unrecorded'
    ])
);

-- The parts: (wait, part, ns), one row per part that took any time. Of each span what was left for it (ns), and before
-- it what nothing filled (gap_ns). broken: stages that do not begin at the very instant at which the one before ended.
CREATE TEMP TABLE wait_parts AS
WITH pieces AS (
    SELECT wait, phase, part,
        greatest(0, end_ns - greatest(start_ns, reached_ns)) AS ns,
        greatest(0, start_ns - reached_ns) AS gap_ns,
        phase = 4 AND before_phase = 4 AND start_ns <> before_ns AS is_broken
    FROM (
        SELECT wait, phase, part, start_ns, end_ns,
            coalesce(max(end_ns) OVER before, 0) AS reached_ns,
            lag(end_ns) OVER before AS before_ns, lag(phase) OVER before AS before_phase
        FROM (
            -- A row that ends before it starts is counted by the validity rules; here it is a moment.
            SELECT wait, phase::UTINYINT AS phase, part::wait_part AS part,
                greatest(0, least(start_ns, whole_ns)) AS start_ns,
                greatest(0, least(greatest(start_ns, end_ns), whole_ns)) AS end_ns
            FROM wait_spans
        )
        WINDOW before AS (
            PARTITION BY wait ORDER BY phase, start_ns, end_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    )
)
SELECT wait, part, sum(ns)::BIGINT AS ns, count(*) FILTER (is_broken) AS broken
FROM (
    SELECT wait, part, ns, is_broken FROM pieces WHERE ns > 0 OR is_broken
    UNION ALL
    SELECT wait, CASE phase WHEN 4 THEN 'unrecorded'::wait_part WHEN 6 THEN part ELSE 'between_steps' END, gap_ns,
        FALSE
    FROM pieces WHERE gap_ns > 0
)
GROUP BY ALL;
