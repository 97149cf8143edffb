-- Objects gained and lost: those whose share among the images that both datasets have changed most.
-- If there are more than 300,000 such images, 300,000 of them are compared, sampled by a hash.
WITH usable AS (
    SELECT dataset, key, hash(coalesce(nullif(sha256, ''), key)) AS image FROM images WHERE status IN ('ok', 'partial')
),
drawn AS (
    SELECT image FROM usable GROUP BY image HAVING count(DISTINCT dataset) = 2 ORDER BY image LIMIT 300_000
),
shared AS MATERIALIZED (SELECT dataset, key, image FROM usable SEMI JOIN drawn USING (image)),
total AS (SELECT count(DISTINCT image) AS n FROM shared),
counted AS (
    SELECT dataset, lemma, count(DISTINCT image) AS images
    FROM objects JOIN shared USING (dataset, key) GROUP BY dataset, lemma
),
both_sides AS (
    SELECT lemma, coalesce(a.images, 0) AS one, coalesce(b.images, 0) AS other
    FROM (FROM counted WHERE dataset = $one) AS a FULL JOIN (FROM counted WHERE dataset = $other) AS b USING (lemma)
)
SELECT
    lemma, one, other, round(100 * one / n, 2) AS one_percent, round(100 * other / n, 2) AS other_percent,
    round(100 * (other - one) / n, 2) AS change
FROM both_sides, total
WHERE one <> other
QUALIFY row_number() OVER (PARTITION BY other > one ORDER BY abs(other - one) DESC, lemma) <= $limit
ORDER BY change DESC, lemma
