-- What the machine did from the first sample to the last: shares of all cores' time. steal: given to others by the
-- hypervisor; others: busy with processes that are neither the harness nor its descendants. A clock step is a change
-- of the distance between the wall clock and the monotonic clock from one sample to the next.
WITH ordered AS (
    SELECT *, (unix_ns - monotonic_ns) - lag(unix_ns - monotonic_ns) OVER (ORDER BY monotonic_ns) AS step_ns
    FROM machine
),
taken AS (
    SELECT
        count(*) AS samples,
        (max(monotonic_ns) - min(monotonic_ns)) / 1e9 AS seconds,
        max(busy_seconds) - min(busy_seconds) AS busy,
        max(idle_seconds) - min(idle_seconds) AS idle,
        max(steal_seconds) - min(steal_seconds) AS steal,
        max(own_seconds) - min(own_seconds) AS own,
        max(abs(step_ns)) / 1e9 AS largest_clock_step_seconds,
        max(load_1m) AS highest_load_1m,
        max(own_memory_bytes) AS highest_own_memory_bytes
    FROM ordered
)
SELECT
    samples, seconds,
    busy / nullif(busy + idle + steal, 0) AS busy_share,
    own / nullif(busy + idle + steal, 0) AS own_share,
    (busy - own) / nullif(busy + idle + steal, 0) AS others_share,
    steal / nullif(busy + idle + steal, 0) AS steal_share,
    largest_clock_step_seconds, highest_load_1m, highest_own_memory_bytes
FROM taken;
