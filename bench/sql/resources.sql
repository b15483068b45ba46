-- What each arm took: counts of its own clients, and CPU and peak memory as the operating system says.
-- Relation resources is ledger/resources.parquet. CPU: a parent is told the CPU of a child together with that of
-- every descendant that was waited for, so what the child itself has recorded of its own children is taken off.
-- Peak memory is the largest of one process, everything else the sum. Per key: over the distinct images.
-- holds_device: processes of the kind are booked in the device ledger. Of the servers, an inference service is
-- an arm's if the arm has booked its devices: it keeps no ledger itself.
WITH device_pids AS (
    SELECT arm, replicate, pid, TRUE AS holds_device FROM events WHERE stage = 'device_provisioned'
    UNION
    SELECT arm, replicate, r.pid, TRUE AS holds_device
    FROM resources r JOIN events e USING (arm, replicate)
    WHERE kind = 'inference' AND stage = 'device_provisioned' AND pool = 'online'
),
own AS (
    SELECT
        r.arm, r.replicate, kind, resource, unit, coalesce(holds_device, FALSE) AS holds_device,
        CASE
            WHEN resource = 'cpu' AND pid <> recorder_pid THEN greatest(value - coalesce(of_children, 0), 0)
            ELSE value
        END AS value
    FROM resources r
    LEFT JOIN (
        SELECT arm, replicate, recorder_pid AS pid, sum(value) AS of_children
        FROM resources WHERE resource = 'cpu' AND pid <> recorder_pid
        GROUP BY ALL
    ) USING (arm, replicate, pid)
    LEFT JOIN device_pids USING (arm, replicate, pid)
    WHERE r.arm <> ''
),
staged AS (
    SELECT *,
        CASE
            WHEN starts_with(kind, 'nightly') OR kind = 'gpu_worker' THEN 'nightly'
            WHEN starts_with(kind, 'dump') THEN 'dump'
            WHEN kind IN ('online_worker', 'inference_service') THEN 'online'
            WHEN kind = 'inference' AND holds_device THEN 'online'
            WHEN starts_with(kind, 'stream') THEN 'stream'
            WHEN kind = 'gss' THEN 'store'
            WHEN kind IN ('online_client', 'batch_client') THEN 'consumer'
            WHEN kind IN ('kafka', 's3proxy', 'postgres') THEN 'server'
            WHEN kind = 'driver' THEN 'harness'
            WHEN kind IN ('spark', 'spark_master', 'spark_worker') THEN 'spark'
            WHEN kind = 'stored' THEN 'stored'
            ELSE 'other'
        END AS stage
    FROM own
),
sums AS (
    SELECT
        arm, replicate, stage, kind AS process, resource, unit, bool_or(holds_device) AS holds_device,
        CASE WHEN resource = 'peak_memory' THEN max(value) ELSE sum(value) END AS value
    FROM staged
    GROUP BY GROUPING SETS (
        (arm, stage, kind, resource, unit), (arm, replicate, stage, kind, resource, unit)
    )
),
images AS (
    SELECT arm, replicate, count(*) AS images FROM keys GROUP BY GROUPING SETS ((arm), (arm, replicate))
)
SELECT
    s.arm, s.replicate, stage, process, resource, unit, holds_device, value,
    CASE WHEN resource <> 'peak_memory' THEN value / images END AS value_per_image
FROM sums s
LEFT JOIN images i ON s.arm = i.arm AND s.replicate IS NOT DISTINCT FROM i.replicate
ORDER BY ALL;
