-- Objects that appear together: pairs among the 300 most frequent ones, by the images that show both.
-- lift: how much more often than if they had nothing to do with each other (1: just as often).
-- $limit = 20: rows
-- if empty: no image has two tagged objects
WITH shown AS (SELECT DISTINCT key, lemma FROM objects),
frequent AS (SELECT lemma, count(*) AS images FROM shown GROUP BY lemma ORDER BY images DESC, lemma LIMIT 300),
kept AS (SELECT key, lemma, images FROM shown JOIN frequent USING (lemma)),
total AS (SELECT count(*) AS n FROM images WHERE status IN ('ok', 'partial'))
SELECT
    a.lemma AS one, b.lemma AS other, count(*) AS images,
    round(count(*) * any_value(total.n) / (any_value(a.images) * any_value(b.images)), 2) AS lift
FROM kept AS a JOIN kept AS b ON a.key = b.key AND a.lemma < b.lemma, total
GROUP BY one, other
ORDER BY images DESC, lift DESC, one, other
LIMIT $limit
