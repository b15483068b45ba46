-- Dead letters by path and reason: distinct keys and, where the path works on arrivals, arrivals; one image
-- as an example, and the names of the files of up to ten, where the run folder has them (images.parquet).
SELECT
    arm, path, reason,
    count(DISTINCT (replicate, galaxy, image_signature)) AS keys,
    count(*) FILTER (event_id >= 0) AS arrivals,
    min(image_signature) AS example,
    list_sort(list(DISTINCT file_name) FILTER (file_name IS NOT NULL))[:10] AS files
FROM dead_letters LEFT JOIN images USING (image_signature)
GROUP BY ALL
ORDER BY ALL;
