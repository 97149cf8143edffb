-- The images most like one, by the objects and the sub-captions that they share.
-- objects_alike: Jaccard's measure, 0 to 1, in which rare objects count for more (inverse document frequency).
-- $key: the image's key
-- $limit = 20: rows
-- if empty: no other image shares an object or a sub-caption with it
WITH mine AS (SELECT DISTINCT lemma FROM objects WHERE key = $key),
total AS (SELECT count(*) AS n FROM images),
shown AS (SELECT DISTINCT key, lemma FROM objects),
weights AS (SELECT lemma, ln(1 + any_value(total.n) / count(*)) AS weight FROM shown, total GROUP BY lemma),
same_objects AS (  -- the best 500 by what they share are weighed whole
    SELECT key, sum(weight) AS shared, list(lemma ORDER BY weight DESC, lemma) AS objects
    FROM shown SEMI JOIN mine USING (lemma) JOIN weights USING (lemma)
    WHERE key <> $key GROUP BY key ORDER BY shared DESC, key LIMIT 500
),
theirs AS (SELECT key, sum(weight) AS total FROM shown SEMI JOIN same_objects USING (key) JOIN weights USING (lemma) GROUP BY key),
same_texts AS (
    SELECT key, count(DISTINCT text) AS texts, any_value(text) AS text
    FROM sub_captions
    WHERE hash(text) IN (SELECT hash(text) FROM sub_captions WHERE key = $key)
        AND text IN (SELECT text FROM sub_captions WHERE key = $key) AND key <> $key
    GROUP BY key ORDER BY texts DESC, key LIMIT 500
),
alike AS (
    SELECT
        coalesce(o.key, t.key) AS key,
        coalesce(o.shared / (theirs.total + (SELECT coalesce(sum(weight), 0) FROM weights SEMI JOIN mine USING (lemma)) - o.shared), 0) AS objects_alike,
        coalesce(t.texts, 0) AS texts_alike, o.objects
    FROM same_objects AS o JOIN theirs USING (key) FULL JOIN same_texts AS t ON t.key = o.key
)
SELECT key, round(objects_alike, 3) AS objects_alike, texts_alike, objects
FROM alike
ORDER BY objects_alike + least(texts_alike, 5) / 5 DESC, key
LIMIT $limit
