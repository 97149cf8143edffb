-- Images side by side: those whose objects changed most, then random ones (deterministic).
-- If both datasets have more than 100,000 images in common, 100,000 of them are compared, sampled by a hash.
WITH usable AS (
    SELECT DISTINCT ON (dataset, image) dataset, key, coalesce(nullif(sha256, ''), key) AS image
    FROM images WHERE status IN ('ok', 'partial') ORDER BY dataset, image, key
),
pairs AS MATERIALIZED (
    SELECT a.image, a.key AS one_key, b.key AS other_key
    FROM (FROM usable WHERE dataset = $one) AS a JOIN (FROM usable WHERE dataset = $other) AS b USING (image)
    ORDER BY hash(image), image LIMIT 100_000
),
drawn AS (SELECT $one AS dataset, one_key AS key FROM pairs UNION ALL SELECT $other, other_key FROM pairs),
shown AS (
    SELECT dataset, key, list(DISTINCT lemma) AS lemmas FROM objects SEMI JOIN drawn USING (dataset, key)
    GROUP BY dataset, key
),
changed AS MATERIALIZED (
    SELECT
        pairs.*, coalesce(a.lemmas, []) AS one_objects, coalesce(b.lemmas, []) AS other_objects,
        len(list_intersect(one_objects, other_objects)) AS kept,
        1 - kept / greatest(len(one_objects) + len(other_objects) - kept, 1) AS change
    FROM pairs
    LEFT JOIN (FROM shown WHERE dataset = $one) AS a ON a.key = one_key
    LEFT JOIN (FROM shown WHERE dataset = $other) AS b ON b.key = other_key
),
chosen AS (
    (SELECT *, 'most changed' AS why FROM changed WHERE change > 0 ORDER BY change DESC, md5(image) LIMIT $limit)
    UNION ALL (SELECT *, 'at random' FROM changed ORDER BY md5('random' || image) LIMIT $limit)
),
once AS (SELECT DISTINCT ON (image) * FROM chosen ORDER BY image, why DESC),
texts AS (
    SELECT dataset, key, generation, string_agg(text, ' / ' ORDER BY caption_id) AS text
    FROM captions WHERE key IN (SELECT one_key FROM once UNION ALL SELECT other_key FROM once) AND generation <> 'raw'
    GROUP BY dataset, key, generation
),
generations AS (SELECT DISTINCT generation FROM texts)
SELECT
    why, one_key AS key, other_key, generations.generation, a.text AS one, b.text AS other, round(change, 3) AS change,
    list_sort(list_filter(one_objects, lambda x: NOT list_contains(other_objects, x))) AS lost,
    list_sort(list_filter(other_objects, lambda x: NOT list_contains(one_objects, x))) AS gained
FROM once CROSS JOIN generations
LEFT JOIN (FROM texts WHERE dataset = $one) AS a ON a.key = one_key AND a.generation = generations.generation
LEFT JOIN (FROM texts WHERE dataset = $other) AS b ON b.key = other_key AND b.generation = generations.generation
WHERE a.text IS NOT NULL OR b.text IS NOT NULL
ORDER BY why DESC, change DESC, md5(image), generations.generation
