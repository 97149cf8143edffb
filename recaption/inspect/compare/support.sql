-- Shares of unsupported sub-captions (p_true below 0.5) in percent of the verified ones, of the images that both have.
-- low, high: Wilson's score interval, 95 %.
WITH usable AS (
    SELECT dataset, key, coalesce(nullif(sha256, ''), key) AS image FROM images WHERE status IN ('ok', 'partial')
),
shared AS (
    SELECT dataset, key FROM usable
    SEMI JOIN (SELECT image FROM usable GROUP BY image HAVING count(DISTINCT dataset) = 2) USING (image)
),
verdicts AS (SELECT dataset, sub_id, avg(p_true) AS p_true FROM verifications GROUP BY dataset, sub_id),
counted AS (
    SELECT dataset, generation, count(*) AS n, count(*) FILTER (p_true < 0.5) AS bad
    FROM sub_captions JOIN verdicts USING (dataset, sub_id) SEMI JOIN shared USING (dataset, key)
    GROUP BY dataset, generation
),
shares AS (  -- 1.96 * 1.96 = 3.8415
    SELECT
        dataset, generation, n, round(100 * bad / n, 2) AS percent, (bad + 3.8415 / 2) / (n + 3.8415) AS middle,
        1.96 / (n + 3.8415) * sqrt(bad * (n - bad) / n + 3.8415 / 4) AS half,
        round(100 * greatest(middle - half, 0), 2) AS low, round(100 * least(middle + half, 1), 2) AS high
    FROM counted
)
SELECT
    generation, 'unsupported' AS what, a.percent AS one, b.percent AS other, a.n AS one_verified, b.n AS other_verified,
    a.low AS one_low, a.high AS one_high, b.low AS other_low, b.high AS other_high
FROM (FROM shares WHERE dataset = $one) AS a FULL JOIN (FROM shares WHERE dataset = $other) AS b USING (generation)
ORDER BY generation
