-- Pairs of objects in one image, of the 200 most frequent, in up to 100,000 images.
-- In a larger dataset, the images are sampled by a hash of their keys, which is deterministic.
-- lift: observed frequency divided by the frequency of independent objects (1: independent).
-- $limit = 20: rows
-- if empty: no image has two tagged objects
WITH drawn AS (SELECT key FROM images WHERE status IN ('ok', 'partial') ORDER BY hash(key) LIMIT 100_000),
shown AS MATERIALIZED (SELECT DISTINCT key, lemma FROM objects SEMI JOIN drawn USING (key)),
total AS (SELECT count(DISTINCT key) AS n FROM shown),
frequent AS (
    SELECT lemma, count(*) AS images, row_number() OVER (ORDER BY count(*) DESC, lemma) AS id
    FROM shown GROUP BY lemma ORDER BY images DESC, lemma LIMIT 200
),
kept AS MATERIALIZED (SELECT key, id FROM shown JOIN frequent USING (lemma)),
pairs AS (
    SELECT a.id AS first, b.id AS second, count(*) AS images
    FROM kept AS a JOIN kept AS b ON a.key = b.key AND a.id < b.id GROUP BY first, second
)
SELECT
    least(x.lemma, y.lemma) AS one, greatest(x.lemma, y.lemma) AS other, pairs.images,
    round(100 * pairs.images / total.n, 2) AS percent, round(pairs.images * total.n / (x.images * y.images), 2) AS lift
FROM pairs JOIN frequent AS x ON x.id = first JOIN frequent AS y ON y.id = second, total
ORDER BY pairs.images DESC, lift DESC, one, other
LIMIT $limit
