-- What NVML said of each GPU between an arm's first and last event. Relation gpu_samples is ledger/gpu.jsonl.
-- busy_hours: utilisation (share of the time in which a kernel ran) times the time until the next sample.
-- energy: difference of the GPU's own counter, by everything that ran on it.
WITH spans AS (
    SELECT arm, replicate, min(start_ns) AS start_ns, max(end_ns) AS end_ns FROM events
    WHERE stage IN ('device_provisioned', 'device_busy', 'device_released') AND starts_with(device, 'cuda')
    GROUP BY ALL
),
samples AS (
    SELECT s.arm, s.replicate, g.*,
        least(lead(unix_ns) OVER (PARTITION BY s.arm, s.replicate, index ORDER BY unix_ns), s.end_ns) - unix_ns
            AS length_ns,
        lead(energy_joules) OVER (PARTITION BY s.arm, s.replicate, index ORDER BY unix_ns) - energy_joules
            AS energy_step
    FROM gpu_samples g JOIN spans s ON g.unix_ns BETWEEN s.start_ns AND s.end_ns
)
SELECT
    arm, replicate, index,
    count(*) AS samples,
    sum(utilisation * length_ns) / 3.6e12 AS busy_hours,
    sum(utilisation * length_ns) / nullif(sum(length_ns) FILTER (utilisation IS NOT NULL), 0) AS utilisation,
    max(memory_bytes) AS peak_memory_bytes,
    sum(energy_step) AS energy_joules,
    avg(power_watts) AS mean_power_watts,
    quantile_cont(sm_clock_mhz, 0.5) AS median_sm_clock_mhz
FROM samples
GROUP BY GROUPING SETS ((arm, index), (arm, replicate, index))
ORDER BY ALL;
