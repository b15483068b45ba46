-- Device sessions by pool, in hours. A device is held, or busy, or neither: however many processes share it,
-- and however many batches run at once, an hour of it is counted once.
-- session: from the launch of the process to the release of the device (after a kill -9, to the last row of
-- that process). allocated: an always-on pool is a cluster of its own, so it is booked for the days and not
-- for the nights between them; any other pool for its sessions. busy: inside inference.
-- wasted = allocated - busy. busy_outside: an always-on pool that was still working after midnight.
-- Always-on pools: online, stream.
WITH provisioned AS (
    SELECT *, row_number() OVER (
        PARTITION BY arm, replicate, pool, device, process, pid ORDER BY end_ns, start_ns
    ) AS nth
    FROM events WHERE stage = 'device_provisioned'
),
released AS (
    SELECT arm, replicate, pool, device, process, pid, end_ns, row_number() OVER (
        PARTITION BY arm, replicate, pool, device, process, pid ORDER BY start_ns, end_ns
    ) AS nth
    FROM events WHERE stage = 'device_released'
),
last_rows AS (
    SELECT arm, replicate, process, pid, max(end_ns) AS last_ns
    FROM events SEMI JOIN provisioned USING (arm, replicate, process, pid)
    GROUP BY ALL
),
sessions AS (
    SELECT
        p.arm, p.replicate, p.pool, p.device,
        p.start_ns, p.end_ns AS ready_ns,
        coalesce(r.end_ns, last_ns) AS end_ns,
        r.end_ns IS NULL AS unreleased
    FROM provisioned p
    LEFT JOIN released r USING (arm, replicate, pool, device, process, pid, nth)
    LEFT JOIN last_rows USING (arm, replicate, process, pid)
),
intervals AS (
    SELECT arm, replicate, pool, device, 'held' AS kind, start_ns, end_ns FROM sessions
    UNION ALL
    SELECT arm, replicate, pool, device, 'provisioning', start_ns, ready_ns FROM sessions
    UNION ALL
    SELECT arm, replicate, pool, device, 'busy', start_ns, end_ns FROM events WHERE stage = 'device_busy'
),
covered AS (
    SELECT *, coalesce(max(end_ns) OVER (
        PARTITION BY arm, replicate, pool, device, kind ORDER BY start_ns, end_ns
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0) AS covered_until_ns
    FROM intervals
),
-- The union of the intervals: of each, what none that started before it covers.
disjoint AS (
    SELECT * REPLACE (greatest(start_ns, covered_until_ns) AS start_ns)
    FROM covered WHERE end_ns > covered_until_ns
),
totals AS (
    SELECT arm, replicate, pool, device,
        sum(end_ns - start_ns) FILTER (kind = 'held') AS session_ns,
        sum(end_ns - start_ns) FILTER (kind = 'provisioning') AS provisioning_ns,
        coalesce(sum(end_ns - start_ns) FILTER (kind = 'busy'), 0) AS busy_all_ns
    FROM disjoint
    GROUP BY ALL
),
in_days AS (
    SELECT i.arm, i.replicate, i.pool, i.device,
        sum(overlap_ns) FILTER (kind = 'held') AS held_ns,
        sum(overlap_ns) FILTER (kind = 'busy') AS busy_ns
    FROM (
        SELECT disjoint.*,
            greatest(0, least(end_ns, d.midnight_ns) - greatest(disjoint.start_ns, d.start_ns)) AS overlap_ns
        FROM disjoint JOIN days d USING (arm, replicate)
    ) i
    GROUP BY ALL
),
batches AS (
    SELECT arm, replicate, pool, device, sum(batch_size) AS images, count(*) AS batches
    FROM events WHERE stage = 'device_busy'
    GROUP BY ALL
),
pools AS (
    SELECT arm, replicate, pool, device,
        pool IN ('online', 'stream') AS always_on,
        count(*) AS sessions,
        count(*) FILTER (unreleased) AS unreleased
    FROM sessions
    GROUP BY ALL
),
booked AS (
    SELECT
        pools.*, session_ns, provisioning_ns, busy_all_ns,
        CASE WHEN always_on THEN held_ns ELSE session_ns END AS allocated_ns,
        CASE WHEN always_on THEN coalesce(busy_ns, 0) ELSE busy_all_ns END AS busy_ns,
        coalesce(images, 0) AS images,
        coalesce(batches, 0) AS batches
    FROM pools
    JOIN totals USING (arm, replicate, pool, device)
    LEFT JOIN in_days USING (arm, replicate, pool, device)
    LEFT JOIN batches USING (arm, replicate, pool, device)
),
day_counts AS (
    SELECT arm, replicate, count(*) AS days FROM days
    GROUP BY GROUPING SETS ((arm), (arm, replicate))
)
SELECT
    b.arm, b.replicate, pool, device, always_on,
    CASE WHEN starts_with(device, 'cuda') THEN 'GPU hours' ELSE 'CPU device hours' END AS unit,
    any_value(days)::BIGINT AS days,
    sum(sessions)::BIGINT AS sessions,
    sum(unreleased)::BIGINT AS unreleased,
    sum(session_ns)::BIGINT / 3.6e12 AS session_hours,
    sum(provisioning_ns)::BIGINT / 3.6e12 AS provisioning_hours,
    sum(allocated_ns)::BIGINT / 3.6e12 AS allocated_hours,
    sum(busy_ns)::BIGINT / 3.6e12 AS busy_hours,
    sum(allocated_ns - busy_ns)::BIGINT / 3.6e12 AS wasted_hours,
    sum(busy_all_ns - busy_ns)::BIGINT / 3.6e12 AS busy_outside_hours,
    sum(images)::BIGINT AS images,
    sum(batches)::BIGINT AS batches,
    CASE WHEN sum(busy_all_ns) > 0 THEN sum(images) / (sum(busy_all_ns) / 1e9) END AS images_per_busy_second
FROM (
    SELECT arm, replicate, * EXCLUDE (arm, replicate) FROM booked
    UNION ALL
    SELECT arm, NULL, * EXCLUDE (arm, replicate) FROM booked
) b
LEFT JOIN day_counts ON b.arm = day_counts.arm AND b.replicate IS NOT DISTINCT FROM day_counts.replicate
GROUP BY ALL
ORDER BY ALL;
