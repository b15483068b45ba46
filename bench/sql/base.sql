-- Relations that the queries of the published figures share. `events` is ledger/events.parquet.
-- A key is (arm, replicate, galaxy, image_signature); its first arrival is what latency is measured from.

CREATE TEMP TABLE arrivals AS
SELECT
    arm, replicate, day, event_id, galaxy, image_signature,
    start_ns AS scheduled_ns,
    end_ns AS submitted_ns,
    row_number() OVER (
        PARTITION BY arm, replicate, galaxy, image_signature ORDER BY start_ns, event_id
    ) AS occurrence
FROM events
WHERE stage = 'arrival';

-- How each arrival ended for the online consumer; an announcement may come more than once.
CREATE TEMP TABLE online_ends AS
SELECT
    arm, replicate, event_id,
    min(end_ns) FILTER (outcome = 'ok') AS available_ns,
    count(*) FILTER (outcome = 'missing') AS unreadable,
    count(*) FILTER (outcome = 'redelivered') AS redelivered
FROM events
WHERE stage = 'available_online'
GROUP BY ALL;

-- event_id is -1 on the nightly path, which works on keys. The reason is what stands before the colon.
CREATE TEMP TABLE dead_letters AS
SELECT
    arm, replicate, path, galaxy, image_signature, event_id,
    min(trim(split_part(detail, ':', 1))) AS reason,
    max(attempt) AS attempts
FROM events
WHERE stage = 'dead_letter'
GROUP BY ALL;

-- A partition that moves is read again: the first reading counts.
CREATE TEMP TABLE batch_ends AS
SELECT arm, replicate, galaxy, image_signature, min(end_ns) AS available_ns
FROM events
WHERE stage = 'available_batch'
GROUP BY ALL;

CREATE TEMP TABLE days AS
SELECT arm, replicate, day, min(start_ns) AS start_ns, max(end_ns) AS midnight_ns
FROM events
WHERE stage = 'day'
GROUP BY ALL;

-- One row per key. The online consumer holds its signals from the first announcement on, whichever of its
-- arrivals that was about (online_event_id): a repeat may overtake the first. Which dead letters end a key for
-- which consumer: those of the nightly path and of the dump never concern the online consumer, those of the
-- online path never the batch consumer.
CREATE TEMP TABLE keys AS
WITH first_arrivals AS (
    SELECT arm, replicate, galaxy, image_signature, day, event_id, scheduled_ns, submitted_ns
    FROM arrivals
    WHERE occurrence = 1
),
online AS (
    SELECT arm, replicate, galaxy, image_signature, min(available_ns) AS online_ns,
        arg_min(event_id, available_ns) AS online_event_id
    FROM arrivals JOIN online_ends USING (arm, replicate, event_id)
    GROUP BY ALL
),
dead AS (
    SELECT
        arm, replicate, galaxy, image_signature,
        bool_or(path NOT IN ('nightly', 'dump')) AS online_dead,
        bool_or(path <> 'online') AS batch_dead
    FROM dead_letters
    GROUP BY ALL
)
SELECT
    first_arrivals.*,
    online_ns,
    online_event_id,
    batch_ends.available_ns AS batch_ns,
    coalesce(online_dead, FALSE) AS online_dead,
    coalesce(batch_dead, FALSE) AS batch_dead
FROM first_arrivals
LEFT JOIN online USING (arm, replicate, galaxy, image_signature)
LEFT JOIN batch_ends USING (arm, replicate, galaxy, image_signature)
LEFT JOIN dead USING (arm, replicate, galaxy, image_signature);

-- The end of a replicate's warm-up: what arrives before it counts for everything but online latency.
CREATE TEMP TABLE warm_ups AS
SELECT arm, replicate, max(end_ns) AS warm_ns
FROM events
WHERE stage = 'warm_up'
GROUP BY ALL;

-- Seconds from the scheduled first arrival; NULL where the key was lost. Dead letters are no part of it.
CREATE TEMP VIEW key_latencies AS
SELECT
    arm, replicate, day, 'online' AS consumer, event_id, scheduled_ns,
    (online_ns - scheduled_ns) / 1e9 AS seconds
FROM keys LEFT JOIN warm_ups USING (arm, replicate)
WHERE (online_ns IS NOT NULL OR NOT online_dead) AND scheduled_ns >= coalesce(warm_ns, 0)
UNION ALL
SELECT
    arm, replicate, day, 'batch' AS consumer, event_id, scheduled_ns,
    (batch_ns - scheduled_ns) / 1e9 AS seconds
FROM keys WHERE batch_ns IS NOT NULL OR NOT batch_dead;

CREATE TEMP VIEW image_stages AS
SELECT * FROM events
WHERE stage IN (
    'queue', 'fetch', 'decode', 'batch_wait', 'inference', 'job_wait', 'encode', 'write', 'publish'
);
