-- Images by the number of distinct texts that a trainer can draw from them.
-- if empty: there are no usable images yet
SELECT
    n_texts AS texts, count(*) AS images, round(100 * count(*) / sum(count(*)) OVER (), 1) AS percent,
    round(100 * sum(count(*)) OVER (ORDER BY n_texts DESC) / sum(count(*)) OVER (), 1) AS percent_at_least
FROM images
WHERE status IN ('ok', 'partial')
GROUP BY n_texts
ORDER BY n_texts
