-- Where the time goes: the parts of every wait, in seconds, in the order in which they come. mean_seconds is
-- over all images of the consumer, 0 where an image had no such part: means add up to the mean of the whole,
-- medians do not. median_seconds is over the n images that had the part. Two totals stand among them: "whole" is
-- the wait itself, "after_midnight" what of a batch consumer's wait came after the midnight of its day. Warm-up is
-- left out, as in the latency figures.
WITH counted AS (
    SELECT wait, arm, replicate, consumer, whole_ns, available_ns - midnight_ns AS after_midnight_ns
    FROM waits
    LEFT JOIN warm_ups USING (arm, replicate)
    LEFT JOIN days USING (arm, replicate, day)
    WHERE consumer = 'batch' OR scheduled_ns >= coalesce(warm_ns, 0)
),
sizes AS (
    SELECT arm, replicate, consumer, count(*) AS images, sum(whole_ns) AS whole_ns
    FROM counted GROUP BY GROUPING SETS ((arm, consumer), (arm, replicate, consumer))
),
rows AS (
    SELECT arm, replicate, consumer, part, ns, FALSE AS is_total
    FROM wait_parts JOIN counted USING (wait)
    WHERE ns > 0
    UNION ALL
    SELECT arm, replicate, consumer, 'whole', whole_ns, TRUE FROM counted
    UNION ALL
    SELECT arm, replicate, consumer, 'after_midnight', after_midnight_ns, TRUE
    FROM counted WHERE consumer = 'batch' AND after_midnight_ns IS NOT NULL
),
parts AS (
    SELECT
        arm, replicate, consumer, part, is_total,
        count(*) AS n, sum(ns) AS total_ns, quantile_cont(ns / 1e9, 0.5) AS median_seconds
    FROM rows
    GROUP BY GROUPING SETS ((arm, consumer, part, is_total), (arm, replicate, consumer, part, is_total))
)
SELECT
    p.arm, p.replicate, p.consumer, p.part, p.is_total, p.n, s.images,
    p.total_ns / 1e9 / s.images AS mean_seconds,
    p.median_seconds,
    p.total_ns / s.whole_ns AS share_of_whole
FROM parts p JOIN sizes s
    ON s.arm = p.arm AND s.replicate IS NOT DISTINCT FROM p.replicate AND s.consumer = p.consumer
ORDER BY
    p.arm, p.replicate NULLS FIRST, p.consumer DESC, p.is_total,
    coalesce(list_position([
        'generator', 'overtaken', 'wait_for_midnight', 'night_start', 'watermark', 'checkpoint', 'spark_session',
        'delta', 'enqueue', 'pool', 'earlier_attempts', 'queue', 'lookup', 'fetch', 'decode', 'batch_wait',
        'inference', 'job_wait', 'encode', 'write', 'wait_for_pool', 'protobuf', 'thrift', 'hive', 'transform', 'swap', 'publish',
        'notice', 'read', 'between_steps', 'unrecorded', 'after_midnight', 'whole'
    ], p.part), 0),
    p.part;
