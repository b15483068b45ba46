-- Processes that died and were started again, by name.
SELECT arm, replicate, coalesce(nullif(detail, ''), process) AS name, count(*) AS restarts
FROM events
WHERE stage = 'process_restarted'
GROUP BY GROUPING SETS ((arm, name), (arm, replicate, name))
ORDER BY arm, replicate NULLS FIRST, name;
