-- Flags in percent of a generation's sub-captions, of the images that both datasets have.
WITH usable AS (
    SELECT dataset, key, coalesce(nullif(sha256, ''), key) AS image FROM images WHERE status IN ('ok', 'partial')
),
shared AS (
    SELECT dataset, key FROM usable
    SEMI JOIN (SELECT image FROM usable GROUP BY image HAVING count(DISTINCT dataset) = 2) USING (image)
),
counted AS (
    SELECT
        dataset, generation, count(*) AS n,
        [
            {'flag': 'fragment', 'n': count(*) FILTER (is_fragment)},
            {'flag': 'negation', 'n': count(*) FILTER (is_negation)},
            {'flag': 'meta', 'n': count(*) FILTER (is_meta)},
            {'flag': 'boilerplate', 'n': count(*) FILTER (is_boilerplate)},
            {'flag': 'unparsed', 'n': count(*) FILTER (is_unparsed)},
            {'flag': 'duplicate', 'n': count(*) FILTER (dup_of IS NOT NULL)}
        ] AS flags
    FROM sub_captions SEMI JOIN shared USING (dataset, key) GROUP BY dataset, generation
),
flagged AS (
    SELECT dataset, generation, flag.flag AS flag, round(100 * flag.n / n, 2) AS percent
    FROM (SELECT dataset, generation, n, unnest(flags) AS flag FROM counted)
)
SELECT generation, flag, a.percent AS one, b.percent AS other
FROM (FROM flagged WHERE dataset = $one) AS a FULL JOIN (FROM flagged WHERE dataset = $other) AS b USING (generation, flag)
WHERE coalesce(one, 0) > 0 OR coalesce(other, 0) > 0
ORDER BY generation = 'raw', generation, flag
