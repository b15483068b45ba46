-- Processes that died and were started again, by name.
SELECT arm, coalesce(nullif(detail, ''), process) AS name, count(*) AS restarts
FROM events
WHERE stage = 'process_restarted'
GROUP BY ALL
ORDER BY ALL;
