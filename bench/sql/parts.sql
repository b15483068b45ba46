-- Every wait, cut into named parts that follow each other without a gap or an overlap: from the scheduled time
-- of an arrival until the consumer holds its signals. Parts are the stages and nightly steps as stamped, in
-- order; what one stamp leaves open until the next begins is a part of its own name. What goes on after the
-- consumer holds the signals (a broker's confirmation, say) is no part of its wait: parts end there.

-- online: each arrival. batch: each key, from its first arrival.
CREATE TEMP TABLE waits AS
SELECT
    arm, replicate, day, CASE WHEN occurrence = 1 THEN 'online' ELSE 'online_repeat' END AS consumer,
    event_id, galaxy, image_signature, scheduled_ns, submitted_ns, available_ns
FROM arrivals JOIN online_ends USING (arm, replicate, event_id)
WHERE available_ns IS NOT NULL
UNION ALL
SELECT
    arm, replicate, day, 'batch', event_id, galaxy, image_signature, scheduled_ns, NULL, batch_ns
FROM keys WHERE batch_ns IS NOT NULL;

-- A trail is what one process did in one attempt at one arrival (at night: at one key), as contiguous stages.
CREATE TEMP TABLE trail_rows AS
SELECT
    arm, replicate, path, event_id, galaxy, image_signature, (process, pid, attempt) AS trail, attempt,
    CASE WHEN stage = 'write' AND outcome = 'skipped' THEN 'lookup' ELSE stage END AS part,
    min(start_ns) AS start_ns, min(end_ns) AS end_ns
FROM image_stages
WHERE outcome IN ('ok', 'skipped')
GROUP BY ALL;

-- The trail that ended a wait: the first that announced the signals, at night the first that wrote its outputs.
-- One that announced after the consumer held them did not: the one that did was killed before its rows were kept.
-- Two joins, not one with a CASE: each then has keys of its own, and its time grows with the rows, not their square.
CREATE TEMP TABLE ending_trails AS
SELECT
    arm, replicate, consumer, event_id,
    arg_min((path, trail), end_ns) AS chosen,
    arg_min(attempt, end_ns) AS attempt,
    min(end_ns) AS last_ns
FROM (
    SELECT w.arm, w.replicate, w.consumer, w.event_id, t.path, t.trail, t.attempt, t.end_ns
    FROM waits w JOIN trail_rows t USING (arm, replicate, galaxy, image_signature)
    WHERE w.consumer = 'batch' AND t.path = 'nightly' AND t.part = 'write' AND t.start_ns <= w.available_ns
    UNION ALL
    SELECT w.arm, w.replicate, w.consumer, w.event_id, t.path, t.trail, t.attempt, t.end_ns
    FROM waits w JOIN trail_rows t USING (arm, replicate, event_id)
    WHERE w.consumer <> 'batch' AND t.path <> 'nightly' AND t.part = 'publish' AND t.start_ns <= w.available_ns
)
GROUP BY ALL;

CREATE TEMP TABLE wait_stages AS
SELECT e.arm, e.replicate, e.consumer, e.event_id, t.part, t.start_ns, t.end_ns
FROM ending_trails e
JOIN waits w USING (arm, replicate, consumer, event_id)
JOIN trail_rows t
    ON t.arm = e.arm AND t.replicate = e.replicate AND t.path = e.chosen[1] AND t.trail = e.chosen[2]
    AND t.galaxy = w.galaxy AND t.image_signature = w.image_signature
    AND (w.consumer = 'batch' OR t.event_id = w.event_id)
    AND t.end_ns <= e.last_ns;

-- Attempts that failed before the one that ended the wait.
CREATE TEMP VIEW earlier_attempts AS
SELECT e.arm, e.replicate, e.consumer, e.event_id, max(s.end_ns) AS end_ns
FROM ending_trails e
JOIN waits w USING (arm, replicate, consumer, event_id)
JOIN image_stages s
    ON s.arm = e.arm AND s.replicate = e.replicate AND s.path = e.chosen[1] AND s.attempt < e.attempt
    AND s.galaxy = w.galaxy AND s.image_signature = w.image_signature
    AND (w.consumer = 'batch' OR s.event_id = w.event_id)
GROUP BY ALL;

-- The nightly steps that a key waited for: of each the last that began before the key was read, and none that
-- began after its partition was swapped in.
CREATE TEMP VIEW waited_steps AS
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
WITH trails AS (
    SELECT arm, replicate, consumer, event_id,
        min(end_ns) FILTER (part = 'queue') AS taken_ns, max(end_ns) AS last_ns
    FROM wait_stages GROUP BY ALL
),
night AS (
    SELECT w.arm, w.replicate, w.consumer, w.event_id, s.part, s.start_ns, s.end_ns, taken_ns, last_ns
    FROM waits w
    JOIN waited_steps s USING (arm, replicate, day, galaxy, available_ns)
    LEFT JOIN trails USING (arm, replicate, consumer, event_id)
    WHERE w.consumer = 'batch'
)
SELECT arm, replicate, consumer, event_id, 0 AS phase, 'generator' AS part, scheduled_ns AS start_ns,
    submitted_ns AS end_ns
FROM waits WHERE consumer <> 'batch'
UNION ALL
SELECT arm, replicate, consumer, event_id, 0, 'wait_for_midnight', scheduled_ns, midnight_ns
FROM waits JOIN days USING (arm, replicate, day) WHERE consumer = 'batch'
UNION ALL
-- From midnight until the first of the steps: the arm notices, and starts its workflow.
SELECT arm, replicate, consumer, event_id, 1, 'night_start', midnight_ns, min(night.start_ns)
FROM night JOIN waits USING (arm, replicate, consumer, event_id) JOIN days USING (arm, replicate, day)
GROUP BY ALL
UNION ALL
-- Steps until a worker took the image, and those after its outputs were written. The step that the workers are
-- busy in goes on until the last of them is done.
SELECT arm, replicate, consumer, event_id, 2, part, start_ns, least(end_ns, coalesce(taken_ns, end_ns))
FROM night WHERE last_ns IS NULL OR (start_ns < taken_ns AND end_ns < last_ns)
UNION ALL
SELECT arm, replicate, consumer, event_id, 3, 'earlier_attempts', w.scheduled_ns, e.end_ns
FROM earlier_attempts e JOIN waits w USING (arm, replicate, consumer, event_id)
UNION ALL
SELECT arm, replicate, consumer, event_id, 4, part, start_ns, end_ns FROM wait_stages
UNION ALL
SELECT arm, replicate, consumer, event_id, 5,
    CASE WHEN start_ns < last_ns THEN 'wait_for_pool' ELSE part END,
    greatest(start_ns, last_ns), end_ns
FROM night WHERE end_ns >= last_ns;

-- The parts: (arm, replicate, consumer, event_id, part, ns), one row per part, zero where nothing was left.
CREATE TEMP VIEW wait_parts AS
WITH ordered AS (
    SELECT
        s.* EXCLUDE (start_ns, end_ns), scheduled_ns, available_ns,
        least(s.start_ns, available_ns) AS start_ns,
        least(s.end_ns, available_ns) AS end_ns,
        greatest(scheduled_ns, coalesce(max(least(s.end_ns, available_ns)) OVER before, scheduled_ns))
            AS reached_ns
    -- A row that ends before it starts is counted by the validity rules; here it is a moment.
    FROM (SELECT * REPLACE (greatest(start_ns, end_ns) AS end_ns) FROM wait_spans) s JOIN waits USING (arm, replicate, consumer, event_id)
    WINDOW before AS (
        PARTITION BY arm, replicate, consumer, event_id ORDER BY phase, s.start_ns, s.end_ns
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
pieces AS (
    SELECT arm, replicate, consumer, event_id, part,
        greatest(0, end_ns - greatest(start_ns, reached_ns)) AS ns
    FROM ordered
    UNION ALL
    SELECT arm, replicate, consumer, event_id,
        CASE WHEN consumer = 'batch' AND phase <> 4 THEN 'between_steps' ELSE 'unrecorded' END,
        greatest(0, start_ns - reached_ns)
    FROM ordered
    UNION ALL
    -- After the last stamp the consumer is on its way: it is told, polls, fetches, reads.
    SELECT arm, replicate, consumer, event_id,
        CASE WHEN e.event_id IS NULL AND consumer <> 'batch' THEN 'unrecorded'
            WHEN consumer = 'batch' THEN 'read' ELSE 'notice' END,
        available_ns - greatest(scheduled_ns, coalesce(reached_ns, scheduled_ns))
    FROM waits
    LEFT JOIN (
        SELECT arm, replicate, consumer, event_id, max(greatest(end_ns, reached_ns)) AS reached_ns
        FROM ordered GROUP BY ALL
    ) USING (arm, replicate, consumer, event_id)
    LEFT JOIN ending_trails e USING (arm, replicate, consumer, event_id)
)
SELECT arm, replicate, consumer, event_id, part, sum(ns)::BIGINT AS ns
FROM pieces
GROUP BY ALL;
