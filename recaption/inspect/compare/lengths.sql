-- Captions, words and sub-captions by generation, of the images that both datasets have.
WITH usable AS (
    SELECT dataset, key, coalesce(nullif(sha256, ''), key) AS image FROM images WHERE status IN ('ok', 'partial')
),
shared AS (
    SELECT dataset, key FROM usable
    SEMI JOIN (SELECT image FROM usable GROUP BY image HAVING count(DISTINCT dataset) = 2) USING (image)
),
measured AS (
    SELECT
        dataset, generation, count(*) AS captions, quantile_cont(n_words, 0.05) AS p5, median(n_words) AS words,
        quantile_cont(n_words, 0.95) AS p95, round(sum(n_sub_captions) / count(DISTINCT key), 2) AS sub_captions_per_image
    FROM captions SEMI JOIN shared USING (dataset, key) GROUP BY dataset, generation
)
SELECT
    generation, a.captions AS one_captions, b.captions AS other_captions, a.p5 AS one_p5, b.p5 AS other_p5,
    a.words AS one_words, b.words AS other_words, a.p95 AS one_p95, b.p95 AS other_p95,
    a.sub_captions_per_image AS one_sub_captions_per_image, b.sub_captions_per_image AS other_sub_captions_per_image
FROM (FROM measured WHERE dataset = $one) AS a FULL JOIN (FROM measured WHERE dataset = $other) AS b USING (generation)
ORDER BY generation = 'raw', generation
