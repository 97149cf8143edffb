-- The rejects of both datasets.
WITH counted AS (SELECT dataset, reason, coalesce(generation, 'image') AS of, count(*) AS n FROM rejects GROUP BY ALL)
SELECT reason, of, coalesce(a.n, 0) AS one, coalesce(b.n, 0) AS other
FROM (FROM counted WHERE dataset = $one) AS a FULL JOIN (FROM counted WHERE dataset = $other) AS b USING (reason, of)
ORDER BY one + other DESC, reason, of
