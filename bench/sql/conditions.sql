-- What the validity of a run rests on: was the generator on time (the 99th percentile of the delay between
-- the scheduled time and the hand-over, whatever n is, in the replicate where it is longest), did any clock run
-- backwards, was the load sustained (arrivals that had not ended at the midnight of their day), was every
-- replicate of every arm offered the same keys (those of the first arm's first replicate), did the arms give the
-- same verdict, with the same reasons, on every image that became a dead letter, and how many did (distinct
-- images, in the replicate that has fewest).
WITH generator AS (
    SELECT arm, max(p99_seconds) AS generator_p99_seconds, max(max_seconds) AS generator_max_seconds
    FROM (
        SELECT
            arm, replicate,
            quantile_cont((submitted_ns - scheduled_ns) / 1e9, 0.99) AS p99_seconds,
            max(submitted_ns - scheduled_ns) / 1e9 AS max_seconds
        FROM arrivals GROUP BY ALL
    )
    GROUP BY arm
),
negative AS (
    SELECT arm, count(*) FILTER (end_ns < start_ns) AS negative_durations FROM events GROUP BY arm
),
dead AS (
    SELECT arm, replicate, event_id, min(end_ns) AS dead_ns
    FROM events WHERE stage = 'dead_letter' AND event_id >= 0
    GROUP BY ALL
),
following AS (
    SELECT *, lead(start_ns) OVER (PARTITION BY arm, replicate ORDER BY day) AS next_ns FROM days
),
midnight AS (
    SELECT a.arm, a.replicate, a.day, count(*) AS arrivals,
        count(*) FILTER (least(available_ns, dead_ns) IS NULL OR least(available_ns, dead_ns) > midnight_ns)
            AS open,
        count(*) FILTER (least(available_ns, dead_ns) IS NULL OR least(available_ns, dead_ns) > next_ns)
            AS undrained
    FROM arrivals a
    JOIN following USING (arm, replicate, day)
    LEFT JOIN online_ends USING (arm, replicate, event_id)
    LEFT JOIN dead USING (arm, replicate, event_id)
    GROUP BY ALL
),
backlog AS (
    SELECT arm, max(open / arrivals) AS open_at_midnight_share, sum(undrained)::BIGINT AS undrained_arrivals
    FROM midnight GROUP BY arm
),
devices AS (
    SELECT arm, count(*) FILTER (device LIKE 'cpu%') AS cpu_batches
    FROM events WHERE stage = 'device_busy' GROUP BY arm
),
offered AS (
    SELECT arm, replicate, bit_xor(hash(day, event_id, galaxy, image_signature)) AS workload_hash
    FROM arrivals GROUP BY ALL
),
workload AS (
    SELECT arm, bool_and(workload_hash = (SELECT arg_min(workload_hash, (arm, replicate)) FROM offered))
        AS same_workload
    FROM offered GROUP BY arm
),
verdicts AS (
    SELECT arm, replicate, galaxy, image_signature,
        string_agg(DISTINCT reason, ', ' ORDER BY reason) AS reasons
    FROM dead_letters GROUP BY ALL
),
refused AS (
    SELECT arm, min(images) AS dead_images
    FROM (
        SELECT a.arm, a.replicate, count(DISTINCT d.image_signature) AS images
        FROM (SELECT DISTINCT arm, replicate FROM arrivals) a LEFT JOIN dead_letters d USING (arm, replicate)
        GROUP BY ALL
    )
    GROUP BY arm
),
arms_of_replicate AS (
    SELECT replicate, count(DISTINCT arm) AS arms FROM arrivals GROUP BY replicate
),
shared_verdicts AS (
    SELECT replicate, galaxy, image_signature, reasons, count(*) AS arms FROM verdicts GROUP BY ALL
),
differing AS (
    SELECT count(*) AS differing_verdicts
    FROM shared_verdicts s JOIN arms_of_replicate a USING (replicate) WHERE s.arms < a.arms
)
SELECT
    arm, generator_p99_seconds, generator_max_seconds, negative_durations, open_at_midnight_share,
    undrained_arrivals, cpu_batches,
    same_workload, differing_verdicts, dead_images
FROM generator
CROSS JOIN differing
JOIN negative USING (arm)
LEFT JOIN backlog USING (arm)
LEFT JOIN devices USING (arm)
LEFT JOIN workload USING (arm)
LEFT JOIN refused USING (arm)
ORDER BY arm;
