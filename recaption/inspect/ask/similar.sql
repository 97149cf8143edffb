-- The images most similar to one, by shared objects and sub-captions.
-- objects_alike: Jaccard's measure, 0 to 1, in which rare objects count for more (inverse document frequency).
-- Where the build has embeddings of images (task score, embed: images), inspect takes the cosine of these instead.
-- $key: the image's key
-- $limit = 20: rows
-- if empty: no other image shares an object or a sub-caption with it
WITH total AS (SELECT count(*) AS n FROM objects),
weights AS (SELECT lemma, ln(1 + any_value(total.n) / count(*)) AS weight FROM objects, total GROUP BY lemma),
mine AS (  -- up to 60 objects, the rarest, get a bit each
    SELECT lemma, weight, 1::BIGINT << (row_number() OVER (ORDER BY weight DESC, lemma) - 1) AS bit
    FROM weights SEMI JOIN (SELECT lemma FROM objects WHERE key = $key) USING (lemma)
    ORDER BY weight DESC, lemma LIMIT 60
),
shared AS (SELECT key, bit_or(bit) AS bits FROM objects JOIN mine USING (lemma) WHERE key <> $key GROUP BY key),
worth AS (
    SELECT bits, sum(weight) AS weight, list(lemma ORDER BY weight DESC, lemma) AS objects
    FROM (SELECT DISTINCT bits FROM shared) JOIN mine ON bits & bit <> 0 GROUP BY bits
),
same_objects AS (  -- the best 500 by what they share are weighed whole
    SELECT key, weight AS shared, objects FROM shared JOIN worth USING (bits) ORDER BY shared DESC, key LIMIT 500
),
theirs AS (
    SELECT key, sum(weight) AS total
    FROM (SELECT DISTINCT key, lemma FROM objects WHERE key IN (SELECT key FROM same_objects)) JOIN weights USING (lemma)
    GROUP BY key
),
same_texts AS (
    SELECT key, count(DISTINCT text) AS texts
    FROM sub_captions
    WHERE hash(text) IN (SELECT hash(text) FROM sub_captions WHERE key = $key) AND key <> $key
    GROUP BY key ORDER BY texts DESC, key LIMIT 500
),
alike AS (
    SELECT
        coalesce(o.key, t.key) AS key, coalesce(t.texts, 0) AS same_texts, o.objects,
        coalesce(o.shared / (theirs.total + (SELECT sum(weight) FROM mine) - o.shared), 0) AS objects_alike
    FROM same_objects AS o JOIN theirs USING (key) FULL JOIN same_texts AS t ON t.key = o.key
)
SELECT key, round(objects_alike, 3) AS objects_alike, same_texts, objects
FROM alike
ORDER BY objects_alike + least(same_texts, 5) / 5 DESC, key
LIMIT $limit
