-- Each offered arrival ends as exactly one of signal and dead letter for the online consumer, and each
-- distinct key for the batch consumer. lost: neither. contradicted: both. unreadable: announced, but not
-- all signals could be fetched. redelivered: announced again, which at-least-once delivery allows.
-- phantom: a key in the batch table that never arrived.
WITH dead_arrivals AS (
    SELECT DISTINCT arm, replicate, event_id FROM dead_letters WHERE event_id >= 0
),
per_arrival AS (
    SELECT
        a.arm, a.replicate,
        available_ns IS NOT NULL AS available,
        d.event_id IS NOT NULL AS dead,
        coalesce(unreadable, 0) AS unreadable,
        coalesce(redelivered, 0) AS redelivered
    FROM arrivals a
    LEFT JOIN online_ends USING (arm, replicate, event_id)
    LEFT JOIN dead_arrivals d USING (arm, replicate, event_id)
),
arrivals_ended AS (
    SELECT
        arm, replicate,
        count(*) AS offered_arrivals,
        count(*) FILTER (available) AS available_arrivals,
        count(*) FILTER (dead AND NOT available) AS dead_letter_arrivals,
        count(*) FILTER (NOT dead AND NOT available) AS lost_arrivals,
        count(*) FILTER (dead AND available) AS contradicted_arrivals,
        sum(unreadable)::BIGINT AS unreadable_announcements,
        sum(redelivered)::BIGINT AS redelivered_announcements
    FROM per_arrival
    GROUP BY GROUPING SETS ((arm), (arm, replicate))
),
keys_ended AS (
    SELECT
        arm, replicate,
        count(*) AS distinct_keys,
        count(*) FILTER (batch_ns IS NOT NULL) AS batch_keys,
        count(*) FILTER (batch_dead AND batch_ns IS NULL) AS dead_letter_keys,
        count(*) FILTER (NOT batch_dead AND batch_ns IS NULL) AS lost_keys,
        count(*) FILTER (batch_dead AND batch_ns IS NOT NULL) AS contradicted_keys
    FROM keys
    GROUP BY GROUPING SETS ((arm), (arm, replicate))
),
phantoms AS (
    SELECT arm, replicate, count(*) AS phantom_keys
    FROM batch_ends ANTI JOIN keys USING (arm, replicate, galaxy, image_signature)
    GROUP BY GROUPING SETS ((arm), (arm, replicate))
)
SELECT
    a.arm, a.replicate,
    a.* EXCLUDE (arm, replicate),
    k.* EXCLUDE (arm, replicate),
    coalesce(phantom_keys, 0) AS phantom_keys
FROM arrivals_ended a
JOIN keys_ended k ON a.arm = k.arm AND a.replicate IS NOT DISTINCT FROM k.replicate
LEFT JOIN phantoms p ON a.arm = p.arm AND a.replicate IS NOT DISTINCT FROM p.replicate
ORDER BY a.arm, a.replicate NULLS FIRST;
