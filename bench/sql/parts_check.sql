-- Do the parts of every wait sum to the whole, to the nanosecond? uneven: waits where they do not; unrecorded:
-- waits with time that no row of the ledger accounts for; broken_stages: stages that do not begin at the very
-- instant at which the one before ended.
WITH sums AS (
    SELECT wait, sum(ns) AS parts_ns, bool_or(part = 'unrecorded') AS is_unrecorded, sum(broken) AS broken
    FROM wait_parts GROUP BY wait
)
SELECT
    arm, consumer,
    count(*) AS waits,
    count(*) FILTER (coalesce(parts_ns, 0) <> whole_ns) AS uneven,
    count(*) FILTER (is_unrecorded) AS unrecorded,
    coalesce(sum(broken), 0)::BIGINT AS broken_stages
FROM waits
LEFT JOIN sums USING (wait)
GROUP BY ALL
ORDER BY arm, consumer DESC;
