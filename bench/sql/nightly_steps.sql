-- The nightly steps of each arm, in seconds after the midnight of their day.
SELECT
    s.arm, s.replicate, s.day, s.path, s.detail AS step, s.outcome, s.attempt,
    (s.start_ns - midnight_ns) / 1e9 AS start_seconds,
    (s.end_ns - s.start_ns) / 1e9 AS duration_seconds
FROM events s JOIN days USING (arm, replicate, day)
WHERE s.stage = 'step'
ORDER BY s.arm, s.replicate, s.day, s.start_ns, s.end_ns;
